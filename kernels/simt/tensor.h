// Plain twins of the tensor-core instructions, for the shim. All lanes of the warp call each.
#pragma once
#include "kernels/dtype.h"
#include "kernels/simt/simt.h"

namespace selene::simt {

/// d += A B for A [16, 16], B [16, 8] in the registers of mma.m16n8k16 (PTX ISA, "Matrix fragments for
/// mma.m16n8k16").
void mma_16816(float* d, const uint32_t* a, const uint32_t* b, bool is_bf16);  // [4], [4], [2] of each lane
/// Four 8 x 8 matrices of 2-byte elements: lane l brought row l % 8 of matrix l / 8 and takes its part of all four.
void ldmatrix_x4(uint32_t* part, const uint32_t* row, bool transposed);  // [4], [4] of each lane
/// acc += A B on 16 x 16 tiles; element e of lane l is element 32 e + l of the row-major tile.
void wmma_mma(float* acc, const f16* a, const f16* b);  // [8] of each lane

// A tile from and to memory: rows (columns where it lies by columns) `stride` elements apart, 16-byte aligned.
template <class T>
void load_tile(T* part, const T* p, int stride, bool by_columns) {  // [8] of each lane
  check_aligned(p, 32), check_aligned(p + stride, 16);
  for (int e = 0; e < 8; ++e) {
    const int row = (32 * e + lane()) / 16, column = lane() % 16;
    part[e] = by_columns ? p[column * stride + row] : p[row * stride + column];
  }
}
inline void store_tile(float* p, const float* part, int stride) {
  check_aligned(p, 32), check_aligned(p + stride, 16);
  for (int e = 0; e < 8; ++e) p[(32 * e + lane()) / 16 * stride + lane() % 16] = part[e];
}

}  // namespace selene::simt
