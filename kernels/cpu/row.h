// What the row and pointwise kernels share: cutting [R, C] into pieces that never straddle an example, and the
// dropout factors of such a piece.
#pragma once
#include <algorithm>

#include "kernels/cpu/dropout_row.h"
#include "kernels/cpu/parallel.h"

namespace selene::cpu {

constexpr int64_t kPiece = 1024;        // elements that a pointwise kernel holds in its stack buffers
constexpr int64_t kTask = 16 * kPiece;  // elements of one task

/// Rows of one task where a row has C elements: about kTask elements, at least one row.
constexpr int64_t rows_per_task(int64_t C) { return std::max<int64_t>(1, kTask / std::max<int64_t>(1, C)); }

/// Calls f(begin, n, example, element) for pieces of n <= kPiece neighbouring elements of dense rows [R, C] whose
/// examples have `rows` rows: `begin` counts from the tensor's start, `element` from the example's.
template <class F>
void parallel_pieces(int64_t R, int64_t C, int64_t rows, const F& f) {
  const int64_t total = R * C, example = rows > 0 ? std::min(rows, R) * C : total;
  if (total <= 0) return;
  const int64_t tasks = ceil_div(example, kTask);
  parallel_for(ceil_div(total, example) * tasks, [&](int64_t i) {
    const int64_t b = i / tasks, first = i % tasks * kTask, start = b * example;
    const int64_t end = std::min({first + kTask, example, total - start});
    for (int64_t e = first; e < end; e += kPiece) f(start + e, std::min(kPiece, end - e), b, e);
  });
}

SELENE_INLINE bool dropout_on(const DropoutSite& d) { return d.threshold < 65536; }

/// The random bits of elements [element, element + n) of example b, in scratch, which holds n + 16 numbers.
inline const uint16_t* dropout_row(const DropoutSite& d, int64_t b, int64_t element, int64_t n, uint16_t* scratch) {
  const int64_t first = element & 7;
  dropout_bits_row(d, dropout_block(uint64_t(b), uint64_t(element)), (first + n + 7) / 8, scratch);
  return scratch + first;
}
/// 0 or the survivors' scale. A factor and not a choice, so that NaN stays visible in a dropped element.
template <class A>
SELENE_INLINE A dropout_factor(uint16_t bits, uint32_t threshold, A scale) {
  return uint32_t(bits) < threshold ? scale : A(0);
}

}  // namespace selene::cpu
