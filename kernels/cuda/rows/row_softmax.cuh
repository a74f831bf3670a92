// What the row kernels of softmax and cross-entropy share: how Threads threads walk along a row, and the running
// maximum and sum of exponentials of one read (Milakov & Gimelshein 2018).
#pragma once
#include <math.h>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"

namespace selene::cuda {

constexpr int kRowThreads = 256;     // of a block: one long row, or a short one for each warp
constexpr int64_t kShortRow = 1024;  // columns up to which a warp takes a row

template <int Threads>
__device__ float row_sum(float x, float* buffer) {
  if constexpr (Threads == 32) return warp_sum(x);
  else return block_sum<Threads>(x, buffer);
}
template <int Threads>
__device__ float row_max(float x, float* buffer) {
  if constexpr (Threads == 32) return warp_max(x);
  else return block_max<Threads>(x, buffer);
}

/// The columns of one of the Threads threads of a row: P neighbours in each sweep over kSweep columns. P is 1 where
/// rows are not aligned to 16 bytes, so a thread's P columns are all inside the row or all outside.
template <class T, int Threads, int P>
struct RowWalk {
  static constexpr int64_t kSweep = int64_t(Threads) * P;

  __device__ static int64_t row() { return int64_t(blockIdx.x) * (kRowThreads / Threads) + threadIdx.x / Threads; }
  __device__ static int64_t first() { return int64_t(threadIdx.x % Threads) * P; }
  __device__ static void load(const T* x, float* v) {
    const Pack<T, P> pack = load_pack<P>(x);
    for (int j = 0; j < P; ++j) v[j] = up(pack.v[j]);
  }
  __device__ static void store(T* y, const float* v) {
    Pack<T, P> pack;
    for (int j = 0; j < P; ++j) pack.v[j] = down<T>(v[j]);
    store_pack(y, pack);
  }
};

/// Blocks for R rows of C columns.
inline int64_t row_blocks(int64_t R, int64_t C) {
  constexpr int64_t short_rows = kRowThreads / 32;
  return C <= kShortRow ? ceil_div(R, short_rows) : R;
}

/// KERNEL<T, Threads, P> for rows of C columns.
#define ROW_KERNEL(KERNEL, T, C, P) ((C) <= kShortRow ? KERNEL<T, 32, P> : KERNEL<T, kRowThreads, P>)

/// Largest element so far, and the sum of exp(element - largest). A NaN is never the largest but makes the sum
/// NaN, as does +inf; -inf adds nothing, but a whole row of it has the sum NaN.
struct OnlineSum {
  float largest = -INFINITY, sum = 0;

  template <int N>
  __device__ void add(const float (&v)[N]) {
    float most = largest;
    for (int j = 0; j < N; ++j) most = v[j] > most ? v[j] : most;
    const float base = most == -INFINITY ? 0.0f : most;
    if (most > largest) sum *= expf(largest - base), largest = most;
    for (int j = 0; j < N; ++j) sum += expf(v[j] - base);
  }
  /// The row's numbers in every one of its Threads threads.
  template <int Threads>
  __device__ void combine(float* buffer) {
    const float most = row_max<Threads>(largest, buffer);
    sum = row_sum<Threads>(sum * expf(largest - most), buffer);
    largest = most;
  }
};

}  // namespace selene::cuda
