// Gradient norm and Adam over flat buffers: one pass over memory each.
#include "kernels/optimizer.h"

#include <fmt/format.h>

#include <cmath>

#include "kernels/cpu/row.h"
#include "kernels/error.h"

namespace selene {
namespace {

using namespace cpu;

template <class T>
SELENE_CLONES Acc<T> sum_squares(const T* x, int64_t n) {
  Acc<T> sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += up(x[i]) * up(x[i]);
  return sum;
}

/// Sum of partial[first ... first + width), width a power of two, as the tree of its two halves; 0 past the end.
template <class A>
double tree_sum(const A* partial, int64_t blocks, int64_t first, int64_t width) {
  if (first >= blocks) return 0;
  if (width == 1) return double(partial[first]);
  return tree_sum(partial, blocks, first, width / 2) + tree_sum(partial, blocks, first + width / 2, width / 2);
}

/// The numbers of a step, folded in double and rounded once.
template <class A>
struct AdamStep {
  A gradient, beta1, beta2, rest1, rest2, step, eps, root_scale, decay, l2;
};
template <class T>
AdamStep<Acc<T>> fold(const Adam<T>& a) {
  using A = Acc<T>;
  const StepScalars& s = *a.step;
  const UpdateState& state = *a.state;
  const double clip = a.clip > 0 ? a.clip / (*a.norm + 1e-6) : 1.0;
  const double gradient = s.gradient_scale / double(state.applied) * (clip >= 1.0 ? 1.0 : clip);  // NaN stays
  const double root2 = std::sqrt(state.correction2),
               step = s.learning_rate * (a.textbook ? 1.0 : root2) / state.correction1;
  return {A(gradient),
          A(a.beta1),
          A(a.beta2),
          A(1 - a.beta1),
          A(1 - a.beta2),
          A(step),
          A(a.eps),
          A(a.textbook ? 1 / root2 : 1.0),
          A(a.l2 ? 0.0 : s.learning_rate * a.decay),
          A(a.l2 ? a.decay : 0.0)};
}

/// Elements [begin, end). The copy is in C; null: none.
template <class T, class C>
SELENE_CLONES void adam_range(const Adam<T>& a, const AdamStep<Acc<T>>& k, int64_t begin, int64_t end) {
  using A = Acc<T>;
  const T* g = a.g;
  T *p = a.p, *m = a.m, *v = a.v;
  C* copy = static_cast<C*>(a.copy);
  const auto update = [&](int64_t i) __attribute__((always_inline)) {
    const A grad = up(g[i]) * k.gradient + k.l2 * up(p[i]);
    const A m1 = k.beta1 * up(m[i]) + k.rest1 * grad, v1 = k.beta2 * up(v[i]) + k.rest2 * (grad * grad);
    const A p0 = up(p[i]) - k.decay * up(p[i]), p1 = p0 - k.step * m1 / (std::sqrt(v1) * k.root_scale + k.eps);
    m[i] = down<T>(m1), v[i] = down<T>(v1), p[i] = down<T>(p1);
    return p1;
  };
  if (copy == nullptr) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) update(i);
  } else {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) copy[i] = down<C>(update(i));
  }
}

}  // namespace

template <class T>
void cpu::run(Stream&, const SumSquares<T>& a) {
  constexpr int64_t kBlocks = 4;  // of one task
  parallel_ranges(ceil_div(a.n, kNormBlock), kBlocks, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block)
      a.partial[block] = sum_squares(a.x + block * kNormBlock, std::min(kNormBlock, a.n - block * kNormBlock));
  });
}

template <class T>
void cpu::run(Stream&, const GradientNorm<T>& a) {
  int64_t width = 1;
  while (width < a.blocks) width *= 2;
  *a.norm = a.step->gradient_scale / double(a.state->scale) * std::sqrt(tree_sum(a.partial, a.blocks, 0, width));
  *a.bad_block = -1;
  for (int64_t block = 0; block < a.blocks && *a.bad_block < 0; ++block)
    if (!std::isfinite(a.partial[block])) *a.bad_block = block;
}

template <class T>
void cpu::run(Stream&, const UpdateCheck<T>& a) {
  UpdateState& s = *a.state;
  s.applied = s.scale;
  s.skip = s.stopped || *a.bad_block >= 0;
  if (!s.skip) {
    const double t = double(a.step->update + 1 - s.skipped);
    s.correction1 = 1 - std::pow(a.beta1, t), s.correction2 = 1 - std::pow(a.beta2, t);
    if (++s.good % a.window == 0 && a.dynamic) s.scale *= 2;
    return;
  }
  ++s.skipped, s.good = 0;
  if (s.stopped) return;
  if (a.dynamic && double(s.scale) / 2 > a.minimum) {
    s.scale /= 2;
    return;
  }
  s.stopped = 1, s.bad_update = a.step->update, s.bad_block = *a.bad_block;
}

template <class T>
void cpu::run(Stream&, const Adam<T>& a) {
  if (a.state->skip) return;
  const AdamStep<Acc<T>> k = fold(a);
  const auto over = [&]<class C>() {
    parallel_ranges(a.n, kTask, [&](int64_t begin, int64_t end) { adam_range<T, C>(a, k, begin, end); });
  };
  if (a.copy == nullptr || a.copy_type == DType::f32) return over.template operator()<float>();
  if (a.copy_type == DType::bf16) return over.template operator()<bf16>();
  if (a.copy_type == DType::f16) return over.template operator()<f16>();
  if (a.copy_type == DType::f64) return over.template operator()<double>();
  throw Error(fmt::format("adam: compute copy of type {}, wanted f32, bf16, f16 or f64", name_of(a.copy_type)));
}

INSTANTIATE_CPU(SumSquares)
INSTANTIATE_CPU(GradientNorm)
INSTANTIATE_CPU(UpdateCheck)
INSTANTIATE_CPU(Adam)

}  // namespace selene
