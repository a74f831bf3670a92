// Rows by groups of lanes, sums over rows in an order that depends on the shape alone, and a block's running
// count: shared by look-ups, pixels, pooling and scans.
#pragma once
#include <initializer_list>

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"

namespace selene::cuda {

/// True where rows of n elements are whole 16-byte packs in every one of these arrays (null: not used).
template <class T>
bool whole_packs(int64_t n, std::initializer_list<const void*> arrays) {
  for (const void* p : arrays)
    if (!aligned16(p)) return false;
  return n % kPack<T> == 0;
}

/// log2 of how many lanes share a row of n packs: enough for all, 32 at most.
inline int lanes_log2(int64_t n) {
  int log2 = 0;
  while (log2 < 5 && (int64_t(1) << log2) < n) ++log2;
  return log2;
}

/// A block of Threads threads in groups of 1 << log2 lanes.
struct Lanes {
  int lane, lanes, group, groups;
};
template <int Threads>
__device__ inline Lanes split_block(int log2) {
  const int t = int(threadIdx.x);
  return {t & ((1 << log2) - 1), 1 << log2, t >> log2, Threads >> log2};
}

/// Adds the groups' sums in order: a group's lane l holds columns l * N to l * N + N - 1. In thread t < lanes * N:
/// the sum of column t. Ends with a barrier.
template <int N>
__device__ inline float sum_groups(const float* x, const Lanes& at, float* buf) {  // buf: [threads * N] shared
  const int width = at.lanes * N, t = int(threadIdx.x);
  for (int i = 0; i < N; ++i) buf[at.group * width + at.lane * N + i] = x[i];
  __syncthreads();
  float sum = 0;
  if (t < width) {
    sum = buf[t];
    for (int g = 1; g < at.groups; ++g) sum += buf[g * width + t];
  }
  __syncthreads();
  return sum;
}

/// Sum over rows begin to end - 1, `stride` elements apart, of columns first to first + lanes * N - 1 (those below C)
/// of x: a group of lanes takes every groups-th row, then the groups in order. In thread t < lanes * N: of column
/// first + t.
template <int N, class T>
__device__ inline float sum_packs(const T* x, int64_t stride, int64_t begin, int64_t end, int64_t first, int64_t C,
                                  const Lanes& at, float* buf) {  // buf: [threads * N] shared
  const int64_t column = first + at.lane * N;
  float sum[N] = {};
  if (column < C) {
#pragma unroll 4
    for (int64_t r = begin + at.group; r < end; r += at.groups) {
      const Pack<T, N> pack = load_pack<N>(x + r * stride + column);
      for (int i = 0; i < N; ++i) sum[i] += up(pack.v[i]);
    }
  }
  return sum_groups<N>(sum, at, buf);
}

constexpr int kSumThreads = 256;  // of a block that calls sum_rows

/// Sum over `count` rows, `stride` apart, of columns first to first + (Q << log2) - 1 (below D) of p, by a block of
/// kSumThreads: kSumThreads >> log2 runs of neighbouring rows, then the runs in order. In thread t < Q << log2: of
/// column first + t.
template <int Q>
__device__ inline float sum_rows(const float* p, int64_t count, int64_t stride, int64_t first, int64_t D, float* buf,
                                 int log2 = 5) {  // buf: [kSumThreads * Q] shared
  const Lanes at = split_block<kSumThreads>(log2);
  const int64_t run = ceil_div(count, at.groups), begin = at.group * run, end = min(begin + run, count);
  float sum[Q] = {};
#pragma unroll 4
  for (int64_t i = begin; i < end; ++i)
    for (int q = 0; q < Q; ++q) {
      const int64_t c = first + at.lane * Q + q;
      if (c < D) sum[q] += p[i * stride + c];
    }
  return sum_groups<Q>(sum, at, buf);
}

/// Sum of x over the threads before this one, and over all of them in *total. Ends with a barrier.
template <int Threads>
__device__ inline int32_t block_running_sum(int32_t x, int32_t* buf, int32_t* total) {
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;  // buf: [Threads/32] shared
  int32_t sum = x;
  for (int o = 1; o < 32; o <<= 1) {
    const int32_t left = __shfl_up_sync(kFullMask, sum, o);
    if (lane >= o) sum += left;
  }
  if (lane == 31) buf[warp] = sum;
  __syncthreads();
  int32_t before = 0, all = 0;
  for (int w = 0; w < Threads / 32; ++w) {
    if (w == warp) before = all;
    all += buf[w];
  }
  __syncthreads();
  *total = all;
  return before + sum - x;
}

}  // namespace selene::cuda
