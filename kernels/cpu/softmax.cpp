// Row softmax: the row is widened into a scratch row with -inf where it is masked, and stays in cache for three short
// loops.
#include "kernels/softmax.h"

#include <limits>
#include <vector>

#include "kernels/cpu/row.h"
#include "kernels/cpu/vecmath.h"

namespace selene {
namespace {

using namespace cpu;

template <class A>
A* row_scratch(int64_t C) {
  thread_local std::vector<A> scratch;
  if (int64_t(scratch.size()) < C) scratch.resize(size_t(C));
  return scratch.data();
}

/// The scratch row of n visible columns; returns its largest element. A NaN is not the largest but makes the sum NaN.
template <class T>
SELENE_INLINE Acc<T> widen_masked(const T* x, const uint8_t* mask, Acc<T>* row, int64_t n) {
  using A = Acc<T>;
  A largest = -std::numeric_limits<A>::infinity();
  if (mask == nullptr) {
#pragma omp simd reduction(max : largest)
    for (int64_t c = 0; c < n; ++c) row[c] = up(x[c]), largest = row[c] > largest ? row[c] : largest;
  } else {
#pragma omp simd reduction(max : largest)
    for (int64_t c = 0; c < n; ++c) {
      row[c] = mask[c] != 0 ? -std::numeric_limits<A>::infinity() : up(x[c]);
      largest = row[c] > largest ? row[c] : largest;
    }
  }
  return largest;
}

template <class T>
SELENE_CLONES void softmax_rows(const SoftmaxFwd<T>& a, int64_t first, int64_t last) {
  using A = Acc<T>;
  A* row = row_scratch<A>(a.C);
  for (int64_t r = first; r < last; ++r) {
    const int64_t n = a.causal ? std::min(a.C, r % a.rows_causal + 1) : a.C;
    const uint8_t* mask = a.mask != nullptr && !a.log ? a.mask + r / a.rows * a.C : nullptr;
    const A largest = widen_masked(a.x + r * a.C, mask, row, n);
    T* y = a.y + r * a.C;
    A sum = 0;
    if (a.log) {
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < n; ++c) sum += exp_fast(row[c] - largest);
      const A log_sum = log_fast(sum);
#pragma omp simd
      for (int64_t c = 0; c < n; ++c) y[c] = down<T>(row[c] - largest - log_sum);
    } else {
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < n; ++c) row[c] = exp_fast(row[c] - largest), sum += row[c];
      const A scale = A(1) / sum;
#pragma omp simd
      for (int64_t c = 0; c < n; ++c) y[c] = down<T>(row[c] * scale);
    }
    const A hidden = a.log ? -std::numeric_limits<A>::infinity() : A(0);
    for (int64_t c = n; c < a.C; ++c) y[c] = down<T>(hidden);
  }
}

template <class T>
SELENE_CLONES void softmax_gradient_rows(const SoftmaxBwd<T>& a, int64_t first, int64_t last) {
  using A = Acc<T>;
  for (int64_t r = first; r < last; ++r) {
    const T *y = a.y + r * a.C, *dy = a.dy + r * a.C;
    T* dx = a.dx + r * a.C;
    A sum = 0;
    if (a.log) {
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < a.C; ++c) sum += up(dy[c]);
#pragma omp simd
      for (int64_t c = 0; c < a.C; ++c) dx[c] = down<T>(up(dy[c]) - exp_fast(up(y[c])) * sum);
    } else {
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < a.C; ++c) sum += up(dy[c]) * up(y[c]);
#pragma omp simd
      for (int64_t c = 0; c < a.C; ++c) dx[c] = down<T>(up(y[c]) * (up(dy[c]) - sum));
    }
  }
}

}  // namespace

template <class T>
void cpu::run(Stream&, const SoftmaxFwd<T>& a) {
  parallel_ranges(a.R, rows_per_task(a.C), [&](int64_t first, int64_t last) { softmax_rows(a, first, last); });
}
template <class T>
void cpu::run(Stream&, const SoftmaxBwd<T>& a) {
  parallel_ranges(a.R, rows_per_task(a.C),
                  [&](int64_t first, int64_t last) { softmax_gradient_rows(a, first, last); });
}

INSTANTIATE_CPU(SoftmaxFwd)
INSTANTIATE_CPU(SoftmaxBwd)

}  // namespace selene
