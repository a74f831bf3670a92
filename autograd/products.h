// Matrix products of tensors for the operations: shapes and strides are read off the tensors, scratch comes from the
// step arena.
#pragma once
#include "autograd/tape.h"

namespace selene {

/// c = op(a) op(b) (+ bias): a, b, c of rank 2 to 4 with equal batch axes; any row and batch strides, inner stride 1.
void product(Tape& t, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c,
             const Tensor* bias);
/// c += op(a) op(b) into an fp32 (fp64) tensor: weight gradients.
void add_product(Tape& t, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c);
/// y[C] += sum over rows of x[R, C].
void add_column_sum(Tape& t, const Tensor& x, const Tensor& y);
/// x in another floating-point type; x itself where it has that type.
Tensor cast(Tape& t, const Tensor& x, DType to);
/// Scratch of the accumulation type of `of`; empty for 0 elements.
Tensor workspace(Tape& t, int64_t elements, DType of);
template <class A>
A* workspace_data(const Tensor& w) {
  return w ? w.data<A>() : nullptr;
}

}  // namespace selene
