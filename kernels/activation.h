// Elementwise activations with dropout after them, fused: one pass each way. Gradients: docs/math.md, "Activations".
// The tensors may be rows from `first_row` on of a larger one, whose masks they get.
#pragma once
#include "kernels/dropout.h"

namespace selene {

/// gelu: x Phi(x), exact erf form (Hendrycks & Gimpel 2016); gelu_tanh: its tanh approximation; softplus(beta):
/// log(1 + exp(beta x)) / beta, and x where beta x > 20.
enum class Activation : int32_t { identity, relu, gelu, gelu_tanh, silu, sigmoid, tanh, elu, elu_plus_one, softplus };

template <class T>
struct ActivationFwd {  // y = dropout(f(x))
  const T* x;           // [R, C]
  T* y;                 // [R, C], may be x
  int64_t R, C, rows;   // rows of one example, as in Dropout
  Activation f;
  Acc<T> beta = 0;  // softplus only
  DropoutSite drop = {};
  int64_t first_row = 0;
};
template <class T>
struct ActivationBwd {  // dx = f'(x) dropout(dy)
  const T *x, *dy;      // [R, C]
  T* dx;                // [R, C], may be dy
  T* y = nullptr;       // [R, C] or null: dropout(f(x)) again, for the caller that did not keep it; must not be x
  int64_t R, C, rows;
  Activation f;
  Acc<T> beta = 0;
  DropoutSite drop = {};
  int64_t first_row = 0;
  int32_t sums_dx = 0;          // 1: dx_sum is wanted
  Acc<T>* dx_sum = nullptr;     // [C]: += sum over rows of dx as stored, the gradient of a bias in front of f
  Acc<T>* workspace = nullptr;  // as ColumnSum's
};
DECLARE_OPERATION(ActivationFwd)
DECLARE_OPERATION(ActivationBwd)

}  // namespace selene
