// Sums and maxima over the threads of a warp or a block, in a tree that depends on the shape alone. NaN is never
// lost.
#pragma once
#include "kernels/cuda/device.cuh"

namespace selene::cuda {

constexpr unsigned kFullMask = 0xffffffffu;

/// Sum over each group of W neighbouring lanes (W = 2, 4, ..., 32); every lane of the warp calls it and gets its
/// group's sum.
template <int W = 32, class A>
__device__ inline A warp_sum(A x) {
  for (int o = W / 2; o > 0; o >>= 1) x += __shfl_xor_sync(kFullMask, x, o);
  return x;
}

/// The larger one; NaN if either is (fmaxf would drop it).
template <class A>
__device__ inline A max_or_nan(A a, A b) {
  return a > b || a != a ? a : b;
}

/// Maximum over each group of W neighbouring lanes, like warp_sum; NaN if any of them is.
template <int W = 32, class A>
__device__ inline A warp_max(A x) {
  for (int o = W / 2; o > 0; o >>= 1) x = max_or_nan(x, __shfl_xor_sync(kFullMask, x, o));
  return x;
}

/// Sum over a block of Threads threads, the same bits in every thread. Ends with a barrier: buf may be reused at
/// once.
template <int Threads, class A>
__device__ inline A block_sum(A x, A* buf) {  // buf: [Threads/32] shared
  static_assert(Threads % 32 == 0 && Threads <= 1024, "whole warps");
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) buf[threadIdx.x / 32] = x;
  __syncthreads();
  x = buf[0];
  for (int w = 1; w < Threads / 32; ++w) x += buf[w];
  __syncthreads();
  return x;
}

/// Maximum over a block of Threads threads, like block_sum; NaN if any thread's is.
template <int Threads, class A>
__device__ inline A block_max(A x, A* buf) {  // buf: [Threads/32] shared
  static_assert(Threads % 32 == 0 && Threads <= 1024, "whole warps");
  x = warp_max(x);
  if (threadIdx.x % 32 == 0) buf[threadIdx.x / 32] = x;
  __syncthreads();
  x = buf[0];
  for (int w = 1; w < Threads / 32; ++w) x = max_or_nan(x, buf[w]);
  __syncthreads();
  return x;
}

}  // namespace selene::cuda
