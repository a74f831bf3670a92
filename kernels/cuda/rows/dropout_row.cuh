// Eight neighbouring elements of a dense tensor, as a thread of the row and pointwise kernels holds them: they are
// whole 16-byte packs, and one Philox block decides eight (inverted dropout, Srivastava et al. 2014).
#pragma once
#include "kernels/cuda/pack.cuh"
#include "kernels/dropout.h"

namespace selene::cuda {

struct Eight {
  float v[8];
};

/// The first n of x[0..7] and 0 beyond, as they are in memory. Fast: x is 16-byte aligned and n is at least 8, or
/// at most 0.
template <bool Fast, class T>
__device__ inline Pack<T, 8> load_packed(const T* x, int n) {
  Pack<T, 8> out;
  if constexpr (Fast) {
    Pack<uint32_t, 2 * int(sizeof(T))> words = {};  // chosen as words, as in widen
    if (n > 0) words = load_pack<2 * int(sizeof(T))>(reinterpret_cast<const uint32_t*>(x));
    memcpy(&out, &words, sizeof(out));
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j) out.v[j] = j < n ? x[j] : T{};
  }
  return out;
}
template <class T>
__device__ inline Eight widen(const Pack<T, 8>& x) {
  Eight out;
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
    if constexpr (sizeof(T) == 2) {  // by pairs: a choice between 2-byte elements would take two instructions each
      uint32_t pair;
      memcpy(&pair, &x.v[j], 4);
      out.v[j] = up(T{uint16_t(pair)}), out.v[j + 1] = up(T{uint16_t(pair >> 16)});
    } else {
      out.v[j] = up(x.v[j]), out.v[j + 1] = up(x.v[j + 1]);
    }
  }
  return out;
}
template <bool Fast, class T>
__device__ inline Eight load_eight(const T* x, int n) {
  return widen(load_packed<Fast>(x, n));
}
/// The first n of x to y[0..7]; Fast as for load_packed.
template <bool Fast, class T>
__device__ inline void store_eight(T* y, const Eight& x, int n) {
  if constexpr (Fast) {
    if (n <= 0) return;
    Pack<T, 8> pack;
#pragma unroll
    for (int j = 0; j < 8; ++j) pack.v[j] = down<T>(x.v[j]);
    store_pack(y, pack);
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j)
      if (j < n) y[j] = down<T>(x.v[j]);
  }
}

SELENE_HD bool dropout_on(const DropoutSite& d) { return d.threshold < 65536; }

/// Bit j is set when the j-th element from e on survives, for any e; examples have `size` elements.
__device__ inline uint32_t dropout_keeps_any(const DropoutSite& d, uint64_t b, uint64_t e, uint64_t size) {
  uint32_t keeps = 0;
  Philox bits = {};
#pragma unroll 1  // one copy of the generator's code
  for (int j = 0; j < 8; ++j) {
    const int at = int(e & 7);
    if (j == 0 || at == 0) bits = dropout_bits(d, dropout_block(b, e));
    const uint32_t low = at < 2 ? bits.v[0] : bits.v[1];  // registers can't be indexed
    const uint32_t high = at < 6 ? bits.v[2] : bits.v[3];
    const uint32_t word = at < 4 ? low : high;
    keeps |= uint32_t(((word >> (16 * (at & 1))) & 0xffffu) < d.threshold) << j;
    if (++e == size) e = 0, ++b;
  }
  return keeps;
}

/// What to multiply elements e to e + 7 of example b with: 0 or the survivors' factor; 1 where dropout is off.
/// Fast: e is a multiple of 8. A factor and not a choice, so that NaN stays visible in a dropped element.
template <bool Fast>
__device__ inline Eight dropout_factors(const DropoutSite& d, uint64_t b, uint64_t e, uint64_t size) {
  Eight out;
  if (!dropout_on(d)) {
#pragma unroll
    for (int j = 0; j < 8; ++j) out.v[j] = 1.0f;
    return out;
  }
  const float scale = dropout_scale(d.threshold);
  if constexpr (Fast) {
    const Philox bits = dropout_bits(d, dropout_block(b, e));
#pragma unroll
    for (int j = 0; j < 8; ++j) out.v[j] = dropout_keeps(bits, j, d.threshold) ? scale : 0.0f;
  } else {
    const uint32_t keeps = dropout_keeps_any(d, b, e, size);
#pragma unroll
    for (int j = 0; j < 8; ++j) out.v[j] = (keeps >> j & 1u) != 0 ? scale : 0.0f;
  }
  return out;
}
/// Where an element lies: element e of example b, whose examples have `size` elements.
struct DropoutPlace {
  uint64_t b, e, size;

  /// That of element i of the whole tensor. Fast: i and size are multiples of 8.
  template <bool Fast>
  static __device__ DropoutPlace of(const DropoutSite& d, int64_t i, int64_t size) {
    uint64_t b = 0;
    if (dropout_on(d)) {  // a division in 64 bits takes as long as the random bits
      const uint64_t n = Fast ? uint64_t(i) >> 3 : uint64_t(i), m = Fast ? uint64_t(size) >> 3 : uint64_t(size);
      b = (n | m) >> 32 == 0 ? uint32_t(n) / uint32_t(m) : n / m;
    }
    return {b, uint64_t(i) - b * uint64_t(size), uint64_t(size)};
  }
  __device__ void advance(uint64_t elements) {
    for (e += elements; e >= size; e -= size) ++b;
  }
};
/// The same for elements i to i + 7 of the whole tensor.
template <bool Fast>
__device__ inline Eight dropout_factors_at(const DropoutSite& d, int64_t i, int64_t size) {
  const DropoutPlace place = DropoutPlace::of<Fast>(d, i, size);
  return dropout_factors<Fast>(d, place.b, place.e, place.size);
}

__device__ inline void multiply(Eight& x, const Eight& factor) {
#pragma unroll
  for (int j = 0; j < 8; ++j) x.v[j] *= factor.v[j];
}

/// How many of the elements from i on are there, 8 at most.
SELENE_HD int eight_or_rest(int64_t total, int64_t i) { return total - i < 8 ? int(total - i) : 8; }

}  // namespace selene::cuda
