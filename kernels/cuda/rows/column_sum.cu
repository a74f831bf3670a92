// Sums over rows, the gradient of a bias: rows are cut into blocks that depend on the shape alone, whose partial
// sums are added in a fixed tree.
#include "kernels/matmul.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/columns.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
constexpr int64_t kStrip = 32 * kPack<T>;  // columns of a block: 16 bytes a lane

/// Grid: blocks of rows x strips of 32 N columns. Warp w adds rows w, w + 8, ...; the warps are added in order.
template <class T, int N>
__global__ __launch_bounds__(kThreads) void column_sum_blocks(ColumnSum<T> a, int64_t rows, int64_t strips) {
  __shared__ float buf[kThreads * N];
  const Lanes at = split_block<kThreads>(5);
  const int64_t block = blockIdx.x / strips, first = blockIdx.x % strips * 32 * N;
  const int64_t end = min(a.R, (block + 1) * rows);
  const float total = sum_packs<N>(a.x, a.C, block * rows, end, first, a.C, at, buf);
  const int64_t c = first + threadIdx.x;
  if (threadIdx.x < 32 * N && c < a.C) a.workspace[block * a.C + c] = total;
}

template <class T, int N>
void launch_blocks(Stream& s, const ColumnSum<T>& a, int64_t rows, int64_t blocks) {
  const int64_t strips = ceil_div(a.C, 32 * N);
  launch(s, column_sum_blocks<T, N>, blocks * strips, kThreads, 0, a, rows, strips);
}

}  // namespace

template <class T>
void run(Stream& s, const ColumnSum<T>& a) {
  if (a.R == 0 || a.C == 0) return;
  const int64_t rows = rows_of_column_block(a.R, ceil_div(a.C, kStrip<T>)), blocks = ceil_div(a.R, rows);
  if (whole_packs<T>(a.C, {a.x})) launch_blocks<T, kPack<T>>(s, a, rows, blocks);
  else launch_blocks<T, 1>(s, a, rows, blocks);
  add_block_sums(s, a.workspace, blocks, a.C, {a.y, nullptr, a.C});
}
template <class T>
int64_t workspace(const ColumnSum<T>& a) {
  if (a.R == 0 || a.C == 0) return 0;
  return ceil_div(a.R, rows_of_column_block(a.R, ceil_div(a.C, kStrip<T>))) * a.C * int64_t(sizeof(float));
}

INSTANTIATE_DEVICE(ColumnSum)
INSTANTIATE_DEVICE_WORKSPACE(ColumnSum)

}  // namespace selene::cuda
