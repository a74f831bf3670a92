// Layer normalisation with residual and dropout in front: a row is read once from memory and then stays in cache.
// Gradients of gamma and beta are summed per block of kBlock rows, blocks in order.
#include "kernels/layer_norm.h"

#include <cmath>
#include <vector>

#include "kernels/cpu/columns.h"
#include "kernels/cpu/row.h"

namespace selene {
namespace {

using namespace cpu;

constexpr int64_t kBlock = 32;  // rows of one task and of one partial sum

uint16_t* bits_scratch(int64_t C) {
  thread_local std::vector<uint16_t> scratch;
  if (int64_t(scratch.size()) < C + 16) scratch.resize(size_t(C + 16));
  return scratch.data();
}

/// s = residual + dropout(x).
template <class T>
SELENE_INLINE void add_residual(const T* x, const T* residual, const uint16_t* bits, uint32_t threshold, T* s,
                                int64_t C) {
  if (bits == nullptr) {
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) s[c] = down<T>(up(residual[c]) + up(x[c]));
    return;
  }
  const Acc<T> scale = dropout_scale(threshold);
#pragma omp simd
  for (int64_t c = 0; c < C; ++c)
    s[c] = down<T>(up(residual[c]) + up(x[c]) * dropout_factor(bits[c], threshold, scale));
}

template <class T>
SELENE_CLONES void forward_rows(const LayerNormFwd<T>& a, int64_t first, int64_t last) {
  using A = Acc<T>;
  const bool drop = a.residual != nullptr && dropout_on(a.drop);
  uint16_t* scratch = drop ? bits_scratch(a.C) : nullptr;
  const T *gamma = a.gamma, *beta = a.beta;
  const int64_t C = a.C;
  for (int64_t r = first; r < last; ++r) {
    const T* s = a.x + r * C;
    if (a.residual != nullptr) {
      const uint16_t* bits = drop ? dropout_row(a.drop, r / a.rows, r % a.rows * C, C, scratch) : nullptr;
      add_residual(s, a.residual + r * C, bits, a.drop.threshold, a.s + r * C, C);
      s = a.s + r * C;  // as rounded: what the backward pass will read
    }
    A sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < C; ++c) sum += up(s[c]);
    const A mean = sum / A(C);
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < C; ++c) squares += (up(s[c]) - mean) * (up(s[c]) - mean);
    const A rstd = A(1) / std::sqrt(squares / A(C) + a.eps);
    T* y = a.y + r * C;
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) y[c] = down<T>((up(s[c]) - mean) * rstd * up(gamma[c]) + up(beta[c]));
    a.mean[r] = mean, a.rstd[r] = rstd;
  }
}

/// One row of the backward pass: ds; dgamma and dbeta [C] are added to.
template <class T>
SELENE_INLINE void backward_row(const LayerNormBwd<T>& a, int64_t r, Acc<T>* dgamma, Acc<T>* dbeta) {
  using A = Acc<T>;
  const int64_t C = a.C;
  const T *s = a.s + r * C, *dy = a.dy + r * C, *gamma = a.gamma;
  const A mean = a.mean[r], rstd = a.rstd[r];
  A s1 = 0, s2 = 0;  // sums of g and of g * xhat, with g = dy * gamma
#pragma omp simd reduction(+ : s1, s2)
  for (int64_t c = 0; c < C; ++c) {
    const A xhat = (up(s[c]) - mean) * rstd, d = up(dy[c]), g = d * up(gamma[c]);
    s1 += g, s2 += g * xhat;
    dgamma[c] += d * xhat, dbeta[c] += d;
  }
  s1 /= A(C), s2 /= A(C);
  T* ds = a.ds + r * C;
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const A xhat = (up(s[c]) - mean) * rstd, g = up(dy[c]) * up(gamma[c]);
    ds[c] = down<T>(rstd * (g - s1 - xhat * s2));
  }
}

template <class T>
SELENE_CLONES void backward_rows(const LayerNormBwd<T>& a, int64_t first, int64_t last) {
  Acc<T>*dgamma = a.workspace + first / kBlock * 2 * a.C, *dbeta = dgamma + a.C;
  std::fill(dgamma, dgamma + 2 * a.C, Acc<T>(0));
  const bool drop = a.dx != nullptr && dropout_on(a.drop);
  uint16_t* scratch = drop ? bits_scratch(a.C) : nullptr;
  const Acc<T> scale = drop ? dropout_scale(a.drop.threshold) : 1.0f;
  for (int64_t r = first; r < last; ++r) {
    backward_row(a, r, dgamma, dbeta);
    if (a.dx == nullptr) continue;
    const T* ds = a.ds + r * a.C;
    T* dx = a.dx + r * a.C;
    if (!drop) {
      std::copy(ds, ds + a.C, dx);
      continue;
    }
    const uint16_t* bits = dropout_row(a.drop, r / a.rows, r % a.rows * a.C, a.C, scratch);
#pragma omp simd
    for (int64_t c = 0; c < a.C; ++c) dx[c] = down<T>(up(ds[c]) * dropout_factor(bits[c], a.drop.threshold, scale));
  }
}

}  // namespace

template <class T>
int64_t cpu::workspace(const LayerNormBwd<T>& a) {
  return ceil_div(a.R, kBlock) * 2 * a.C * int64_t(sizeof(Acc<T>));
}

template <class T>
void cpu::run(Stream&, const LayerNormFwd<T>& a) {
  parallel_ranges(a.R, kBlock, [&](int64_t first, int64_t last) { forward_rows(a, first, last); });
}
template <class T>
void cpu::run(Stream&, const LayerNormBwd<T>& a) {
  parallel_ranges(a.R, kBlock, [&](int64_t first, int64_t last) { backward_rows(a, first, last); });
  const int64_t blocks = ceil_div(a.R, kBlock);
  add_blocks(a.workspace, 2 * a.C, blocks, a.C, a.dgamma);
  add_blocks(a.workspace + a.C, 2 * a.C, blocks, a.C, a.dbeta);
}

INSTANTIATE_CPU(LayerNormFwd)
INSTANTIATE_CPU(LayerNormBwd)
INSTANTIATE_CPU_WORKSPACE(LayerNormBwd)

}  // namespace selene
