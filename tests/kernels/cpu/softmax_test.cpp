// The classification loss against its formula in double, with its counts; softmax where the operations do not lead.
#include "kernels/softmax.h"

#include "kernels/error.h"
#include "tests/kernels/cpu/rows.h"
#include "tests/support/workspace.h"

namespace selene::testing {
namespace {

std::vector<double> log_softmax(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += std::exp(v);
  std::vector<double> y;
  for (const double v : x) y.push_back(v - std::log(sum));
  return y;
}

template <class T>
struct Loss {
  std::vector<T> logits, gradient;
  std::vector<int32_t> target;
  std::vector<Acc<T>> lse, row_loss;
  LossSums sums{0.5, 0, 0, 0};  // added to
  int64_t R, C;

  Loss(int64_t r, int64_t c) : logits(numbers<T>(r * c, 1, 5)), R(r), C(c) {
    gradient.resize(logits.size()), lse.resize(size_t(R)), row_loss.resize(size_t(R));
    for (int64_t i = 0; i < R; ++i) target.push_back(int32_t(i * 7 % C));
  }
  void run_both(int32_t ignore, double eps, double dloss) {
    Stream stream;
    const Acc<T> d = Acc<T>(dloss);
    run_with_scratch(stream, CrossEntropyFwd<T>{logits.data(), target.data(), lse.data(), row_loss.data(), &sums, R,
                                                C, ignore, Acc<T>(eps), nullptr});
    run(stream,
        CrossEntropyBwd<T>{logits.data(), target.data(), lse.data(), &d, gradient.data(), R, C, ignore, Acc<T>(eps)});
  }
};

template <class T>
void check_loss(int64_t C, double eps, int32_t ignore) {
  Loss<T> l(9, C);
  for (int64_t r = 0; r < 4;
       ++r) {  // the target's logit is the largest, alone in rows 0 and 1, tied after it in 2 and 3
    const size_t at = size_t(r * C + l.target[size_t(r)]);
    l.logits[at] = down<T>(7.0);
    if (r >= 2) l.logits[size_t(r * C + (r == 2 ? C - 1 : 0))] = down<T>(7.0);
  }
  l.run_both(ignore, eps, 3);
  LossSums want{0.5, 0, 0, 0};
  std::vector<double> dx, losses;
  for (int64_t r = 0; r < l.R; ++r) {
    std::vector<double> row;
    for (int64_t c = 0; c < C; ++c) row.push_back(double(up(l.logits[size_t(r * C + c)])));
    const std::vector<double> log_p = log_softmax(row);
    const int32_t t = l.target[size_t(r)];
    const bool counts = ignore == -1 || t != ignore;
    double loss = -(1 - eps) * log_p[size_t(t)];
    for (int64_t c = 0; c < C; ++c) {
      loss -= eps / double(C) * log_p[size_t(c)];
      const double even = eps / double(C) + (c == t ? 1 - eps : 0);
      dx.push_back(counts ? 3 * (std::exp(log_p[size_t(c)]) - even) : 0);
    }
    losses.push_back(counts ? loss : 0);
    if (!counts) continue;
    int32_t best = 0;
    for (int32_t c = 1; c < C; ++c) best = row[size_t(c)] > row[size_t(best)] ? c : best;
    want.loss += loss, want.nll -= log_p[size_t(t)], want.count += 1, want.correct += best == t;
  }
  INFO("C " << C << " eps " << eps << " ignore " << ignore);
  CHECK(differs(l.row_loss, losses, 3e-6) == "");
  CHECK(differs(l.gradient, dx, 3e-6) == "");
  CHECK(std::fabs(l.sums.loss - want.loss) <= 2e-5);
  CHECK(std::fabs(l.sums.nll - want.nll) <= 2e-5);
  CHECK(l.sums.count == want.count);
  CHECK(l.sums.correct == want.correct);
}

}  // namespace

TEST_CASE("softmax: no query sees a later key, nor a masked one") {
  Stream stream;
  const int64_t C = 5, rows = 3;
  const std::vector<uint8_t> mask = {0, 1, 0, 0, 0};
  std::vector<float> y = numbers<float>(rows * C, 1), x = y;
  run(stream, SoftmaxFwd<float>{y.data(), mask.data(), y.data(), rows, C, rows, 0, 1, rows});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < C; ++c) CHECK((y[size_t(r * C + c)] == 0) == (c > r || mask[size_t(c)]));
}

TEST_CASE("softmax: large inputs don't overflow") {
  Stream stream;
  std::vector<float> x(40, 3e38f), y(40);
  for (size_t i = 0; i < 20; ++i) x[20 + i] = -3e38f;
  run(stream, SoftmaxFwd<float>{x.data(), nullptr, y.data(), 2, 20, 1, 0, 0, 1});
  for (size_t i = 0; i < 40; ++i) CHECK(std::fabs(y[i] - 0.05f) < 1e-8f);
}

TEMPLATE_TEST_CASE("cross-entropy: loss, counts and gradient", "", float, double, bf16, f16) {
  for (const int64_t C : {2, 10, 33, 257})
    for (const double eps : {0.0, 0.1}) {
      check_loss<TestType>(C, eps, -1);
      check_loss<TestType>(C, eps, 0);
    }
}

TEST_CASE("cross-entropy: refuses a target that is no class") {
  Loss<float> l(4, 5);
  l.target[2] = 5;
  CHECK_THROWS_WITH(l.run_both(0, 0, 1), "cross_entropy: target[2] is 5, wanted a class from 0 to 4 or 0");
  l.target[2] = -1;
  CHECK_THROWS_WITH(l.run_both(-1, 0, 1), "cross_entropy: target[2] is -1, wanted a class from 0 to 4");
}

}  // namespace selene::testing
