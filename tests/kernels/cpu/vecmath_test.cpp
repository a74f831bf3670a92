// The vector functions against the standard library in double.
#include "kernels/cpu/vecmath.h"

#include <limits>

#include "tests/kernels/cpu/rows.h"

namespace selene::testing {
namespace {

using namespace cpu;

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

struct Errors {
  double ulp = 0, absolute = 0, relative = 0;
};
void raise(double& worst, double e) { worst = e <= worst ? worst : std::isnan(e) ? 1e300 : e; }

template <class F, class R>
Errors errors(const F& f, const R& reference, double low, double high) {
  Errors worst;
  constexpr int kPoints = 200'000;
  for (int i = 0; i < kPoints; ++i) {
    const float x = float(low + (high - low) * i / (kPoints - 1));
    const double want = reference(double(x)), e = std::fabs(double(f(x)) - want);
    const float near = std::fabs(float(want));
    raise(worst.ulp, e / double(std::nextafterf(near, kInf) - near));
    raise(worst.absolute, e);
    raise(worst.relative, e == 0 ? 0 : e / std::fabs(want));
  }
  return worst;
}

}  // namespace

TEST_CASE("vecmath: exp") {
  const auto f = [](float x) { return exp_fast(x); };
  const auto reference = [](double x) { return std::exp(x); };
  CHECK(errors(f, reference, -87.3, 88.72).ulp <= 1.1);
  CHECK(errors(f, reference, -1, 1).ulp <= 1.1);
  CHECK(errors([](float x) { return exp_negative(x); }, reference, -87.3, 0).ulp <= 1.1);
  CHECK(exp_fast(0.0f) == 1.0f);
  CHECK(exp_fast(-0.0f) == 1.0f);
  for (const float x : {-87.4f, -88.0f, -103.0f, -1000.0f, -3e38f, -kInf}) {
    CHECK(exp_fast(x) == 0.0f);
    CHECK(exp_negative(x) == 0.0f);
  }
  for (const float x : {88.8f, 89.0f, 128.0f, 1000.0f, 3e38f, kInf}) CHECK(exp_fast(x) == kInf);
  CHECK(std::isnan(exp_fast(kNan)));
  CHECK(std::isnan(exp_negative(kNan)));
  CHECK(exp_fast(1.0) == std::exp(1.0));
}

TEST_CASE("vecmath: expm1 for negative x") {
  const auto reference = [](double x) { return std::expm1(x); };
  CHECK(errors([](float x) { return expm1_negative(x); }, reference, -20, 0).relative <= 1.2e-7);
  CHECK(expm1_negative(-1e-20f) == -1e-20f);
  CHECK(expm1_negative(-kInf) == -1.0f);
  CHECK(std::isnan(expm1_negative(kNan)));
}

TEST_CASE("vecmath: log") {
  const auto f = [](float x) { return log_fast(x); };
  const auto reference = [](double x) { return std::log(x); };
  CHECK(errors(f, reference, 1e-3, 2).ulp <= 1.5);
  CHECK(errors(f, reference, 1, 1e6).ulp <= 1);
  CHECK(errors(f, reference, 1e20, 3e38).ulp <= 1);
  CHECK(log_fast(1.0f) == 0.0f);
  CHECK(log_fast(0.0f) == -kInf);
  CHECK(log_fast(kInf) == kInf);
  CHECK(std::fabs(log_fast(1e-40f) - std::log(1e-40)) < 1e-3);
  CHECK(std::isnan(log_fast(-1.0f)));
  CHECK(std::isnan(log_fast(-kInf)));
  CHECK(std::isnan(log_fast(kNan)));
  const auto log1p = [](float x) { return log1p_positive(x); };
  CHECK(errors(
            log1p, [](double x) { return std::log1p(x); }, 0, 3)
            .relative <= 2e-7);
  CHECK(log1p_positive(1e-20f) == 1e-20f);
}

TEST_CASE("vecmath: erf and the normal distribution") {
  const auto f = [](float x) { return erf_fast(x); };
  const auto reference = [](double x) { return std::erf(x); };
  CHECK(errors(f, reference, -5, 5).absolute <= 1.2e-7);
  CHECK(errors(f, reference, -5, 5).relative <= 5e-7);
  CHECK(errors(f, reference, -1e-3, 1e-3).relative <= 5e-7);
  CHECK(erf_fast(kInf) == 1.0f);
  CHECK(erf_fast(-kInf) == -1.0f);
  CHECK(erf_fast(0.0f) == 0.0f);
  CHECK(std::isnan(erf_fast(kNan)));
  const auto cdf = [](float x) {
    float c, p;
    return normal_cdf_pdf(x, c, p), c;
  };
  const auto pdf = [](float x) {
    float c, p;
    return normal_cdf_pdf(x, c, p), p;
  };
  CHECK(errors(
            cdf, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }, -12, 12)
            .absolute <= 1e-7);
  const auto density = [](double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * 3.14159265358979323846); };
  CHECK(errors(pdf, density, -12, 12).absolute <= 6e-8);
  CHECK(cdf(0.0f) == 0.5f);
  CHECK(cdf(kInf) == 1.0f);
  CHECK(cdf(-kInf) == 0.0f);
  CHECK(std::isnan(cdf(kNan)));
}

TEST_CASE("vecmath: tanh and sigmoid") {
  const auto f = [](float x) { return tanh_fast(x); };
  const auto s = [](float x) { return sigmoid(x); };
  CHECK(errors(
            f, [](double x) { return std::tanh(x); }, -10, 10)
            .relative <= 2e-7);
  CHECK(tanh_fast(kInf) == 1.0f);
  CHECK(tanh_fast(-kInf) == -1.0f);
  CHECK(tanh_fast(1e-30f) == 1e-30f);
  CHECK(std::isnan(tanh_fast(kNan)));
  CHECK(errors(
            s, [](double x) { return 1 / (1 + std::exp(-x)); }, -80, 80)
            .relative <= 2e-7);
  CHECK(sigmoid(-1000.0f) == 0.0f);
  CHECK(sigmoid(1000.0f) == 1.0f);
  CHECK(std::isnan(sigmoid(kNan)));
}

}  // namespace selene::testing
