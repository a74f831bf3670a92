// The optimiser's kernels over flat fp32 buffers (fp64 in tests). fairseq optim/adam.py, torch.optim.Adam, utils.clip_grad_norm_.
#pragma once
#include "kernels/backend.h"

namespace selene {

constexpr int64_t kNormBlock = 4096;  // elements of one partial sum of a norm; ranges and shards start at multiples of it

/// partial[i] = sum of squares of block i of x. T is the gradients' type (float, double).
template <class T> struct SumSquares {
  const T* x;
  Acc<T>* partial;     // [ceil(n / kNormBlock)]
  int64_t n;
};
/// norm = gradient_scale * sqrt(sum of partial), added in a binary tree over the index; and the first block that is not finite.
template <class T> struct GradientNorm {
  const Acc<T>* partial;  // [blocks]
  int64_t blocks;
  const StepScalars* step;
  double* norm;           // one number
  int64_t* bad_block;     // one number: first block whose sum is NaN or Inf, -1 if none
};
/// One Adam step on a range. With g' = g * gradient_scale * min(1, clip / (norm + 1e-6)) (clip 0: no clipping):
///   m <- beta1 m + (1 - beta1) g';  v <- beta2 v + (1 - beta2) g'^2
///   fairseq form: p <- p - lr decay p;  p <- p - lr sqrt(correction2) / correction1 * m / (sqrt(v) + eps)
///   textbook form: p <- p - lr (decay p); p <- p - lr (m / correction1) / (sqrt(v / correction2) + eps)
/// l2: decay p is added to g' instead of being subtracted from p.
template <class T> struct Adam {
  const T* g;          // [n] sums over the batch
  T *p, *m, *v;        // [n]
  void* copy;          // [n] compute copy in `copy_type`, or null
  DType copy_type;
  int64_t n;
  const StepScalars* step;
  const double* norm;  // device memory; read only when clip > 0
  double clip, beta1, beta2, eps, decay;
  int32_t textbook, l2;
};
DECLARE_OPERATION(SumSquares)
DECLARE_OPERATION(GradientNorm)
DECLARE_OPERATION(Adam)

}  // namespace selene
