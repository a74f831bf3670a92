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
template <class T>
__device__ inline Pack<T, 8> narrow(const Eight& x) {
  Pack<T, 8> out;
#pragma unroll
  for (int j = 0; j < 8; ++j) out.v[j] = down<T>(x.v[j]);
  return out;
}
/// The first n of x to y[0..7]; Fast as for load_packed.
template <bool Fast, class T>
__device__ inline void store_packed(T* y, const Pack<T, 8>& x, int n) {
  if constexpr (Fast) {
    if (n > 0) store_pack(y, x);
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j)
      if (j < n) y[j] = x.v[j];
  }
}
template <bool Fast, class T>
__device__ inline void store_eight(T* y, const Eight& x, int n) {
  store_packed<Fast>(y, narrow<T>(x), n);
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

/// n / d for n below 2^31 without a division (Granlund and Montgomery 1994, theorem 4.2): n (2^s + e) / 2^(31 + s).
class Divisor {
 public:
  /// 1 <= d < 2^31.
  explicit Divisor(int64_t d) {
    while (int64_t(1) << shift_ < d) ++shift_;
    factor_ = uint32_t((uint64_t(1) << (31 + shift_)) / uint64_t(d) + 1);
  }
  __device__ uint32_t operator()(uint32_t n) const {
    uint32_t high, low;
    multiply_wide(2 * n, factor_, high, low);
    return high >> shift_;
  }

 private:
  uint32_t factor_ = 0, shift_ = 0;
};

/// What the host can work out once of a dropout site. Units are what a kernel counts with: rows, or eights.
class DropoutEights {
 public:
  /// Where no quotient below fits into 31 bits (`fits`), the fast kernels can't be used. size: units of an example;
  /// first: of unit 0, counted over all examples.
  DropoutEights(const DropoutSite& d, int64_t size, int64_t first = 0)
      : site_(d),
        scale_(dropout_scale(d.threshold)),
        size_(uint32_t(size)),
        first_(uint32_t(first)),
        example_(fits(size) ? size : 1) {}
  static bool fits(int64_t units) { return units > 0 && units < int64_t(1) << 31; }

  struct Place {
    uint32_t b, at;  // example, unit in it
  };
  __device__ Place place(uint32_t unit) const {
    const uint32_t b = example_(unit);
    return {b, unit - b * size_};
  }
  __device__ uint32_t first() const { return first_; }
  /// Of the step, where dropout is on; a kernel with a loop reads it before.
  struct Key {
    uint32_t micro_batch, low, high;
  };
  __device__ Key key() const {
    return {uint32_t(site_.step->micro_batch), uint32_t(site_.step->seed), uint32_t(site_.step->seed >> 32)};
  }
  /// What to multiply elements 8 e to 8 e + 7 of example b with: 0 or the survivors' factor. A factor and not a
  /// choice, so that NaN stays visible in a dropped element.
  __device__ Eight factors(const Key& key, uint32_t b, uint32_t e) const {
    Eight out;
    const uint32_t limit = site_.threshold << 16;
    const Philox bits = philox<kDropoutRounds>(e, b << 12, site_.site, key.micro_batch, key.low, key.high);
#pragma unroll
    for (int j = 0; j < 8; ++j) {  // the half word of element j in the upper half; what stands below changes nothing
      const uint32_t half = j % 2 ? bits.v[j / 2] : bits.v[j / 2] << 16;
      out.v[j] = half < limit ? scale_ : 0.0f;
    }
    return out;
  }

 private:
  DropoutSite site_;
  float scale_;
  uint32_t size_, first_;
  Divisor example_;
};

/// The same for elements that lie anywhere: e to e + 7 of example b, whose examples have `size` elements.
__device__ inline Eight dropout_factors_any(const DropoutSite& d, uint64_t b, uint64_t e, uint64_t size) {
  Eight out;
  const float scale = dropout_scale(d.threshold);
  const uint32_t keeps = dropout_keeps_any(d, b, e, size);
#pragma unroll
  for (int j = 0; j < 8; ++j) out.v[j] = (keeps >> j & 1u) != 0 ? scale : 0.0f;
  return out;
}

/// Numbers of eights, in 32 bits in a fast kernel.
template <bool Fast>
using EightIndex = std::conditional_t<Fast, uint32_t, int64_t>;

/// Factors of eight e of a tensor whose examples have `size` elements and whose first element is number `first` of
/// them all; Fast: eights do not straddle examples, `drop` knows the rest.
template <bool Fast>
__device__ inline Eight dropout_factors(const DropoutSite& d, const DropoutEights& drop, EightIndex<Fast> e,
                                        int64_t size, int64_t first = 0) {
  if (!dropout_on(d)) return {1, 1, 1, 1, 1, 1, 1, 1};
  if constexpr (Fast) {
    const DropoutEights::Place place = drop.place(drop.first() + e);
    return drop.factors(drop.key(), place.b, place.at);
  } else {
    const uint64_t i = uint64_t(e) * 8 + uint64_t(first), b = i / uint64_t(size);
    return dropout_factors_any(d, b, i - b * uint64_t(size), uint64_t(size));
  }
}
/// Factors of the eight that begins in column c of row r; examples have `rows` rows of C columns, which `drop`
/// counts. Fast: C is a multiple of 8. known: drop.key(), or null.
template <bool Fast>
__device__ inline Eight dropout_factors(const DropoutSite& d, const DropoutEights& drop, EightIndex<Fast> r,
                                        int64_t c, int64_t rows, int64_t C,
                                        const DropoutEights::Key* known = nullptr) {
  if (!dropout_on(d)) return {1, 1, 1, 1, 1, 1, 1, 1};
  if constexpr (Fast) {
    const DropoutEights::Place place = drop.place(r);
    return drop.factors(known ? *known : drop.key(), place.b, place.at * uint32_t(C / 8) + uint32_t(c) / 8);
  } else {
    const uint64_t b = uint64_t(r) / uint64_t(rows);
    const uint64_t e = (uint64_t(r) - b * uint64_t(rows)) * uint64_t(C) + uint64_t(c);
    return dropout_factors_any(d, b, e, uint64_t(rows) * uint64_t(C));
  }
}

__device__ inline void multiply(Eight& x, const Eight& factor) {
#pragma unroll
  for (int j = 0; j < 8; ++j) x.v[j] *= factor.v[j];
}

/// How many of the elements from i on are there, 8 at most.
SELENE_HD int eight_or_rest(int64_t total, int64_t i) { return total - i < 8 ? int(total - i) : 8; }
/// Where the eight that begins in column c of row r lies in a tensor of rows of C columns.
template <bool Fast>
__device__ inline int64_t place_of(EightIndex<Fast> r, int64_t c, int64_t C) {
  if constexpr (Fast) return int64_t(r * uint32_t(C / 8) + uint32_t(c / 8)) * 8;
  else return r * C + c;
}
/// How many of eight e are there.
template <bool Fast>
SELENE_HD int elements_of(int64_t total, EightIndex<Fast> e) {
  if constexpr (Fast) return e < uint32_t(total / 8) ? 8 : 0;
  else return eight_or_rest(total, e * 8);
}
/// True where every eight is aligned (`aligned`) and of one example, and 32 bits number them. first: of all elements,
/// that with which the tensor begins.
template <class A>
bool whole_eights(const A& a, bool aligned, int64_t first = 0) {
  const int64_t total = a.R * a.C, size = a.rows * a.C;
  return aligned && total % 8 == 0 && (first + total) / 8 < int64_t(1) << 31 &&
         (!dropout_on(a.drop) || (size % 8 == 0 && first % 8 == 0 && DropoutEights::fits(size / 8)));
}

}  // namespace selene::cuda
