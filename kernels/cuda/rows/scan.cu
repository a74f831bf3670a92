// Running sums along the middle axis of [outer, N, inner]: the axis is cut into chunks by its length alone; sums
// of chunks, a scan over the sums, then each chunk from its start (Blelloch 1990, "Prefix sums and their
// applications"). What causal linear attention needs; no model has that yet.
#include "kernels/elementwise.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/rows.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 4;           // loads that are in flight before the first store: y may be x
constexpr int64_t kLineInner = 16;  // below: a warp along the axis instead of a thread for each column

/// Length of a chunk: 128, or a power of two that gives 512 chunks at most.
SELENE_HD int64_t chunk_length(int64_t N) {
  int64_t length = 128;
  while (length * 512 < N) length *= 2;
  return length;
}

/// One chunk of one line or column of packs; i counts in the direction of the sum.
template <class T>
struct ChunkOf {
  int64_t base, begin, end, place;  // element of n = 0; first and last i of the chunk; its place in the workspace
  __device__ int64_t at(const CumulativeSum<T>& a, int64_t i) const {
    return base + (a.reverse ? a.N - 1 - i : i) * a.inner;
  }
};
/// Task = (outer, chunk, column), column fastest; N columns a task.
template <class T, int N>
__device__ inline ChunkOf<T> chunk_of(const CumulativeSum<T>& a, int64_t task, int64_t chunks) {
  const int64_t columns = a.inner / N, c = task % columns * N, row = task / columns, length = chunk_length(a.N);
  const int64_t begin = row % chunks * length;
  return {row / chunks * a.N * a.inner + c, begin, min(begin + length, a.N), row * a.inner + c};
}

/// A thread: the sum of one chunk of N columns, into the workspace [outer, chunks, inner].
template <class T, int N>
__global__ void __launch_bounds__(kThreads) sum_columns(CumulativeSum<T> a, int64_t chunks, int64_t tasks) {
  const int64_t task = blockIdx.x * int64_t(kThreads) + threadIdx.x;
  if (task >= tasks) return;
  const ChunkOf<T> k = chunk_of<T, N>(a, task, chunks);
  float sum[N] = {};
#pragma unroll 4
  for (int64_t i = k.begin; i < k.end; ++i) {
    const Pack<T, N> x = load_pack<N>(a.x + k.at(a, i));
    for (int j = 0; j < N; ++j) sum[j] += up(x.v[j]);
  }
  for (int j = 0; j < N; ++j) a.workspace[k.place + j] = sum[j];
}

/// A warp: the sum of one chunk of one column.
template <class T>
__global__ void __launch_bounds__(kThreads) sum_lines(CumulativeSum<T> a, int64_t chunks, int64_t tasks) {
  const int64_t task = blockIdx.x * int64_t(kThreads / 32) + threadIdx.x / 32;
  if (task >= tasks) return;
  const ChunkOf<T> k = chunk_of<T, 1>(a, task, chunks);
  float sum = 0;
#pragma unroll 4
  for (int64_t i = k.begin + threadIdx.x % 32; i < k.end; i += 32) sum += up(a.x[k.at(a, i)]);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) a.workspace[k.place] = sum;
}

/// A thread for each column of the workspace: sums of chunks become sums of all chunks before.
template <class T>
__global__ void __launch_bounds__(kThreads) scan_sums(CumulativeSum<T> a, int64_t chunks) {
  const int64_t column = blockIdx.x * int64_t(kThreads) + threadIdx.x;
  if (column >= a.outer * a.inner) return;
  float* sums = a.workspace + column / a.inner * chunks * a.inner + column % a.inner;
  float before = 0;
  for (int64_t first = 0; first < chunks; first += 8) {
    float x[8];
#pragma unroll
    for (int u = 0; u < 8; ++u) x[u] = first + u < chunks ? sums[(first + u) * a.inner] : 0.0f;
#pragma unroll
    for (int u = 0; u < 8; ++u) {
      if (first + u < chunks) sums[(first + u) * a.inner] = before;
      before += x[u];
    }
  }
}

/// A thread: one chunk of N columns of y.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) run_columns(CumulativeSum<T> a, int64_t chunks, int64_t tasks) {
  const int64_t task = blockIdx.x * int64_t(kThreads) + threadIdx.x;
  if (task >= tasks) return;
  const ChunkOf<T> k = chunk_of<T, N>(a, task, chunks);
  float sum[N] = {};
  if (chunks > 1)
    for (int j = 0; j < N; ++j) sum[j] = a.workspace[k.place + j];
  for (int64_t first = k.begin; first < k.end; first += kAhead) {
    Pack<T, N> x[kAhead] = {};
#pragma unroll
    for (int u = 0; u < kAhead; ++u)
      if (first + u < k.end) x[u] = load_pack<N>(a.x + k.at(a, first + u));
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      if (first + u >= k.end) break;
      for (int j = 0; j < N; ++j) sum[j] += up(x[u].v[j]), x[u].v[j] = down<T>(sum[j]);
      store_pack(a.y + k.at(a, first + u), x[u]);
    }
  }
}

/// A warp: one chunk of one column of y, 32 elements at a time.
template <class T>
__global__ void __launch_bounds__(kThreads) run_lines(CumulativeSum<T> a, int64_t chunks, int64_t tasks) {
  const int lane = int(threadIdx.x) % 32;
  const int64_t task = blockIdx.x * int64_t(kThreads / 32) + threadIdx.x / 32;
  if (task >= tasks) return;
  const ChunkOf<T> k = chunk_of<T, 1>(a, task, chunks);
  float before = chunks > 1 ? a.workspace[k.place] : 0.0f;
  for (int64_t first = k.begin; first < k.end; first += 32) {
    const int64_t at = k.at(a, first + lane);
    float sum = first + lane < k.end ? up(a.x[at]) : 0.0f;
    for (int o = 1; o < 32; o <<= 1) {
      const float left = __shfl_up_sync(kFullMask, sum, o);
      if (lane >= o) sum = left + sum;
    }
    if (first + lane < k.end) a.y[at] = down<T>(before + sum);
    before += __shfl_sync(kFullMask, sum, 31);
  }
}

template <class T, int N>
void launch_columns(Stream& s, const CumulativeSum<T>& a, int64_t chunks) {
  const int64_t tasks = a.outer * chunks * (a.inner / N), blocks = ceil_div(tasks, kThreads);
  if (chunks > 1) {
    launch(s, sum_columns<T, N>, blocks, kThreads, 0, a, chunks, tasks);
    launch(s, scan_sums<T>, ceil_div(a.outer * a.inner, kThreads), kThreads, 0, a, chunks);
  }
  launch(s, run_columns<T, N>, blocks, kThreads, 0, a, chunks, tasks);
}
template <class T>
void launch_lines(Stream& s, const CumulativeSum<T>& a, int64_t chunks) {
  const int64_t tasks = a.outer * chunks * a.inner, blocks = ceil_div(tasks, kThreads / 32);
  if (chunks > 1) {
    launch(s, sum_lines<T>, blocks, kThreads, 0, a, chunks, tasks);
    launch(s, scan_sums<T>, ceil_div(a.outer * a.inner, kThreads), kThreads, 0, a, chunks);
  }
  launch(s, run_lines<T>, blocks, kThreads, 0, a, chunks, tasks);
}

}  // namespace

template <class T>
void run(Stream& s, const CumulativeSum<T>& a) {
  const int64_t chunks = ceil_div(a.N, chunk_length(a.N));
  if (a.inner < kLineInner) return launch_lines(s, a, chunks);
  if (whole_packs<T>(a.inner, {a.x, a.y})) return launch_columns<T, kPack<T>>(s, a, chunks);
  launch_columns<T, 1>(s, a, chunks);
}
template <class T>
int64_t workspace(const CumulativeSum<T>& a) {
  const int64_t chunks = ceil_div(a.N, chunk_length(a.N));
  return chunks > 1 ? a.outer * chunks * a.inner * int64_t(sizeof(float)) : 0;
}

INSTANTIATE_DEVICE(CumulativeSum)
INSTANTIATE_DEVICE_WORKSPACE(CumulativeSum)

}  // namespace selene::cuda
