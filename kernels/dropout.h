// Where a dropout decision comes from: the Philox counter of a logical element. Ma et al. 2021 use inverted dropout
// as in Srivastava et al. 2014. C++17; also read by device code.
#pragma once
#include "kernels/backend.h"
#include "kernels/philox.h"

namespace selene {

// Counter = {block (low, high word), site, micro-batch}, key = seed. A block is 8 neighbouring elements; element j of
// a block takes 16 bits: word j / 2, low half for even j. `block` names the element itself, never a padded position:
//   activation [B, N, D], element e = n * D + d of example b:     block = b << 44 | e / 8
//   attention probability (b, h, query q, key k):                 block = (b * H + h) << 44 | q << 20 | k / 8
// so masks don't depend on padding, on the launch shape, or on which rank holds the example.

/// Block of element e of example b (e < 2^47, b < 2^20).
SELENE_HD uint64_t dropout_block(uint64_t b, uint64_t e) { return (b << 44) | (e >> 3); }
/// Block of key k in query row q of head bh = b * H + h (bh < 2^20, q < 2^24, k < 2^23).
SELENE_HD uint64_t dropout_attention_block(uint64_t bh, uint64_t q, uint64_t k) {
  return (bh << 44) | (q << 20) | (k >> 3);
}

/// Of philox(), where masks are drawn: docs/math.md, "Dropout".
constexpr int kDropoutRounds = 7;

/// The 8 x 16 random bits of a block.
SELENE_HD Philox dropout_bits(const DropoutSite& d, uint64_t block) {
  return philox<kDropoutRounds>(uint32_t(block), uint32_t(block >> 32), d.site, uint32_t(d.step->micro_batch),
                                uint32_t(d.step->seed), uint32_t(d.step->seed >> 32));
}
/// True when element j (0..7) of the block survives.
SELENE_HD bool dropout_keeps(const Philox& bits, int j, uint32_t threshold) {
  return ((bits.v[j >> 1] >> (16 * (j & 1))) & 0xffffu) < threshold;
}
/// Factor of the survivors: 65536 / threshold, rounded once.
SELENE_HD float dropout_scale(uint32_t threshold) {
#ifdef __CUDA_ARCH__
  return 65536.0f * __frcp_rn(float(threshold));  // fewer instructions than the division, the same bits
#else
  return 65536.0f / float(threshold);
#endif
}

/// y = dropout(x) * keep_row + residual, on rows [R, C] of which `rows` belong to one example. Also its own gradient.
template <class T>
struct Dropout {
  const T* x;               // [R, C]
  const T* residual;        // [R, C] or null
  const uint8_t* zero_row;  // [R] or null: rows with 1 become 0 (padding)
  T* y;                     // [R, C], may be x or residual
  int64_t R, C;
  int64_t rows;  // rows of one example: example b = r / rows, element e = (r % rows) * C + c
  DropoutSite drop = {};
};
DECLARE_OPERATION(Dropout)

}  // namespace selene
