// Dropout decisions of many blocks at once, equal to dropout_bits() of kernels/dropout.h.
#pragma once
#include "kernels/dropout.h"

namespace selene::cpu {

/// bits[(r * blocks + i) * 8 + j] = the 16 random bits of element j of block first_block + r * row_step + i; the
/// element is kept when they are below the site's threshold. bits: [rows, 8 * blocks]. Reads d.step, so a caller
/// whose threshold is 65536 (off) doesn't call. About 0.35 ns an element where rows * blocks is a multiple of 16.
void dropout_bits_rows(const DropoutSite& d, uint64_t first_block, int64_t rows, uint64_t row_step, int64_t blocks,
                       uint16_t* bits);

/// The same for one row: bits[8 * i + j], [8 * blocks].
inline void dropout_bits_row(const DropoutSite& d, uint64_t first_block, int64_t blocks, uint16_t* bits) {
  dropout_bits_rows(d, first_block, 1, 0, blocks, bits);
}

}  // namespace selene::cpu
