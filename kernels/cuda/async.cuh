// Copies from global to shared memory that go on beside the arithmetic: cp.async of sm_80 and newer; older devices
// copy at once. In the shim a copy lands only when it is waited for and its destination is NaN until then, so that a
// missing wait shows. As in CUDA, a barrier must follow the wait before other threads read.
#pragma once
#include "kernels/cuda/device.cuh"

namespace selene::cuda {

/// 16 bytes, both addresses multiples of 16; zeros where not valid (then `from` is not read).
__device__ inline void cp_async_16(void* to_shared, const void* from, bool valid) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(unsigned(__cvta_generic_to_shared(to_shared))),
               "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
               : "memory");
#elif defined(__CUDACC__)
  *static_cast<uint4*>(to_shared) = valid ? *static_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#else
  simt::check_aligned(to_shared, 16);
  if (valid) simt::check_aligned(from, 16);
  simt::AsyncCopies& copies = simt::async_copies();
  simt::PendingCopy copy{to_shared, {}, copies.group};
  if (valid) memcpy(copy.bytes, from, 16);
  memset(to_shared, 0xff, 16);
  copies.pending.push_back(copy);
#endif
}

/// Closes the group of the copies since the last commit.
__device__ inline void cp_async_commit() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#elif !defined(__CUDACC__)
  ++simt::async_copies().group;
#endif
}

/// Waits until at most the N latest groups of this thread are under way.
template <int N>
__device__ inline void cp_async_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#elif !defined(__CUDACC__)
  simt::AsyncCopies& copies = simt::async_copies();
  size_t landed = 0;
  while (landed < copies.pending.size() && copies.pending[landed].group < copies.group - N) {
    memcpy(copies.pending[landed].to, copies.pending[landed].bytes, 16);
    ++landed;
  }
  copies.pending.erase(copies.pending.begin(), copies.pending.begin() + int64_t(landed));
#endif
}

}  // namespace selene::cuda
