// Cross-entropy with label smoothing. Rows run in parallel; the sums are then added in ascending row order in double.
#include <fmt/format.h>

#include <atomic>
#include <limits>

#include "kernels/cpu/row.h"
#include "kernels/cpu/vecmath.h"
#include "kernels/error.h"
#include "kernels/softmax.h"

namespace selene {
namespace {

using namespace cpu;

/// True for a row that counts; throws where the target is neither a class nor `ignore`.
bool counts(int32_t target, int64_t r, int64_t C, int32_t ignore) {
  if (ignore != -1 && target == ignore) return false;
  if (target >= 0 && target < C) return true;
  throw Error(fmt::format("cross_entropy: target[{}] is {}, wanted a class from 0 to {}{}", r, target, C - 1,
                          ignore == -1 ? "" : fmt::format(" or {}", ignore)));
}

/// log sum exp of a row, its largest element and the sum of its elements.
template <class A>
struct RowSums {
  A lse, largest, total;
};
template <class T>
SELENE_CLONES RowSums<Acc<T>> row_sums(const T* x, int64_t C) {
  using A = Acc<T>;
  A largest = -std::numeric_limits<A>::infinity(), total = 0, sum = 0;
#pragma omp simd reduction(max : largest) reduction(+ : total)
  for (int64_t c = 0; c < C; ++c) {
    const A v = up(x[c]);
    largest = v > largest ? v : largest, total += v;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < C; ++c) sum += exp_fast(up(x[c]) - largest);
  return {largest + log_fast(sum), largest, total};
}

template <class T>
bool first_largest(const T* x, int64_t target, Acc<T> largest) {
  if (!(up(x[target]) == largest)) return false;
  for (int64_t c = 0; c < target; ++c)
    if (up(x[c]) == largest) return false;
  return true;
}

/// scale (softmax - even), what every element but the target's receives.
template <class T>
SELENE_CLONES void gradient_row(const T* x, T* dx, int64_t C, Acc<T> lse, Acc<T> scale, Acc<T> even) {
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) dx[c] = down<T>(scale * (exp_fast(up(x[c]) - lse) - even));
}

}  // namespace

template <class T>
void cpu::run(Stream&, const CrossEntropyFwd<T>& a) {
  using A = Acc<T>;
  std::atomic<int64_t> correct = 0;  // a whole number: the same in any order
  parallel_ranges(a.R, rows_per_task(a.C), [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const int32_t target = a.target[r];
      const T* x = a.logits + r * a.C;
      const RowSums<A> s = row_sums(x, a.C);
      a.lse[r] = s.lse, a.row_loss[r] = A(0);
      if (!counts(target, r, a.C, a.ignore)) continue;
      const A nll = s.lse - up(x[target]);
      a.row_loss[r] = a.eps > A(0) ? (A(1) - a.eps) * nll + a.eps * (s.lse - s.total / A(a.C)) : nll;
      correct += first_largest(x, target, s.largest);
    }
  });
  for (int64_t r = 0; r < a.R; ++r) {
    if (!counts(a.target[r], r, a.C, a.ignore)) continue;
    a.sums->loss += double(a.row_loss[r]);
    a.sums->nll += double(a.lse[r]) - double(up(a.logits[r * a.C + a.target[r]]));
    a.sums->count += 1;
  }
  a.sums->correct += double(correct);
}

template <class T>
void cpu::run(Stream&, const CrossEntropyBwd<T>& a) {
  using A = Acc<T>;
  const A scale = *a.dloss;
  parallel_ranges(a.R, rows_per_task(a.C), [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const T* x = a.logits + r * a.C;
      T* dx = a.dlogits + r * a.C;
      const int32_t target = a.target[r];
      if (!counts(target, r, a.C, a.ignore)) {
        std::fill(dx, dx + a.C, down<T>(A(0)));
        continue;
      }
      const A even = a.eps / A(a.C), p = exp_fast(up(x[target]) - a.lse[r]);
      gradient_row(x, dx, a.C, a.lse[r], scale, even);
      dx[target] = down<T>(scale * (p - even - (A(1) - a.eps)));
    }
  });
}

template <class T>
int64_t cpu::workspace(const CrossEntropyFwd<T>&) {
  return 0;
}

INSTANTIATE_CPU(CrossEntropyFwd)
INSTANTIATE_CPU_WORKSPACE(CrossEntropyFwd)
INSTANTIATE_CPU(CrossEntropyBwd)

}  // namespace selene
