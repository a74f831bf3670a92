// Sums over rows, the gradient of a bias: rows are cut into blocks that depend on the shape alone, whose partial
// sums are added in a fixed tree.
#include "kernels/matmul.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/pack.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

template <class T>
constexpr int64_t kStrip = 32 * kPack<T>;  // columns of a block: 16 bytes a lane

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Rows of one block: enough blocks for a large device, but at most 512 partial sums a column.
int64_t rows_of_block(int64_t R, int64_t strips) {
  constexpr int64_t kMost = 256, kLeast = 32, kWantedBlocks = 512;
  int64_t rows = kMost;
  while (rows > kLeast && ceil_div(R, rows) * strips < kWantedBlocks) rows /= 2;
  const int64_t few = ceil_div(R, kWantedBlocks);
  return rows > few ? rows : few;
}

/// Grid: strips of columns, then blocks of rows. Warp w adds rows w, w + 8, ...; the warps are added in order.
template <class T>
__global__ __launch_bounds__(kThreads) void column_sum_blocks(ColumnSum<T> a, int64_t rows, int64_t strips,
                                                              int vector) {
  constexpr int P = kPack<T>;
  __shared__ float part[kWarps][kStrip<T>];
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  const int64_t block = int64_t(blockIdx.x) / strips, strip = int64_t(blockIdx.x) % strips * kStrip<T>;
  const int64_t column = strip + lane * P, end = min(a.R, (block + 1) * rows);
  float sum[P] = {};
  if (vector && column + P <= a.C) {
#pragma unroll 4
    for (int64_t r = block * rows + warp; r < end; r += kWarps) {
      const Pack<T, P> x = load_pack<P>(a.x + r * a.C + column);
      for (int j = 0; j < P; ++j) sum[j] += up(x.v[j]);
    }
  } else {
    for (int64_t r = block * rows + warp; r < end; r += kWarps)
      for (int j = 0; j < P; ++j)
        if (column + j < a.C) sum[j] += up(a.x[r * a.C + column + j]);
  }
  for (int j = 0; j < P; ++j) part[warp][lane * P + j] = sum[j];
  __syncthreads();
  const int64_t c = threadIdx.x;
  if (c >= kStrip<T> || strip + c >= a.C) return;
  float total = part[0][c];
  for (int w = 1; w < kWarps; ++w) total += part[w][c];
  a.workspace[block * a.C + strip + c] = total;
}

/// y += the partial sums of `blocks` blocks, 32 columns a CUDA block. Each warp adds an eighth of them in order,
/// then the warps are added in order.
__global__ __launch_bounds__(kThreads) void column_sum_add(const float* partial, float* y, int64_t C,
                                                           int64_t blocks) {
  __shared__ float part[kWarps][32];
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  const int64_t c = int64_t(blockIdx.x) * 32 + lane, share = (blocks + kWarps - 1) / kWarps;
  float sum = 0;
  if (c < C) {
#pragma unroll 8
    for (int64_t i = warp * share; i < min(blocks, (warp + 1) * share); ++i) sum += partial[i * C + c];
  }
  part[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || c >= C) return;
  for (int w = 1; w < kWarps; ++w) sum += part[w][lane];
  y[c] += sum;
}

}  // namespace

template <class T>
void run(Stream& s, const ColumnSum<T>& a) {
  if (a.R == 0 || a.C == 0) return;
  const int64_t strips = ceil_div(a.C, kStrip<T>), rows = rows_of_block(a.R, strips), blocks = ceil_div(a.R, rows);
  launch(s, column_sum_blocks<T>, blocks * strips, kThreads, 0, a, rows, strips, int(aligned16(a.x, a.C)));
  launch(s, column_sum_add, ceil_div(a.C, 32), kThreads, 0, a.workspace, a.y, a.C, blocks);
}
template <class T>
int64_t workspace(const ColumnSum<T>& a) {
  if (a.R == 0 || a.C == 0) return 0;
  return ceil_div(a.R, rows_of_block(a.R, ceil_div(a.C, kStrip<T>))) * a.C * int64_t(sizeof(float));
}

INSTANTIATE_DEVICE(ColumnSum)
INSTANTIATE_DEVICE_WORKSPACE(ColumnSum)

}  // namespace selene::cuda
