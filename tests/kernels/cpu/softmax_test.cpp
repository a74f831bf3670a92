// Row softmax and the classification loss against their formulas in double.
#include "kernels/softmax.h"

#include <limits>

#include "kernels/error.h"
#include "tests/kernels/cpu/rows.h"
#include "tests/support/workspace.h"

using namespace selene;
using namespace selene::test;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<double> softmax(const std::vector<double>& x, bool log) {
  double largest = -kInf, sum = 0;
  for (const double v : x) largest = std::fmax(largest, v);
  for (const double v : x) sum += std::exp(v - largest);
  std::vector<double> y;
  for (const double v : x) y.push_back(log ? v - largest - std::log(sum) : std::exp(v - largest) / sum);
  return y;
}

template <class T>
void check_softmax(int64_t C, bool log, bool masked, bool causal) {
  Stream stream;
  const int64_t rows = 3, examples = 2, R = rows * examples;
  const std::vector<T> x = numbers<T>(R * C, 1, 6), dy = numbers<T>(R * C, 2);
  std::vector<uint8_t> mask(size_t(examples * C));
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = int64_t(i) % C != 0 && i % 3 == 1;
  std::vector<T> y = x, dx = dy;
  run(stream, SoftmaxFwd<T>{y.data(), masked ? mask.data() : nullptr, y.data(), R, C, rows, log, causal, rows});
  run(stream, SoftmaxBwd<T>{y.data(), dx.data(), dx.data(), R, C, log});
  std::vector<double> want, want_dx;
  for (int64_t r = 0; r < R; ++r) {
    std::vector<double> row;
    for (int64_t c = 0; c < C; ++c)
      row.push_back((masked && mask[size_t(r / rows * C + c)]) || (causal && c > r % rows)
                        ? -kInf
                        : double(up(x[size_t(r * C + c)])));
    double sum = 0;
    const std::vector<double> p = softmax(row, log);
    for (int64_t c = 0; c < C; ++c) {
      const double d = double(up(dy[size_t(r * C + c)])), kept = double(up(y[size_t(r * C + c)]));
      want.push_back(p[size_t(c)]), sum += log ? d : d * kept;
    }
    for (int64_t c = 0; c < C; ++c) {
      const double d = double(up(dy[size_t(r * C + c)])), kept = double(up(y[size_t(r * C + c)]));
      want_dx.push_back(log ? d - std::exp(kept) * sum : kept * (d - sum));
    }
  }
  INFO("C " << C << " log " << log << " masked " << masked << " causal " << causal);
  CHECK(differs(y, want, log ? 2e-6 : 3e-7) == "");
  CHECK(differs(dx, want_dx, 2e-6) == "");
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
       ++r) {  // the target's logit is the largest, alone in rows 0 and 1, tied behind it in 2 and 3
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
    const std::vector<double> log_p = softmax(row, true);
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

TEMPLATE_TEST_CASE("softmax: masks, causal, logarithm, gradient", "", float, double, bf16, f16) {
  for (const int64_t C : kSizes) {
    check_softmax<TestType>(C, false, false, false);
    check_softmax<TestType>(C, false, true, false);
    check_softmax<TestType>(C, false, true, true);
    check_softmax<TestType>(C, true, false, false);
  }
}

TEST_CASE("softmax: large inputs don't overflow, NaN and +inf stay visible in their row") {
  Stream stream;
  std::vector<float> x(60, 3e38f), y(60);
  for (size_t i = 0; i < 20; ++i) x[20 + i] = -3e38f;
  x[45] = std::numeric_limits<float>::quiet_NaN();
  run(stream, SoftmaxFwd<float>{x.data(), nullptr, y.data(), 3, 20, 1, 0, 0, 1});
  for (size_t i = 0; i < 40; ++i) CHECK(std::fabs(y[i] - 0.05f) < 1e-8f);
  for (size_t i = 40; i < 60; ++i) CHECK(std::isnan(y[i]));
}

TEMPLATE_TEST_CASE("cross-entropy: loss, counts and gradient", "", float, double, bf16, f16) {
  for (const int64_t C : {2, 3, 7, 10, 16, 17, 33, 257})
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

TEMPLATE_TEST_CASE("softmax and cross-entropy: same bits for any number of threads", "", float, bf16) {
  CHECK(same_bits([] {
    Stream stream;
    Loss<TestType> l(300, 257);
    l.run_both(3, 0.1, 1);
    std::vector<TestType> y(l.logits.size()), dx(y.size());
    run(stream, SoftmaxFwd<TestType>{l.logits.data(), nullptr, y.data(), l.R, l.C, 1, 0, 0, 1});
    run(stream, SoftmaxBwd<TestType>{y.data(), l.logits.data(), dx.data(), l.R, l.C, 0});
    return bytes(l.gradient) + bytes(l.lse) + bytes(y) + bytes(dx) +
           std::string(reinterpret_cast<const char*>(&l.sums), sizeof(LossSums));
  }));
}
