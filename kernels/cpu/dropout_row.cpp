// Philox4x32 (Salmon et al. 2011, kernels/philox.h) on several counters at once. Written with intrinsics: GCC 12
// turns the loop over philox() into code three to five times slower than one 32 x 32 -> 64 bit multiply per lane.
#include "kernels/cpu/dropout_row.h"

#include <immintrin.h>

#include <algorithm>

namespace selene::cpu {
namespace {

constexpr int64_t kStep = 16;  // counters of one call below
/// What is the same for every block.
struct Site {
  uint32_t c2, c3, key0, key1;
};

void step_scalar(const Site& s, const uint64_t* block, uint16_t* bits) {
  for (int64_t i = 0; i < kStep; ++i) {
    const Philox p = philox<kDropoutRounds>(uint32_t(block[i]), uint32_t(block[i] >> 32), s.c2, s.c3, s.key0, s.key1);
    memcpy(bits + 8 * i, p.v, 16);  // little endian: the low half of a word is its even element
  }
}

// Each 64-bit lane holds one 32-bit word of one counter; only the low half counts until the end. Four independent
// groups of four counters hide the latency of the multiplications.
__attribute__((target("avx2"))) void step_avx2(const Site& s, const uint64_t* block, uint16_t* bits) {
  constexpr int groups = kStep / 4;
  const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
  const __m256i low = _mm256_set1_epi64x(0xffffffff);
  __m256i c0[groups], c1[groups], c2[groups], c3[groups];
  for (int g = 0; g < groups; ++g) {
    c0[g] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + 4 * g));
    c1[g] = _mm256_srli_epi64(c0[g], 32), c2[g] = _mm256_set1_epi64x(s.c2), c3[g] = _mm256_set1_epi64x(s.c3);
  }
#pragma GCC unroll 7
  for (uint32_t r = 0; r < kDropoutRounds; ++r) {
    const __m256i key0 = _mm256_set1_epi64x(s.key0 + r * 0x9E3779B9u);
    const __m256i key1 = _mm256_set1_epi64x(s.key1 + r * 0xBB67AE85u);
    for (int g = 0; g < groups; ++g) {
      const __m256i p0 = _mm256_mul_epu32(c0[g], m0), p1 = _mm256_mul_epu32(c2[g], m1);
      c0[g] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(c1[g], key0));
      c2[g] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(c3[g], key1));
      c1[g] = p1, c3[g] = p0;
    }
  }
  for (int g = 0; g < groups; ++g) {
    const __m256i w01 = _mm256_or_si256(_mm256_and_si256(c0[g], low), _mm256_slli_epi64(c1[g], 32));
    const __m256i w23 = _mm256_or_si256(_mm256_and_si256(c2[g], low), _mm256_slli_epi64(c3[g], 32));
    const __m256i even = _mm256_unpacklo_epi64(w01, w23), odd = _mm256_unpackhi_epi64(w01, w23);
    __m256i* out = reinterpret_cast<__m256i*>(bits + 32 * g);
    _mm256_storeu_si256(out, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(even, odd, 0x31));
  }
}

}  // namespace

void dropout_bits_rows(const DropoutSite& d, uint64_t first_block, int64_t rows, uint64_t row_step, int64_t blocks,
                       uint16_t* bits) {
  static const auto step = __builtin_cpu_supports("avx2") ? step_avx2 : step_scalar;
  const Site s{d.site, uint32_t(d.step->micro_batch), uint32_t(d.step->seed), uint32_t(d.step->seed >> 32)};
  uint64_t block[kStep];
  const int64_t total = rows * blocks;
  int64_t row = 0, column = 0;
  for (int64_t at = 0; at < total; at += kStep) {
    for (int64_t i = 0; i < kStep;) {
      const int64_t n = std::min(kStep - i, blocks - column);
      const uint64_t start = first_block + uint64_t(row) * row_step + uint64_t(column);
      for (int64_t j = 0; j < n; ++j) block[i + j] = start + uint64_t(j);
      i += n, column += n;
      if (column == blocks) column = 0, ++row;  // past the last row: numbers that nobody reads
    }
    if (at + kStep <= total) {
      step(s, block, bits + 8 * at);
    } else {
      uint16_t last[8 * kStep];
      step(s, block, last);
      memcpy(bits + 8 * at, last, size_t(16 * (total - at)));
    }
  }
}

}  // namespace selene::cpu
