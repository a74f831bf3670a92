// Adam in both forms, clipping and the gradient norm, against the formulas in double.
#include "kernels/optimizer.h"

#include <limits>

#include "tests/kernels/cpu/rows.h"

namespace selene::testing {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.98, kEps = 1e-8;

StepScalars at_step(int t) {
  StepScalars s{};
  s.learning_rate = 1e-3, s.gradient_scale = 0.25, s.update = t - 1;
  return s;
}

UpdateState fresh(float scale = 1) {
  UpdateState s{};
  s.scale = s.applied = scale, s.bad_update = s.bad_block = -1;
  return s;
}

// What UpdateCheck leaves before update t when all went well.
UpdateState checked(int t, float scale = 1) {
  UpdateState s = fresh(scale);
  s.correction1 = 1 - std::pow(kBeta1, t), s.correction2 = 1 - std::pow(kBeta2, t);
  return s;
}

struct State {
  std::vector<double> p, m, v;
};
void reference(State& s, const std::vector<double>& g, const StepScalars& k, const UpdateState& u, double clip,
               double norm, double decay, bool textbook, bool l2) {
  const double factor = k.gradient_scale * (clip > 0 ? std::fmin(1, clip / (norm + 1e-6)) : 1);
  for (size_t i = 0; i < g.size(); ++i) {
    const double grad = g[i] * factor + (l2 ? decay * s.p[i] : 0), lr = k.learning_rate;
    s.m[i] = kBeta1 * s.m[i] + (1 - kBeta1) * grad;
    s.v[i] = kBeta2 * s.v[i] + (1 - kBeta2) * grad * grad;
    if (!l2) s.p[i] -= lr * decay * s.p[i];
    if (textbook) s.p[i] -= lr * (s.m[i] / u.correction1) / (std::sqrt(s.v[i] / u.correction2) + kEps);
    else s.p[i] -= lr * std::sqrt(u.correction2) / u.correction1 * s.m[i] / (std::sqrt(s.v[i]) + kEps);
  }
}

template <class T>
std::vector<double> wide(const std::vector<T>& v) {
  std::vector<double> d;
  for (const T x : v) d.push_back(double(up(x)));
  return d;
}

}  // namespace

TEMPLATE_TEST_CASE("adam: five steps of every form", "", float, double) {
  using T = TestType;
  Stream stream;
  for (const int64_t n : {1, 17, 257, 20'000})
    for (int form = 0; form < 4; ++form) {
      const bool textbook = form & 1, l2 = form & 2;
      std::vector<T> p = numbers<T>(n, 1), m(p.size()), v(p.size());
      std::vector<bf16> copy(p.size());
      State want{wide(p), wide(m), wide(v)};
      for (int t = 1; t <= 5; ++t) {
        const std::vector<T> g = numbers<T>(n, uint64_t(10 + t));
        const StepScalars k = at_step(t);
        const UpdateState u = checked(t);
        const double norm = t == 3 ? 2.5 : 0.5, clip = t == 5 ? 0 : 1;
        run(stream, Adam<T>{g.data(), p.data(), m.data(), v.data(), copy.data(), DType::bf16, n, &k, &u, &norm, clip,
                            kBeta1, kBeta2, kEps, 0.01, textbook, l2});
        reference(want, wide(g), k, u, clip, norm, 0.01, textbook, l2);
      }
      INFO("n " << n << " textbook " << textbook << " l2 " << l2);
      CHECK(differs(p, want.p, 1e-6) == "");
      CHECK(differs(m, want.m, 1e-7) == "");
      CHECK(differs(v, want.v, 1e-8) == "");
      for (size_t i = 0; i < p.size(); ++i) REQUIRE(copy[i].bits == down<bf16>(p[i]).bits);
    }
}

TEST_CASE("adam: a decay far below one unit of p is not lost in the factor") {
  Stream stream;
  StepScalars k = at_step(1);
  const UpdateState u = checked(1);
  const double decay = 1e-6 / k.learning_rate;
  std::vector<double> total{0, 0};
  std::vector<float> p = numbers<float>(4096, 3), g(4096), m(4096), v(4096), before = p;
  for (int t = 0; t < 100; ++t)
    run(stream, Adam<float>{g.data(), p.data(), m.data(), v.data(), nullptr, DType::f32, 4096, &k, &u, nullptr, 0,
                            kBeta1, kBeta2, kEps, decay, 0, 0});
  for (size_t i = 0; i < p.size(); ++i) total[0] += std::fabs(before[i]), total[1] += std::fabs(p[i]);
  CHECK(std::fabs(total[1] / total[0] - std::pow(1 - 1e-6, 100)) < 1e-6);
}

TEST_CASE("adam: NaN in the norm reaches the parameters, same bits for any number of threads") {
  Stream stream;
  const StepScalars k = at_step(2);
  const UpdateState u = checked(2);
  const std::vector<float> g = numbers<float>(50'000, 1);
  CHECK(same_bits([&] {
    std::vector<float> p = numbers<float>(50'000, 2), m(p.size()), v(p.size());
    const double norm = 3;
    run(stream, Adam<float>{g.data(), p.data(), m.data(), v.data(), nullptr, DType::f32, 50'000, &k, &u, &norm, 1,
                            kBeta1, kBeta2, kEps, 0.1, 0, 0});
    return bytes(p) + bytes(m) + bytes(v);
  }));
  std::vector<float> p(5, 1.0f), m(5), v(5);
  const double norm = std::numeric_limits<double>::quiet_NaN();
  run(stream, Adam<float>{g.data(), p.data(), m.data(), v.data(), nullptr, DType::f32, 5, &k, &u, &norm, 1, kBeta1,
                          kBeta2, kEps, 0, 0, 0});
  CHECK(std::isnan(p[0]));
}

TEMPLATE_TEST_CASE("gradient norm: blocks, tree and the first bad block", "", float, double) {
  using T = TestType;
  Stream stream;
  const StepScalars k = at_step(1);
  const UpdateState u = fresh();
  for (const int64_t n : {1, 100, 4096, 4097, 12 * 4096 + 5}) {
    std::vector<T> x = numbers<T>(n, 1), partial(size_t((n + kNormBlock - 1) / kNormBlock));
    const int64_t blocks = int64_t(partial.size());
    double norm = 0, want = 0;
    int64_t bad = 7;
    const auto measure = [&] {
      run(stream, SumSquares<T>{x.data(), partial.data(), n});
      run(stream, GradientNorm<T>{partial.data(), blocks, &k, &u, &norm, &bad});
    };
    measure();
    for (const T v : x) want += double(v) * double(v);
    CHECK(std::fabs(norm - 0.25 * std::sqrt(want)) <= (sizeof(T) == 4 ? 1e-6 : 1e-14) * norm);
    CHECK(bad == -1);
    x.back() = std::numeric_limits<T>::infinity();
    measure();
    CHECK(bad == blocks - 1);
    x.front() = std::numeric_limits<T>::quiet_NaN();
    measure();
    CHECK(bad == 0);
    CHECK(std::isnan(norm));
  }
}

TEST_CASE("gradient norm: halves of the buffer give the halves of the tree") {
  Stream stream;
  StepScalars k = at_step(1);
  k.gradient_scale = 1;
  const UpdateState u = fresh();
  const std::vector<double> partial = numbers<double>(6, 1, 1e9);
  double tree = 0;
  int64_t bad = 0;
  std::vector<double> squares = partial;
  for (double& x : squares) x *= x;
  run(stream, GradientNorm<double>{squares.data(), 6, &k, &u, &tree, &bad});
  CHECK(tree == std::sqrt(((squares[0] + squares[1]) + (squares[2] + squares[3])) + (squares[4] + squares[5])));
}

TEST_CASE("update check: fairseq's loss scale over a sequence of overflows") {
  Stream stream;
  UpdateState u = fresh(8);
  int64_t bad = -1;
  StepScalars k{};
  const auto update = [&](bool overflow) {
    bad = overflow ? 3 : -1;
    run(stream, UpdateCheck<float>{&bad, &k, &u, kBeta1, kBeta2, 2.0, 3, 1});
    ++k.update;
    return u.skip;
  };
  CHECK(update(false) == 0);
  CHECK(u.scale == 8);
  CHECK(update(false) == 0);
  CHECK(update(false) == 0);
  CHECK((u.scale == 16 && u.applied == 8));  // the third good one doubles what comes after it
  CHECK(update(true) == 1);
  CHECK((u.scale == 8 && u.applied == 16 && u.good == 0 && u.skipped == 1));
  for (int i = 0; i < 3; ++i) CHECK(update(false) == 0);
  CHECK(u.scale == 16);
  CHECK(u.correction1 == 1 - std::pow(kBeta1, 6));  // six updates were taken, one skipped
  for (int i = 0; i < 2; ++i) CHECK(update(true) == 1);
  CHECK((u.scale == 4 && !u.stopped));
  CHECK(update(true) == 1);  // 2 is the minimum
  CHECK((u.stopped && u.scale == 4 && u.bad_update == 9 && u.bad_block == 3));
  CHECK(update(false) == 1);  // stopped for good, and it keeps the first place
  CHECK((u.bad_update == 9 && u.skipped == 5));
}

TEST_CASE("update check: without loss scaling the first overflow stops, and nothing is updated any more") {
  Stream stream;
  UpdateState u = fresh();
  const int64_t bad = 0;
  StepScalars k = at_step(3);
  run(stream, UpdateCheck<float>{&bad, &k, &u, kBeta1, kBeta2, 0, 1, 0});
  CHECK((u.skip && u.stopped && u.scale == 1 && u.bad_update == 2 && u.bad_block == 0));
  std::vector<float> g(5, std::numeric_limits<float>::quiet_NaN()), p(5, 1.0f), m(5, 2.0f), v(5, 3.0f);
  run(stream, Adam<float>{g.data(), p.data(), m.data(), v.data(), nullptr, DType::f32, 5, &k, &u, nullptr, 0, kBeta1,
                          kBeta2, kEps, 0.1, 0, 0});
  CHECK((p[0] == 1 && m[0] == 2 && v[0] == 3));
}

TEST_CASE("adam divides by the loss scale that the gradients carry") {
  Stream stream;
  const StepScalars k = at_step(1);
  const std::vector<float> g = numbers<float>(100, 1);
  const auto stepped = [&](float scale) {
    std::vector<float> scaled = g, p(100, 1.0f), m(100), v(100);
    for (float& x : scaled) x *= scale;
    const UpdateState u = checked(1, scale);
    run(stream, Adam<float>{scaled.data(), p.data(), m.data(), v.data(), nullptr, DType::f32, 100, &k, &u, nullptr, 0,
                            kBeta1, kBeta2, kEps, 0, 0, 0});
    return bytes(p) + bytes(m) + bytes(v);
  };
  CHECK(stepped(1) == stepped(1024));  // a power of two loses no bit
}

}  // namespace selene::testing
