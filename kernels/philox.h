// Philox4x32, the counter-based generator of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
// Counter-based: the number drawn for an element depends on what the element is, never on who computes it or when.
// C++17; also read by device code.
#pragma once
#include "kernels/dtype.h"

namespace selene {

struct Philox {
  uint32_t v[4];
};

/// The 64 bits of a b. On the device as the one instruction that it is: nvcc 13 would add a zero to the upper half.
SELENE_HD void multiply_wide(uint32_t a, uint32_t b, uint32_t& high, uint32_t& low) {
#ifdef __CUDA_ARCH__
  asm("{ .reg .b64 p; mul.wide.u32 p, %2, %3; mov.b64 {%0, %1}, p; }" : "=r"(low), "=r"(high) : "r"(a), "r"(b));
#else
  const uint64_t p = uint64_t(a) * b;
  high = uint32_t(p >> 32), low = uint32_t(p);
#endif
}

/// Rounds on counter c (four words) with key k (two words). Ten is what everybody has; seven are the fewest that pass
/// every test of TestU01 (Salmon et al. 2011, table 2).
template <int Rounds = 10>
SELENE_HD Philox philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < Rounds; ++round) {
    uint32_t high0, low0, high2, low2;
    multiply_wide(0xD2511F53u, c0, high0, low0), multiply_wide(0xCD9E8D57u, c2, high2, low2);
    c0 = high2 ^ c1 ^ k0, c2 = high0 ^ c3 ^ k1, c1 = low2, c3 = low0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return Philox{{c0, c1, c2, c3}};
}

/// A host stream of numbers: key = seed, counter = (draw number, stream). Used by generators, shuffles and
/// initialisers.
class PhiloxStream {
 public:
  PhiloxStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  /// 32 uniform bits.
  uint32_t bits() {
    if (used_ == 4) {
      block_ = philox(uint32_t(draw_), uint32_t(draw_ >> 32), uint32_t(stream_), uint32_t(stream_ >> 32),
                      uint32_t(seed_), uint32_t(seed_ >> 32));
      ++draw_, used_ = 0;
    }
    return block_.v[used_++];
  }
  /// Uniform in [0, 1), 53 bits.
  double uniform() {
    const uint64_t high = bits(), low = bits();
    return double((high << 21) ^ (low >> 11)) * 0x1p-53;
  }
  /// Uniform in {0, ..., n-1} without bias; n >= 1.
  uint32_t below(uint32_t n) {
    const uint32_t limit = uint32_t(-n) % n;  // reject the incomplete last block
    for (;;) {
      const uint64_t m = uint64_t(bits()) * n;
      if (uint32_t(m) >= limit) return uint32_t(m >> 32);
    }
  }

 private:
  uint64_t seed_, stream_, draw_ = 0;
  int used_ = 4;
  Philox block_{};
};

}  // namespace selene
