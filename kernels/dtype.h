// Element types, and 2-byte floats of our own with explicit conversions only, so that arithmetic never happens in
// half precision by accident: every load goes through up(), every store through down<T>(). C++17; also read by device
// code.
#pragma once
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define SELENE_HD __host__ __device__ inline
#else
#define SELENE_HD inline
#endif

namespace selene {

/// u16 is for columns of data (data/columns.h); no operation has it.
enum class DType : int32_t { f32, f16, bf16, f64, i32, i64, u8, u16 };

/// Bytes of one element.
SELENE_HD constexpr int64_t size_of(DType t) {
  if (t == DType::f16 || t == DType::bf16 || t == DType::u16) return 2;
  return t == DType::u8 ? 1 : t == DType::f64 || t == DType::i64 ? 8 : 4;
}
/// "f32", "bf16", ...
constexpr const char* name_of(DType t) {
  constexpr const char* names[] = {"f32", "f16", "bf16", "f64", "i32", "i64", "u8", "u16"};
  return names[int(t)];
}

struct bf16 {
  uint16_t bits;  // 1 sign, 8 exponent, 7 fraction bits
};
struct f16 {
  uint16_t bits;  // IEEE 754 binary16
};

SELENE_HD uint32_t float_bits(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  return u;
}
SELENE_HD float bits_float(uint32_t u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}

SELENE_HD float up(float x) { return x; }
SELENE_HD double up(double x) { return x; }
SELENE_HD float up(bf16 x) { return bits_float(uint32_t(x.bits) << 16); }
/// Exact: the exponent is shifted by a multiplication, which also normalises subnormals; inf and NaN are patched.
SELENE_HD float up(f16 x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#else
  const uint32_t magnitude = uint32_t(x.bits & 0x7fffu) << 13, sign = uint32_t(x.bits & 0x8000u) << 16;
  const float scaled = bits_float(magnitude) * 5.192296858534828e+33f;  // 2^112
  const uint32_t special = magnitude >= 0x0f800000u ? (magnitude | 0x7f800000u) : float_bits(scaled);
  return bits_float(special | sign);
#endif
}

template <class T>
SELENE_HD T down(double x) {
  return T(x);
}
template <class T>
SELENE_HD T down(float x) {
  return T(x);
}
/// Round to nearest, ties to even; NaN stays NaN.
template <>
SELENE_HD bf16 down<bf16>(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#else
  const uint32_t u = float_bits(x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return bf16{uint16_t((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded)};
#endif
}
template <>
SELENE_HD f16 down<f16>(float x) {
#ifdef __CUDA_ARCH__
  f16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#else
  const uint32_t u = float_bits(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return f16{uint16_t(sign | 0x7e00u)};
  if (a >= 0x477ff000u) return f16{uint16_t(sign | 0x7c00u)};  // rounds to 65536 or more: infinity
  if (a < 0x38800000u) {  // subnormal: adding 0.5 aligns the fraction and rounds it
    const float s = bits_float(a) + 0.5f;
    return f16{uint16_t(sign | (float_bits(s) - 0x3f000000u))};
  }
  return f16{uint16_t(sign | ((a - 0x38000000u + 0x0fffu + ((a >> 13) & 1u)) >> 13))};
#endif
}
template <>
SELENE_HD bf16 down<bf16>(double x) {
  return down<bf16>(float(x));
}
template <>
SELENE_HD f16 down<f16>(double x) {
  return down<f16>(float(x));
}

template <class T>
struct AccOf {
  using type = float;
};
template <>
struct AccOf<double> {
  using type = double;
};
/// The type of every sum, statistic and parameter gradient: fp32, fp64 for T = double.
template <class T>
using Acc = typename AccOf<T>::type;

template <class T>
struct DTypeOf;
// clang-format off
template <> struct DTypeOf<float> { static constexpr DType value = DType::f32; };
template <> struct DTypeOf<f16> { static constexpr DType value = DType::f16; };
template <> struct DTypeOf<bf16> { static constexpr DType value = DType::bf16; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::f64; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::i32; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::i64; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::u8; };
template <> struct DTypeOf<uint16_t> { static constexpr DType value = DType::u16; };
// clang-format on
template <class T>
constexpr DType dtype_of = DTypeOf<T>::value;

}  // namespace selene
