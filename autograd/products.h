// Matrix products of tensors for the operations: shapes and strides are read off the tensors, scratch comes from the
// step arena.
#pragma once
#include "autograd/tape.h"

namespace selene {

/// c = op(a) op(b) (+ bias) (+ c): a, b, c of rank 2 to 4 with equal batch axes; any row and batch strides, inner
/// stride 1.
void product(Tape& t, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c,
             const Tensor* bias, bool accumulate = false);
/// aux = a b^T + bias, c = gelu_tanh(aux), in one pass: a[R, K], b[N, K], aux and c [R, N], dense.
void product_gelu(Tape& t, const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& aux, const Tensor& c);
/// c = a b * gelu_tanh'(aux), in one pass: a[R, K], b[K, N], aux and c [R, N], dense.
void product_gelu_gradient(Tape& t, const Tensor& a, const Tensor& b, const Tensor& aux, const Tensor& c);
/// c[M, N] += a[K, M]^T b[K, N] into an fp32 (fp64) tensor: the gradient of a weight. With a_sum: also
/// a_sum[M] += sum over rows of a, the gradient of its bias.
void add_product(Tape& t, const Tensor& a, const Tensor& b, const Tensor& c, const Tensor* a_sum);
/// y[C] += sum over rows of x[R, C].
void add_column_sum(Tape& t, const Tensor& x, const Tensor& y);
/// x in another floating-point type; x itself where it has that type.
Tensor cast(Tape& t, const Tensor& x, DType to);

}  // namespace selene
