// Activations and dropout against the formulas in double; slopes against central differences of those formulas.
#include "kernels/activation.h"

#include <limits>

#include "tests/kernels/cpu/rows.h"

using namespace selene;
using namespace selene::test;

namespace {

constexpr double kBeta = 0.69314718055994531;

double value(Activation f, double x) {
  const double u = 0.79788456080286535588 * (x + 0.044715 * x * x * x);
  switch (f) {
    case Activation::identity:
      return x;
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(u));
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::tanh:
      return std::tanh(x);
    case Activation::elu:
      return x > 0 ? x : std::expm1(x);
    case Activation::elu_plus_one:
      return x > 0 ? x + 1 : std::exp(x);
    case Activation::softplus:
      return kBeta * x > 20 ? x : std::log1p(std::exp(kBeta * x)) / kBeta;
  }
  return 0;
}
double slope(Activation f, double x) { return (value(f, x + 1e-5) - value(f, x - 1e-5)) / 2e-5; }

template <class T>
struct Activated {
  std::vector<T> y, dx, again;
};
template <class T>
Activated<T> activate(const std::vector<T>& x, const std::vector<T>& dy, int64_t C, int64_t rows, Activation f,
                      const Site& s) {
  Stream stream;
  const int64_t R = int64_t(x.size()) / C;
  Activated<T> out{std::vector<T>(x.size()), dy, std::vector<T>(x.size())};  // dx in place of dy
  run(stream, ActivationFwd<T>{x.data(), out.y.data(), R, C, rows, f, Acc<T>(kBeta), s.site});
  run(stream, ActivationBwd<T>{x.data(), out.dx.data(), out.dx.data(), out.again.data(), R, C, rows, f, Acc<T>(kBeta),
                               s.site});
  return out;
}

template <class T>
void check(Activation f, int64_t C, bool drop, double scale) {
  const int64_t rows = 3, R = 2 * rows;
  const Site s(drop);
  const std::vector<T> x = numbers<T>(R * C, 1, scale), dy = numbers<T>(R * C, 2);
  const Activated<T> got = activate(x, dy, C, rows, f, s);
  std::vector<double> y(x.size()), dx(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double factor = s.factor(int64_t(i), rows * C), v = double(up(x[i]));
    y[i] = value(f, v) * factor, dx[i] = slope(f, v) * double(up(dy[i])) * factor;
  }
  INFO("function " << int(f) << " C " << C << " dropout " << drop << " scale " << scale);
  CHECK(differs(got.y, y, 4e-7 * (1 + scale)) == "");
  CHECK(differs(got.dx, dx, std::is_same_v<T, double> ? 0.5 : 2e-6) ==
        "");  // double: the difference quotient's error
  CHECK(bytes(got.y) == bytes(got.again));
}

}  // namespace

TEMPLATE_TEST_CASE("activation: values, slopes and dropout", "", float, double, bf16, f16) {
  for (int f = 0; f <= int(Activation::softplus); ++f) {
    for (const int64_t C : kSizes) check<TestType>(Activation(f), C, C % 2 != 0, 1);
    check<TestType>(Activation(f), 257, false, 8);
    check<TestType>(Activation(f), 16, true, 50);  // past softplus' threshold, tanh and sigmoid saturated
  }
}

TEMPLATE_TEST_CASE("activation: same bits for any number of threads", "", float, bf16) {
  const Site s(true);
  const std::vector<TestType> x = numbers<TestType>(150 * 333, 1), dy = numbers<TestType>(150 * 333, 2);
  CHECK(same_bits([&] {
    const Activated<TestType> a = activate(x, dy, 333, 50, Activation::gelu, s);
    return bytes(a.y) + bytes(a.dx);
  }));
}

TEST_CASE("activation: NaN stays visible, dropped or not") {
  const Site s(true);
  const std::vector<float> x(64, std::numeric_limits<float>::quiet_NaN()), dy(64, 1.0f);
  for (int f = 0; f <= int(Activation::softplus); ++f)
    for (const float y : activate(x, dy, 16, 2, Activation(f), s).y) CHECK(std::isnan(y));
  for (const float y : activate(std::vector<float>(64, 1.0f), x, 16, 2, Activation::gelu, s).dx) CHECK(std::isnan(y));
}

TEST_CASE("activation: the piece length and the short last example don't show") {
  const Site s(true);  // 5 rows in examples of 2: pieces of 1024 elements, a last example of one row
  const int64_t C = 1029, rows = 2, R = 5;
  const std::vector<float> x = numbers<float>(R * C, 3);
  const Activated<float> got = activate(x, x, C, rows, Activation::identity, s);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * s.factor(int64_t(i), rows * C);
  CHECK(differs(got.y, y, 1e-7) == "");
}

TEMPLATE_TEST_CASE("dropout: residual, zeroed rows, in place", "", float, double, bf16, f16) {
  using T = TestType;
  Stream stream;
  for (const int64_t C : {1, 7, 16, 100, 1500})
    for (const bool drop : {false, true}) {
      const int64_t rows = 3, R = 6;
      const Site s(drop);
      const std::vector<T> x = numbers<T>(R * C, 4), residual = numbers<T>(R * C, 5);
      const std::vector<uint8_t> zero = {0, 1, 0, 0, 0, 1};
      std::vector<T> plain(x.size()), all = residual;
      run(stream, Dropout<T>{x.data(), nullptr, nullptr, plain.data(), R, C, rows, s.site});
      run(stream, Dropout<T>{x.data(), all.data(), zero.data(), all.data(), R, C, rows, s.site});
      std::vector<double> want(x.size()), want_all(x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        want[i] = double(up(x[i])) * s.factor(int64_t(i), rows * C);
        want_all[i] = (zero[i / size_t(C)] ? 0.0 : want[i]) + double(up(residual[i]));
      }
      CHECK(differs(plain, want, 1e-7) == "");
      CHECK(differs(all, want_all, 3e-7) == "");
    }
}
