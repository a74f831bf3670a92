// Gradient norm and Adam over flat buffers: one pass over memory each.
#include "kernels/optimizer_step.h"

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
  constexpr int64_t blocks = 4;  // of one task
  parallel_ranges(ceil_div(a.n, kNormBlock), blocks, [&](int64_t first, int64_t last) {
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
  check_update(a);
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
