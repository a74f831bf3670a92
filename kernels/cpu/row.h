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
/// examples have `rows` rows: `begin` counts from the tensor's start, `element` from the example's. The tensor may
/// begin with row `first_row` of all examples.
template <class F>
void parallel_pieces(int64_t R, int64_t C, int64_t rows, const F& f, int64_t first_row = 0) {
  const int64_t begin = first_row * C, end = begin + R * C, example = rows > 0 ? std::min(rows * C, end) : end;
  if (end <= begin) return;
  const int64_t first = begin / example, tasks = ceil_div(example, kTask);
  parallel_for((ceil_div(end, example) - first) * tasks, [&](int64_t i) {
    const int64_t b = first + i / tasks, start = b * example, task = i % tasks * kTask;
    const int64_t from = std::max(task, begin - start), to = std::min({task + kTask, example, end - start});
    for (int64_t e = from; e < to; e += kPiece) f(start + e - begin, std::min(kPiece, to - e), b, e);
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
