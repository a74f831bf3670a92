// One matrix product on the calling thread, by oneDNN's matmul primitive; the only file behind this header that knows
// oneDNN.
#pragma once
#include <cstdint>

#include "kernels/dtype.h"

namespace selene::cpu {

/// C[M, N] = op(A)[M, K] op(B)[K, N] (+ bias[N]) (+ C), row strides in elements, inner stride 1. Element (m, k) of
/// op(A) is a[m * lda + k], or a[k * lda + m] when trans_a; likewise B.
struct Gemm {
  int64_t M, N, K, lda, ldb, ldc;
  bool trans_a = false, trans_b = false;
  bool accumulate = false;  // add to what C holds
  DType ab = DType::f32;    // type of A, B and bias: f32, bf16, f16, f64
  DType c = DType::f32;     // f32 for ab f32; f32 or ab for bf16 and f16; f64 for f64. Sums are fp32 (fp64).
  bool operator==(const Gemm&) const = default;
};

/// Runs on the calling thread only, with the same bits from whichever thread it is called. Primitives are cached per
/// thread and shape: the first call of a shape costs about 0.2 ms, a later one 1 us and its work. May be called
/// inside or outside of a parallel region. A [M, K] or [K, M], B [K, N] or [N, K], bias [N] or null; C must not
/// overlap A, B or bias. K = 0 is a product of zeros; nothing is read or written where M or N is 0. Error: a
/// combination of types that does not exist.
void gemm(const Gemm& g, const void* a, const void* b, void* c, const void* bias = nullptr);

}  // namespace selene::cpu
