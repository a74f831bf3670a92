// The second stage of a sum over rows: what blocks of rows left in a workspace is added in an order that depends on
// the shape alone.
#pragma once
#include "kernels/cuda/rows/rows.cuh"

namespace selene::cuda {

/// Two arrays that lie side by side in the workspace: columns below `split` belong to the first.
struct ColumnTargets {
  float *first, *second;
  int64_t split;
};

/// Rows of one block of a kernel of the first stage, which takes `strips` of columns side by side: enough blocks for
/// a large device, but at most 512 partial sums a column.
inline int64_t rows_of_column_block(int64_t R, int64_t strips) {
  constexpr int64_t most = 256, least = 32, wanted = 512;
  int64_t rows = most;
  while (rows > least && ceil_div(R, rows) * strips < wanted) rows /= 2;
  const int64_t few = ceil_div(R, wanted);
  return rows > few ? rows : few;
}

constexpr int kColumnsLog2 = 3;  // of one block of threads: few, so that many runs of rows are read at once

/// Grid: 8 columns. Adds the sums over `blocks` rows of partial [blocks, width] to their targets.
static __global__ void __launch_bounds__(kSumThreads)
    add_column_blocks(const float* partial, int64_t blocks, int64_t width, ColumnTargets to) {
  __shared__ float buf[kSumThreads];
  const int64_t first = blockIdx.x * int64_t(1 << kColumnsLog2), c = first + threadIdx.x;
  const float sum = sum_rows<1>(partial, blocks, width, first, width, buf, kColumnsLog2);
  if (threadIdx.x >= 1 << kColumnsLog2 || c >= width) return;
  (c < to.split ? to.first[c] : to.second[c - to.split]) += sum;
}

inline void add_block_sums(Stream& s, const float* partial, int64_t blocks, int64_t width, const ColumnTargets& to) {
  if (blocks > 0)
    launch(s, add_column_blocks, ceil_div(width, 1 << kColumnsLog2), kSumThreads, 0, partial, blocks, width, to);
}

}  // namespace selene::cuda
