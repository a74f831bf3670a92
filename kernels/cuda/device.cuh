// What every kernel file sees: CUDA's own names, or the shim's where the host compiler reads it (kernels/simt), and
// launch(), the one door to a kernel. C++17.
#pragma once
#include <string>

#include "kernels/ceil_div.h"
#include "kernels/cuda/backend.h"
#include "kernels/error.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
extern __shared__ __align__(128) unsigned char dynamic_shared[];  // the one name of it; wmma wants 32 bytes
#else
#include <tuple>

#include "kernels/simt/simt.h"
#endif

namespace selene::cuda {

/// Blocks of a launch: a count, or up to three axes of which only x may be long.
struct Grid {
  int64_t x, y = 1, z = 1;
  Grid(int64_t blocks) : x(blocks) {}
  Grid(dim3 g) : x(g.x), y(g.y), z(g.z) {}

  bool empty() const { return x == 0 || y == 0 || z == 0; }
  bool fits() const { return x >= 0 && x < (int64_t(1) << 31) && y < 65536 && z < 65536; }
  dim3 dims() const { return dim3(unsigned(x), unsigned(y), unsigned(z)); }
  std::string text() const {
    return "grid (" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
  }
};

/// The last word on a launch that can't be: what was asked for.
[[noreturn]] inline void refuse_launch(const char* why, const Grid& grid, int block, int64_t shared_bytes) {
  throw Error(std::string("kernel launch: ") + why + " (" + grid.text() + ", " + std::to_string(block) +
              " threads, " + std::to_string(shared_bytes) + " bytes of shared memory)");
}

#ifdef __CUDACC__
/// Queues a kernel; a grid of no blocks launches nothing. Arguments are copied now. Dynamic shared memory above 48
/// KiB is asked for, up to what the device allows a block.
template <class... P, class... A>
void launch(Stream& s, void (*kernel)(P...), Grid grid, int block, int64_t shared_bytes, A&&... a) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel is launched with all its arguments");
  if (grid.empty()) return;
  if (!grid.fits()) refuse_launch("too many blocks", grid, block, shared_bytes);
  const void* function = reinterpret_cast<const void*>(kernel);
  cudaError_t error = cudaSuccess;
  if (shared_bytes > 48 * 1024)
    error = cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
  if (error == cudaSuccess)
    error = [&](P... p) {
      void* pointers[] = {static_cast<void*>(&p)..., nullptr};
      return cudaLaunchKernel(function, grid.dims(), dim3(unsigned(block)), pointers, size_t(shared_bytes),
                              static_cast<cudaStream_t>(s.queue));
    }(static_cast<P>(a)...);
  if (error == cudaSuccess) return;
  cudaGetLastError();  // a failed launch must not fail the next call too
  refuse_launch(cudaGetErrorString(error), grid, block, shared_bytes);
}
#else
template <class... P, class... A>
void launch(Stream& s, void (*kernel)(P...), Grid grid, int block, int64_t shared_bytes, A&&... a) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel is launched with all its arguments");
  if (grid.empty()) return;
  if (!grid.fits()) refuse_launch("too many blocks", grid, block, shared_bytes);
  if (block < 1 || block > 1024) refuse_launch("1 to 1024 threads make a block", grid, block, shared_bytes);
  if (shared_bytes < 0 || shared_bytes > simt::shared_limit(s.capability))
    refuse_launch("more shared memory than a block of this device has", grid, block, shared_bytes);
  simt::submit(s.queue, simt::Kernel{reinterpret_cast<const void*>(kernel), grid.dims(), block, shared_bytes,
                                     [kernel, arguments = std::tuple<P...>(static_cast<P>(a)...)] {
                                       std::apply(kernel, arguments);
                                     }});
}
#endif

/// 2^x to about 2 units in the last place, one instruction; subnormal results become 0.
__device__ inline float exp2_fast(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}
/// 1 / x to 1 unit in the last place, one instruction; subnormal results become 0.
__device__ inline float reciprocal_fast(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}

}  // namespace selene::cuda
