// Shared by the kernel tests: inputs, comparison against a double reference, and the same bits for any number of
// threads.
#pragma once
#ifdef _OPENMP
#include <omp.h>
#endif

#include <cmath>
#include <string>
#include <vector>

#include "kernels/dropout.h"
#include "tests/support/catch.h"

namespace selene::testing {

inline const std::vector<int64_t> kSizes = {1, 3, 7, 15, 16, 17, 31, 33, 100, 257};

/// Uniform in [-scale, scale), rounded to T, none closer to 0 than a thousandth of scale (kinks).
template <class T>
std::vector<T> numbers(int64_t n, uint64_t seed, double scale = 1) {
  PhiloxStream stream(17, seed);
  std::vector<T> v(static_cast<size_t>(n));
  for (T& x : v) {
    double u = stream.uniform() * 2 - 1;
    if (std::fabs(u) < 1e-3) u = 0.5;
    x = down<T>(u * scale);
  }
  return v;
}

/// Half a unit in the last place, relative.
template <class T>
constexpr double kRounding = 0x1p-53;
template <>
inline constexpr double kRounding<float> = 0x1p-24;
template <>
inline constexpr double kRounding<f16> = 0x1p-11;
template <>
inline constexpr double kRounding<bf16> = 0x1p-8;

/// Empty when every |got - want| <= one rounding to T + `arithmetic` (absolute, as for fp32), else the first place
/// that isn't.
template <class T>
std::string differs(const std::vector<T>& got, const std::vector<double>& want, double arithmetic) {
  if (got.size() != want.size()) return "sizes " + std::to_string(got.size()) + " and " + std::to_string(want.size());
  const double floor = std::is_same_v<T, double> ? arithmetic * 0x1p-26 : arithmetic;
  const double tiny = std::is_same_v<T, f16> ? 0x1p-25 : 0;  // half a subnormal
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = double(up(got[i])), allowed = 1.01 * kRounding<T> * std::fabs(want[i]) + floor + tiny;
    if (g == want[i]) continue;  // infinities
    if (!(std::fabs(g - want[i]) <= allowed))
      return "at " + std::to_string(i) + ": " + std::to_string(g) + ", wanted " + std::to_string(want[i]) +
             " within " + std::to_string(allowed * 1e9) + "e-9";
  }
  return "";
}

template <class T>
std::string bytes(const std::vector<T>& v) {
  return std::string(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(T));
}

/// True when f(), which returns its results' bytes, gives the same with 1, 2 and 3 threads.
template <class F>
bool same_bits(const F& f) {
#ifdef _OPENMP
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::string one = f();
  bool same = true;
  for (const int threads : {2, 3}) {
    omp_set_num_threads(threads);
    same = same && f() == one;
  }
  omp_set_num_threads(before);
  return same;
#else
  return f() == f();
#endif
}

/// A site that keeps about 70 %, or keeps everything.
struct Site {
  StepScalars step{};
  DropoutSite site{};
  explicit Site(bool on) {
    step.seed = 0x0123456789abcdef, step.micro_batch = 5;
    site = {&step, 9, on ? 45875u : 65536u};
  }
  /// The factor of element i of a dense tensor whose examples have `example` elements.
  double factor(int64_t i, int64_t example) const {
    if (site.threshold == 65536) return 1;
    const int64_t e = i % example;
    const Philox bits = dropout_bits(site, dropout_block(uint64_t(i / example), uint64_t(e)));
    return dropout_keeps(bits, int(e & 7), site.threshold) ? double(dropout_scale(site.threshold)) : 0.0;
  }
};

}  // namespace selene::testing
