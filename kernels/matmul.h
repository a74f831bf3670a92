// Batched strided matrix product: C = op(A) op(B) (+ bias) (+ C). The only family that takes arbitrary row and batch
// strides.
#pragma once
#include "kernels/backend.h"

namespace selene {

/// What happens to a product on its way to memory. GELU is the tanh form (Hendrycks & Gimpel 2016).
enum class Epilogue : int32_t {
  none,
  gelu,          // aux = product + bias, C = gelu(aux)
  gelu_gradient  // C = product * gelu'(aux)
};

/// For every (o, i) with o < outer, i < inner:  C[M, N] = op(A)[M, K] op(B)[K, N] + bias + (accumulate ? C : 0).
/// A starts at a + o * a_outer + i * a_inner, likewise B and C. Element (m, k) of op(A) is a[m * lda + k], and
/// a[k * lda + m] when trans_a; likewise op(B) with ldb. Sums are in Acc<T>.
template <class T>
struct Matmul {
  const T *a, *b;
  const T* bias;  // [N] or null
  void* c;        // Acc<T> when c_is_acc, else T; must not overlap A or B
  int64_t M, N, K;
  int64_t lda, ldb, ldc;                                         // row strides, elements
  int64_t outer, inner;                                          // the two batch axes, 1 where there is none
  int64_t a_outer, a_inner, b_outer, b_inner, c_outer, c_inner;  // batch strides, elements
  int32_t trans_a, trans_b;
  int32_t c_is_acc;  // weight gradients leave as fp32
  int32_t accumulate;
  Epilogue epilogue;            // not with accumulate or c_is_acc; batch 1, C dense
  T* aux;                       // [M, N] dense: written by gelu, read by gelu_gradient
  int32_t sums_a;               // 1: a_sum is wanted; A dense, trans_a, batch 1
  Acc<T>* a_sum;                // [M]: += sum over k of op(A)[m, k], the gradient of a bias
  Acc<T>* workspace = nullptr;  // partial sums where K is long and M x N is small: K is cut into chunks that depend
                                // on the shape alone and are added in ascending order
};

/// Sum over rows: y[c] += sum over r of x[r, c]; rows are cut into fixed blocks and added in block order.
template <class T>
struct ColumnSum {
  const T* x;  // [R, C], dense
  Acc<T>* y;   // [C], added to
  int64_t R, C;
  Acc<T>* workspace = nullptr;
};

DECLARE_OPERATION(Matmul)
DECLARE_OPERATION(ColumnSum)

}  // namespace selene
