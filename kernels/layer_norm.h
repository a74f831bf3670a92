// Layer normalisation over the last axis (Ba et al. 2016, eq. 4), with the residual branch and its dropout fused in
// front. Gradient: docs/math.md, "Layer norm". Rows are dense. Statistics are Acc<T>: fp32, fp64 for T = double;
// variance is biased.
#pragma once
#include "kernels/dropout.h"

namespace selene {

template <class T>
struct LayerNormFwd {     // s = residual + dropout(x);  y = (s - mean) * rstd * gamma + beta
  const T* x;             // [R, C]
  const T* residual;      // [R, C] or null: then s = x and no dropout
  T* s;                   // [R, C]: s, kept for the backward pass; null without residual
  const T *gamma, *beta;  // [C], [C]
  T* y;                   // [R, C], must not be x, residual or s
  Acc<T>*mean, *rstd;     // [R], [R], kept for the backward pass
  int64_t R, C, rows;     // rows of one example, for dropout
  Acc<T> eps;             // added to the variance; fairseq uses 1e-5
  DropoutSite drop = {};
};
template <class T>
struct LayerNormBwd {
  const T *s, *gamma, *dy;   // [R, C] what was normalised, [C], [R, C]
  const Acc<T>*mean, *rstd;  // [R], [R]
  T* ds;  // [R, C], overwritten: gradient of s (of x without residual, of residual with one); may be dy
  T* dx;  // [R, C] or null: dropout(ds), the gradient of the dropped branch; must not be dy
  Acc<T>*dgamma, *dbeta;  // [C], [C], added to
  int64_t R, C, rows;
  DropoutSite drop = {};
  Acc<T>* workspace = nullptr;  // partial dgamma, dbeta per fixed block of rows
};

DECLARE_OPERATION(LayerNormFwd)
DECLARE_OPERATION(LayerNormBwd)

}  // namespace selene
