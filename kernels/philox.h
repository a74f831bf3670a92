// Philox4x32-10, the counter-based generator of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
// Counter-based: the number drawn for an element depends on what the element is, never on who computes it or when.
// C++17; also read by device code.
#pragma once
#include "kernels/dtype.h"

namespace selene {

struct Philox { uint32_t v[4]; };

/// Ten rounds on counter c (four words) with key k (two words).
SELENE_HD Philox philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
    const uint32_t n0 = uint32_t(p1 >> 32) ^ c1 ^ k0, n2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c1 = uint32_t(p1), c3 = uint32_t(p0), c0 = n0, c2 = n2;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return Philox{{c0, c1, c2, c3}};
}

/// A host stream of numbers: key = seed, counter = (draw number, stream). Used by generators, shuffles and initialisers.
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
