// exp, log, erf, tanh and their relations without branches or tables, so that plain loops over them vectorise inside
// SELENE_CLONES functions. float: minimax polynomials of our own (Lawson-weighted least squares on Chebyshev nodes,
// rounded to float); double: the standard library, for gradient checks. NaN stays NaN everywhere.
#pragma once
#include <cmath>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/dtype.h"

namespace selene::cpu {

/// a b + c, in one rounding where the build has clones (they have the instruction); else in two, which is faster than
/// the library's emulation.
SELENE_INLINE float fmadd(float a, float b, float c) {
#if defined(SELENE_CLONES_ON) || defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
SELENE_INLINE double fmadd(double a, double b, double c) { return a * b + c; }

SELENE_INLINE float int_as_float(int32_t i) {
  float x;
  std::memcpy(&x, &i, 4);
  return x;
}
SELENE_INLINE int32_t float_as_int(float x) {
  int32_t i;
  std::memcpy(&i, &x, 4);
  return i;
}

/// x = n ln 2 + r with |r| <= ln 2 / 2; returns r and n. Meaningless where |x| > 2^20 (callers select another value
/// there).
SELENE_INLINE float exp_reduce(float x, int32_t& n) {
  const float shifted = fmadd(x, 1.44269504f, 12582912.0f);  // 1.5 * 2^23: the sum's low bits are round(x / ln 2)
  const float whole = shifted - 12582912.0f;
  n = float_as_int(shifted) - 0x4b400000;
  return fmadd(whole, -1.42860677e-06f, fmadd(whole, -0.693145752f, x));
}
/// (exp(r) - 1 - r) / r^2 on [-ln 2 / 2, ln 2 / 2]; relative error of exp 3.1e-9.
SELENE_INLINE float exp_poly(float r) {
  const float q = fmadd(fmadd(r, 0x1.6a23f2p-10f, 0x1.123a0ap-7f), r, 0x1.5558f2p-5f);
  return fmadd(fmadd(q, r, 0x1.555492p-3f), r, 0x1.fffffcp-2f);
}

/// e^x. float: at most 1 ulp off on [-87.3, 88.7]; 0 below, inf above.
SELENE_INLINE float exp_fast(float x) {
  int32_t n;
  const float r = exp_reduce(x, n);
  const float p = fmadd(exp_poly(r), r * r, r) + 1.0f;
  // Adding n to the exponent field overflows only where e^x does: those lanes are replaced.
  const float y = int_as_float(int32_t(uint32_t(float_as_int(p)) + (uint32_t(n) << 23)));
  const float low = x < -87.3365479f ? 0.0f : y;
  return x <= 88.7228394f ? low : x + int_as_float(0x7f800000);  // NaN + inf = NaN
}
SELENE_INLINE double exp_fast(double x) { return std::exp(x); }

/// e^x for x <= 0, three operations shorter: a NaN with payload bits may come out as any number.
SELENE_INLINE float exp_negative(float x) {
  int32_t n;
  const float r = exp_reduce(x, n);
  const float p = fmadd(exp_poly(r), r * r, r) + 1.0f;
  const float y = int_as_float(int32_t(uint32_t(float_as_int(p)) + (uint32_t(n) << 23)));
  return x < -87.3365479f ? 0.0f : y;
}

/// e^x - 1 for x <= 0, exact in the relative sense near 0 (ELU).
SELENE_INLINE float expm1_negative(float x) {
  const float clamped = x < -30.0f ? -30.0f : x;  // -1 from there on; NaN passes
  int32_t n;
  const float r = exp_reduce(clamped, n);
  const float scale = int_as_float(int32_t(uint32_t(n + 127) << 23)), p = fmadd(exp_poly(r), r * r, r);
  const float y = fmadd(scale, p, scale - 1.0f);
  return x == x ? y : x;
}
SELENE_INLINE double expm1_negative(double x) { return std::expm1(x); }

/// Natural logarithm. float: at most 2 ulp off for normal and subnormal x; -inf at 0, NaN below.
SELENE_INLINE float log_fast(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const float scaled = tiny ? x * 8388608.0f : x;
  const int32_t bits = float_as_int(scaled), e = (bits - 0x3f3504f3) >> 23;  // fraction in [sqrt(1/2), sqrt(2))
  const float f = int_as_float(int32_t(uint32_t(bits) - (uint32_t(e) << 23))) - 1.0f;
  const float power = float(e) - (tiny ? 23.0f : 0.0f), f2 = f * f;
  float p = fmadd(f, -0.0763449776f, 0.127615775f);
  p = fmadd(fmadd(p, f, -0.131601822f), f, 0.142017579f);
  p = fmadd(fmadd(p, f, -0.166233574f), f, 0.200012269f);
  p = fmadd(fmadd(p, f, -0.250008210f), f, 0.333333317f);
  const float tail = fmadd(f2 * f, p, fmadd(-0.5f, f2, power * 1.42860677e-06f));
  const float y = fmadd(power, 0.693145752f, f + tail), inf = int_as_float(0x7f800000);
  const float special = x == 0.0f ? -inf : x > 0.0f ? inf : x - x;  // negative: replaced by NaN below; NaN stays
  const float wrong = x < 0.0f ? int_as_float(0x7fc00000) : special;
  return x > 0.0f && x < inf ? y : wrong;
}
SELENE_INLINE double log_fast(double x) { return std::log(x); }

/// log(1 + x) for x >= 0; the second term is what rounding 1 + x lost.
SELENE_INLINE float log1p_positive(float x) {
  const float u = 1.0f + x;
  return log_fast(u) + (x - (u - 1.0f)) / u;
}
SELENE_INLINE double log1p_positive(double x) { return std::log1p(x); }

/// 1 / (1 + e^-x).
SELENE_INLINE float sigmoid(float x) { return 1.0f / (1.0f + exp_fast(-x)); }
SELENE_INLINE double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// Hyperbolic tangent; relative error about 2e-7.
SELENE_INLINE float tanh_fast(float x) {
  const float a = std::fabs(x), e = exp_fast(-2.0f * a), large = std::copysign((1.0f - e) / (1.0f + e), x),
              x2 = x * x;
  float p = fmadd(x2, -0.00543945328f, 0.0203979796f);
  p = fmadd(fmadd(fmadd(p, x2, -0.0536650548f), x2, 0.133305436f), x2, -0.333332489f);
  const float small = fmadd(x * x2, p, x);
  return a < 0.625f ? small : large;
}
SELENE_INLINE double tanh_fast(double x) { return std::tanh(x); }

/// e^(a^2 / 2) Phi(-a) for a >= 0 (Mills' ratio over sqrt(2 pi)), as a polynomial in a / (1 + a / 5) that is exact at
/// 0; absolute error of Phi 1.6e-9 before rounding.
SELENE_INLINE float normal_tail_ratio(float a) {
  const float finite = a > 1e18f ? 1e18f : a, u = finite / fmadd(0.2f, finite, 1.0f);
  float p = fmadd(u, 7.02033576e-05f, -0.00117188192f);
  p = fmadd(fmadd(p, u, 0.00953667797f), u, -0.0489451103f);
  p = fmadd(fmadd(p, u, 0.170212790f), u, -0.398942351f);
  return fmadd(p, u, 0.5f);
}

/// erf(x). float: absolute error 1e-7, relative error 5e-7.
SELENE_INLINE float erf_fast(float x) {
  const float a = std::fabs(x), x2 = x * x;
  float p = fmadd(x2, 7.85386364e-05f, -0.000801019429f);
  p = fmadd(fmadd(p, x2, 0.00518832775f), x2, -0.0268538129f);
  p = fmadd(fmadd(fmadd(p, x2, 0.112835854f), x2, -0.37612626f), x2, 0.128379107f);
  const float tail = 2.0f * exp_fast(-x2) * normal_tail_ratio(1.41421356f * a);
  return a < 0.9f ? fmadd(x, p, x) : std::copysign(1.0f - tail, x);
}
SELENE_INLINE double erf_fast(double x) { return std::erf(x); }

/// Phi(x) and phi(x): distribution function and density of the standard normal. float: absolute error of Phi 1e-7.
SELENE_INLINE void normal_cdf_pdf(float x, float& cdf, float& pdf) {
  const float e = exp_negative(-0.5f * x * x), tail = e * normal_tail_ratio(std::fabs(x));
  cdf = x < 0.0f ? tail : 1.0f - tail;
  pdf = 0.398942280f * e;
}
SELENE_INLINE void normal_cdf_pdf(double x, double& cdf, double& pdf) {
  cdf = 0.5 * std::erfc(-x * 0.70710678118654752440);
  pdf = 0.39894228040143267794 * std::exp(-0.5 * x * x);
}

}  // namespace selene::cpu
