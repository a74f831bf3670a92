// Tensor-core products of fp16 tiles of 16 x 16 with fp32 sums for sm_70 and 75: thin names over nvcuda::wmma, and an
// emulation in the shim. All lanes of a warp call each function. Which elements a lane holds is unspecified, but the
// same in all accumulators.
#pragma once
#include "kernels/cuda/device.cuh"
#ifdef __CUDACC__
#include <mma.h>
#else
#include "kernels/simt/tensor.h"
#endif

namespace selene::cuda {

enum class Major { row, column };  // how a tile lies in memory

#ifdef __CUDACC__
template <Major M>
struct WmmaLayout {
  using type = nvcuda::wmma::row_major;
};
template <>
struct WmmaLayout<Major::column> {
  using type = nvcuda::wmma::col_major;
};
template <Major M>
struct WmmaA {
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, __half, typename WmmaLayout<M>::type> x;
};
template <Major M>
struct WmmaB {
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, __half, typename WmmaLayout<M>::type> x;
};
using WmmaAcc = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;  // float x[8]
#else
template <Major M>
struct WmmaA {
  f16 x[8];
};
template <Major M>
struct WmmaB {
  f16 x[8];
};
struct WmmaAcc {
  float x[8];
};
#endif

__device__ inline void wmma_fill(WmmaAcc& acc, float x) {
  for (int e = 0; e < 8; ++e) acc.x[e] = x;
}

/// A tile at p (32-byte aligned), rows (columns where column-major) `stride` elements apart, a multiple of 8.
template <Major M>
__device__ inline void wmma_load_a(WmmaA<M>& a, const f16* p, int stride) {
#ifdef __CUDACC__
  nvcuda::wmma::load_matrix_sync(a.x, reinterpret_cast<const __half*>(p), unsigned(stride));
#else
  simt::load_tile(a.x, p, stride, M == Major::column);
#endif
}
template <Major M>
__device__ inline void wmma_load_b(WmmaB<M>& b, const f16* p, int stride) {
#ifdef __CUDACC__
  nvcuda::wmma::load_matrix_sync(b.x, reinterpret_cast<const __half*>(p), unsigned(stride));
#else
  simt::load_tile(b.x, p, stride, M == Major::column);
#endif
}

/// An accumulator from and to fp32 in row order, p 32-byte aligned, stride a multiple of 4.
__device__ inline void wmma_load_acc(WmmaAcc& acc, const float* p, int stride) {
#ifdef __CUDACC__
  nvcuda::wmma::load_matrix_sync(acc, p, unsigned(stride), nvcuda::wmma::mem_row_major);
#else
  simt::load_tile(acc.x, p, stride, false);
#endif
}
__device__ inline void wmma_store_acc(float* p, const WmmaAcc& acc, int stride) {
#ifdef __CUDACC__
  nvcuda::wmma::store_matrix_sync(p, acc, unsigned(stride), nvcuda::wmma::mem_row_major);
#else
  simt::store_tile(p, acc.x, stride);
#endif
}

/// acc += A B.
template <Major MA, Major MB>
__device__ inline void wmma_mma(WmmaAcc& acc, const WmmaA<MA>& a, const WmmaB<MB>& b) {
#ifdef __CUDACC__
  nvcuda::wmma::mma_sync(acc, a.x, b.x, acc);
#else
  simt::wmma_mma(acc.x, a.x, b.x);
#endif
}

}  // namespace selene::cuda
