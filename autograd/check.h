// Argument checks of the operations: one line that names operation, argument, what it is and what was wanted.
#pragma once
#include <string>

#include "autograd/tape.h"

namespace selene {

/// "layer_norm: gamma is f32[511], wanted [512] (last axis of x f32[8, 128, 512])".
void need_shape(const char* op, const char* argument, const Tensor& is, const Shape& wanted, const char* why,
                const Tensor& of);
/// Same, for the number of axes.
void need_rank(const char* op, const char* argument, const Tensor& is, int rank);
/// Same element type as `of`.
void need_same_dtype(const char* op, const char* argument, const Tensor& is, const Tensor& of);
/// Exactly this element type.
void need_dtype(const char* op, const char* argument, const Tensor& is, DType wanted);
/// Dense memory.
void need_dense(const char* op, const char* argument, const Tensor& is);

/// Rows of a tensor seen as [R, C], C the last axis.
inline int64_t rows_of(const Tensor& x) { return x.dim(-1) ? x.numel() / x.dim(-1) : 0; }
/// Rows that belong to one example, the first axis being the batch.
inline int64_t rows_of_example(const Tensor& x) { return x.rank() < 2 || !x.dim(0) ? 1 : rows_of(x) / x.dim(0); }

}  // namespace selene
