// Tensor-core products of sm_80 and newer on 2-byte elements with fp32 sums: mma.m16n8k16 and ldmatrix as PTX, and
// their plain twins in the shim. Register layout: PTX ISA, "Matrix fragments for mma.m16n8k16"; of lane l,
// g = l / 4 and t = l % 4:
//   A [16, 16]: a[0] row g, a[1] row g + 8, columns 2t, 2t + 1; a[2], a[3] the same rows, columns 2t + 8, 2t + 9
//   B [16, 8]:  b[0] rows 2t, 2t + 1, b[1] rows 2t + 8, 2t + 9 of column g
//   D [16, 8]:  d[0], d[1] row g, d[2], d[3] row g + 8, columns 2t, 2t + 1
// The lower half of a register is the element of lower index. Code for older devices compiles and traps.
#pragma once
#include "kernels/cuda/device.cuh"
#ifndef __CUDACC__
#include "kernels/simt/tensor.h"
#endif

namespace selene::cuda {

#ifdef __CUDACC__
__device__ inline unsigned shared_address(const void* p) { return unsigned(__cvta_generic_to_shared(p)); }
#endif

/// d += A B; T is f16 or bf16.
template <class T>
__device__ inline void mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ inline void mma_16816<f16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif defined(__CUDACC__)
  __trap();
#else
  simt::mma_16816(d, a, b, false);
#endif
}
template <>
__device__ inline void mma_16816<bf16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif defined(__CUDACC__)
  __trap();
#else
  simt::mma_16816(d, a, b, true);
#endif
}

/// Four 8 x 8 matrices of 2-byte elements from shared memory: lane l points to row l % 8 of matrix l / 8 (16 bytes,
/// aligned) and gets in part[i] elements 2t, 2t + 1 of row g of matrix i.
__device__ inline void ldmatrix_x4(uint32_t (&part)[4], const void* row) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(part[0]), "=r"(part[1]), "=r"(part[2]), "=r"(part[3])
               : "r"(shared_address(row))
               : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  uint32_t words[4];
  simt::check_aligned(row, 16);
  memcpy(words, row, 16);
  simt::ldmatrix_x4(part, words, false);
#endif
}
/// The same of the transposed matrices: part[i] is rows 2t, 2t + 1 of column g of matrix i.
__device__ inline void ldmatrix_x4_trans(uint32_t (&part)[4], const void* row) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(part[0]), "=r"(part[1]), "=r"(part[2]), "=r"(part[3])
               : "r"(shared_address(row))
               : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  uint32_t words[4];
  simt::check_aligned(row, 16);
  memcpy(words, row, 16);
  simt::ldmatrix_x4(part, words, true);
#endif
}

/// Two elements of type T in a register, `low` in the lower half.
template <class T>
__device__ inline uint32_t pack_pair(float low, float high) {
  return uint32_t(down<T>(low).bits) | uint32_t(down<T>(high).bits) << 16;
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
template <>
__device__ inline uint32_t pack_pair<f16>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
template <>
__device__ inline uint32_t pack_pair<bf16>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
#endif

}  // namespace selene::cuda
