// Row softmax and log-softmax with a key mask, and the classification loss. Gradients: docs/math.md, "Softmax",
// "Cross-entropy".
#pragma once
#include "kernels/backend.h"

namespace selene {

template <class T>
struct SoftmaxFwd {     // y = softmax(x) over C, or its logarithm
  const T* x;           // [R, C]
  const uint8_t* mask;  // [R / rows, C] or null: 1 = left out (probability 0); never a whole row
  T* y;                 // [R, C], may be x
  int64_t R, C, rows;   // rows that share one row of the mask
  int32_t log;          // 1: y = log softmax(x); neither mask nor causal then
  int32_t causal;       // 1: row r sees columns c <= r % rows_causal only
  int64_t rows_causal;
};
template <class T>
struct SoftmaxBwd {
  const T *y, *dy;  // [R, C] the forward result, its gradient
  T* dx;            // [R, C], may be dy
  int64_t R, C;
  int32_t log;
};

/// Sums that a loss adds up over micro-batches, in device memory.
struct LossSums {
  double loss, nll, count, correct;
};

/// Per row: (1 - eps) (-log p_target) + (eps / C) sum over c of (-log p_c); natural logarithm. fairseq
/// label_smoothed_cross_entropy. Rows whose target is `ignore` count for nothing.
template <class T>
struct CrossEntropyFwd {
  const T* logits;        // [R, C]
  const int32_t* target;  // [R]
  Acc<T>* lse;            // [R]: log sum exp, kept for the backward pass
  Acc<T>* row_loss;       // [R]
  LossSums*
      sums;  // added to: loss, nll (without smoothing), rows that count, rows whose largest logit is the target's
  int64_t R, C;
  int32_t ignore;               // -1: no row is left out
  Acc<T> eps;                   // label smoothing, 0 to 1
  Acc<T>* workspace = nullptr;  // what each row adds to sums
};
template <class T>
struct CrossEntropyBwd {  // dlogits = gradient of the summed loss x *dloss
  const T* logits;
  const int32_t* target;
  const Acc<T>* lse;
  const Acc<T>* dloss;  // one number in device memory: the gradient of the sum (a loss scale, 1 without)
  T* dlogits;           // [R, C], may be logits
  int64_t R, C;
  int32_t ignore;
  Acc<T> eps;
};
DECLARE_OPERATION(SoftmaxFwd)
DECLARE_OPERATION(SoftmaxBwd)
DECLARE_OPERATION(CrossEntropyFwd)
DECLARE_OPERATION(CrossEntropyBwd)

}  // namespace selene
