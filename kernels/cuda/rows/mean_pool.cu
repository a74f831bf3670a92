// Mean over the rows of an example and its gradient: sums of chunks of rows, then the chunks in order.
#include "kernels/elementwise.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/rows.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = kSumThreads;

/// Rows of one partial sum: 64, or more where that would give above 1024 partial sums.
SELENE_HD int64_t rows_per_sum(int64_t N) { return N > 64 * 1024 ? ceil_div(N, 1024) : 64; }

/// Rows of example b that count; A: MeanPoolFwd, MeanPoolBwd.
template <class A>
__device__ inline int64_t rows_used(const A& a, int64_t b) {
  const int64_t wanted = a.lengths != nullptr ? a.lengths[b] : a.length != nullptr ? *a.length : a.N;
  return min(wanted, a.N);
}

/// Grid: example x chunk x tile of columns. Row (b, chunk) of the workspace [B, chunks, D]: the chunk's sum;
/// chunks without a used row are left as they are.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) sum_rows_used(MeanPoolFwd<T> a, int64_t chunks, int64_t tiles, int log2) {
  __shared__ float buf[kThreads * N];
  const Lanes at = split_block<kThreads>(log2);
  const int64_t first = blockIdx.x % tiles * at.lanes * N, row = blockIdx.x / tiles;
  const int64_t b = row / chunks, rows = rows_per_sum(a.N), begin = row % chunks * rows;
  const int64_t end = min(begin + rows, rows_used(a, b));
  if (begin >= end) return;
  const float total = sum_packs<N>(a.x + b * a.N * a.D, a.D, begin, end, first, a.D, at, buf);
  const int t = int(threadIdx.x);
  if (t < at.lanes * N && first + t < a.D) a.workspace[row * a.D + first + t] = total;
}

/// Grid: example x 32 columns.
template <class T>
__global__ void __launch_bounds__(kThreads) mean_of_sums(MeanPoolFwd<T> a, int64_t chunks, int64_t tiles) {
  __shared__ float buf[kThreads];
  const int64_t b = blockIdx.x / tiles, first = blockIdx.x % tiles * 32, c = first + threadIdx.x;
  const int64_t used = rows_used(a, b), count = used > 0 ? ceil_div(used, rows_per_sum(a.N)) : 0;
  const float sum = sum_rows<1>(a.workspace + b * chunks * a.D, count, a.D, first, a.D, buf);
  if (threadIdx.x < 32 && c < a.D) a.y[b * a.D + c] = down<T>(sum / float(used));
}

/// A group of lanes writes one row of dx.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) spread_mean(MeanPoolBwd<T> a, int log2) {
  const Lanes at = split_block<kThreads>(log2);
  const int64_t r = blockIdx.x * int64_t(at.groups) + at.group, b = r / a.N;
  if (r >= a.B * a.N) return;
  const int64_t used = rows_used(a, b);
  const bool counts = r - b * a.N < used;
  const float count = float(used);
#pragma unroll 2
  for (int64_t c = at.lane * N; c < a.D; c += at.lanes * N) {
    Pack<T, N> dx;
    if (counts) dx = load_pack<N>(a.dy + b * a.D + c);
    for (int i = 0; i < N; ++i) dx.v[i] = down<T>(counts ? up(dx.v[i]) / count : 0.0f);
    store_pack(a.dx + r * a.D + c, dx);
  }
}

template <class T, int N>
void launch_sums(Stream& s, const MeanPoolFwd<T>& a, int64_t chunks) {
  const int log2 = lanes_log2(ceil_div(a.D, N));
  const int64_t tiles = ceil_div(a.D, N << log2);
  launch(s, sum_rows_used<T, N>, a.B * chunks * tiles, kThreads, 0, a, chunks, tiles, log2);
}
template <class T, int N>
void launch_spread(Stream& s, const MeanPoolBwd<T>& a) {
  const int log2 = lanes_log2(ceil_div(a.D, N));
  launch(s, spread_mean<T, N>, ceil_div(a.B * a.N, kThreads >> log2), kThreads, 0, a, log2);
}

}  // namespace

template <class T>
void run(Stream& s, const MeanPoolFwd<T>& a) {
  const int64_t chunks = ceil_div(a.N, rows_per_sum(a.N)), tiles = ceil_div(a.D, 32);
  if (whole_packs<T>(a.D, {a.x})) launch_sums<T, kPack<T>>(s, a, chunks);
  else launch_sums<T, 1>(s, a, chunks);
  launch(s, mean_of_sums<T>, a.B * tiles, kThreads, 0, a, chunks, tiles);
}
template <class T>
void run(Stream& s, const MeanPoolBwd<T>& a) {
  if (a.D == 0) return;
  if (whole_packs<T>(a.D, {a.dy, a.dx})) return launch_spread<T, kPack<T>>(s, a);
  launch_spread<T, 1>(s, a);
}
template <class T>
int64_t workspace(const MeanPoolFwd<T>& a) {
  return a.B * ceil_div(a.N, rows_per_sum(a.N)) * a.D * int64_t(sizeof(float));
}

INSTANTIATE_DEVICE(MeanPoolFwd)
INSTANTIATE_DEVICE(MeanPoolBwd)
INSTANTIATE_DEVICE_WORKSPACE(MeanPoolFwd)

}  // namespace selene::cuda
