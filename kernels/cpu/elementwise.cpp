// Sums, products, copies, pooling.
#include "kernels/elementwise.h"

#include <fmt/format.h>

#include "kernels/cpu/row.h"
#include "kernels/error.h"

namespace selene {
namespace {

using namespace cpu;

constexpr int64_t kSlice = 64;  // columns of one task where a sum runs along another axis
constexpr int64_t kBlock = 64;  // rows of one partial sum of a mean

template <class T>
SELENE_CLONES void combine(const Elementwise<T>& a, int64_t begin, int64_t end) {
  const T *x = a.a, *b = a.b;
  T* y = a.y;
  const Acc<T> alpha = a.alpha;
  if (b == nullptr) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = down<T>(alpha * up(x[i]));
  } else if (a.op == Binary::add) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = down<T>(alpha * (up(x[i]) + up(b[i])));
  } else if (a.op == Binary::subtract) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = down<T>(alpha * (up(x[i]) - up(b[i])));
  } else {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = down<T>(alpha * (up(x[i]) * up(b[i])));
  }
}

/// Columns [begin, end) of one [N, inner] matrix.
template <class T>
SELENE_CLONES void cumulate(const CumulativeSum<T>& a, int64_t outer, int64_t begin, int64_t end) {
  Acc<T> sum[kSlice] = {};
  for (int64_t i = 0; i < a.N; ++i) {
    const int64_t at = (outer * a.N + (a.reverse ? a.N - 1 - i : i)) * a.inner + begin;
    const T* x = a.x + at;
    T* y = a.y + at;
#pragma omp simd
    for (int64_t c = 0; c < end - begin; ++c) sum[c] += up(x[c]), y[c] = down<T>(sum[c]);
  }
}

template <class T>
SELENE_CLONES void copy_row(const T* x, int64_t x_stride, T* y, int64_t y_stride, int64_t n, int32_t accumulate) {
  if (x_stride == 1 && y_stride == 1 && !accumulate) {
    std::copy(x, x + n, y);
  } else if (x_stride == 1 && y_stride == 1) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = down<T>(up(x[i]) + up(y[i]));
  } else if (!accumulate) {
    for (int64_t i = 0; i < n; ++i) y[i * y_stride] = x[i * x_stride];
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * y_stride] = down<T>(up(x[i * x_stride]) + up(y[i * y_stride]));
  }
}

template <class T, class To>
SELENE_CLONES void convert(const T* x, To* y, int64_t begin, int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) y[i] = down<To>(up(x[i]));
}
template <class T, class To>
void convert_all(const Cast<T>& a) {
  parallel_ranges(a.n, kTask, [&](int64_t begin, int64_t end) { convert(a.x, static_cast<To*>(a.y), begin, end); });
}

/// Rows of example b that count.
int64_t rows_used(const int32_t* lengths, const int32_t* length, int64_t b, int64_t N) {
  return std::min<int64_t>(N, lengths != nullptr ? lengths[b] : length != nullptr ? *length : N);
}

/// Columns [begin, end) of y[b]: sums of kBlock rows, added in order, so that rounding grows with N / kBlock.
template <class T>
SELENE_CLONES void mean_columns(const MeanPoolFwd<T>& a, int64_t b, int64_t begin, int64_t end) {
  const int64_t used = rows_used(a.lengths, a.length, b, a.N), width = end - begin;
  Acc<T> total[kSlice] = {};
  for (int64_t first = 0; first < used; first += kBlock) {
    Acc<T> sum[kSlice] = {};
    for (int64_t n = first; n < std::min(first + kBlock, used); ++n) {
      const T* x = a.x + (b * a.N + n) * a.D + begin;
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) sum[c] += up(x[c]);
    }
    for (int64_t c = 0; c < width; ++c) total[c] += sum[c];
  }
  for (int64_t c = 0; c < width; ++c) a.y[b * a.D + begin + c] = down<T>(total[c] / Acc<T>(used));
}

template <class T>
SELENE_CLONES void spread_mean(const MeanPoolBwd<T>& a, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    const int64_t b = r / a.N, used = rows_used(a.lengths, a.length, b, a.N);
    const T* dy = a.dy + b * a.D;
    T* dx = a.dx + r * a.D;
    const Acc<T> count = Acc<T>(used);
    if (r % a.N < used) {
#pragma omp simd
      for (int64_t d = 0; d < a.D; ++d) dx[d] = down<T>(up(dy[d]) / count);
    } else {
      std::fill(dx, dx + a.D, down<T>(Acc<T>(0)));
    }
  }
}

}  // namespace

template <class T>
void cpu::run(Stream&, const Elementwise<T>& a) {
  parallel_ranges(a.n, kTask, [&](int64_t begin, int64_t end) { combine(a, begin, end); });
}
template <class T>
void cpu::run(Stream&, const CumulativeSum<T>& a) {
  const int64_t slices = ceil_div(a.inner, kSlice);
  parallel_for(a.outer * slices, [&](int64_t i) {
    const int64_t begin = i % slices * kSlice;
    cumulate(a, i / slices, begin, std::min(begin + kSlice, a.inner));
  });
}
template <class T>
void cpu::run(Stream&, const CopyStrided<T>& a) {
  const int64_t *n = a.n, *xs = a.x_stride, *ys = a.y_stride;
  parallel_ranges(n[0] * n[1] * n[2], rows_per_task(n[3]), [&](int64_t first, int64_t last) {
    int64_t i2 = first % n[2], i1 = first / n[2] % n[1], i0 = first / n[2] / n[1];
    for (int64_t i = first; i < last; ++i) {
      copy_row(a.x + i0 * xs[0] + i1 * xs[1] + i2 * xs[2], xs[3], a.y + i0 * ys[0] + i1 * ys[1] + i2 * ys[2], ys[3],
               n[3], a.accumulate);
      if (++i2 == n[2]) i2 = 0, ++i1;
      if (i1 == n[1]) i1 = 0, ++i0;
    }
  });
}
template <class T>
void cpu::run(Stream&, const Cast<T>& a) {
  if (a.to == DType::f32) return convert_all<T, float>(a);
  if (a.to == DType::bf16) return convert_all<T, bf16>(a);
  if (a.to == DType::f16) return convert_all<T, f16>(a);
  if (a.to == DType::f64) return convert_all<T, double>(a);
  throw Error(fmt::format("cast: to type {}, wanted f32, bf16, f16 or f64", name_of(a.to)));
}
template <class T>
void cpu::run(Stream&, const Fill<T>& a) {
  parallel_ranges(a.n, kTask,
                  [&](int64_t begin, int64_t end) { std::fill(a.y + begin, a.y + end, down<T>(a.value)); });
}
template <class T>
void cpu::run(Stream&, const MeanPoolFwd<T>& a) {
  const int64_t slices = ceil_div(a.D, kSlice);
  parallel_for(a.B * slices, [&](int64_t i) {
    const int64_t begin = i % slices * kSlice;
    mean_columns(a, i / slices, begin, std::min(begin + kSlice, a.D));
  });
}
template <class T>
void cpu::run(Stream&, const MeanPoolBwd<T>& a) {
  parallel_ranges(a.B * a.N, rows_per_task(a.D), [&](int64_t first, int64_t last) { spread_mean(a, first, last); });
}

template <class T>
int64_t cpu::workspace(const CumulativeSum<T>&) {
  return 0;
}
template <class T>
int64_t cpu::workspace(const MeanPoolFwd<T>&) {
  return 0;
}

INSTANTIATE_CPU(Elementwise)
INSTANTIATE_CPU(CumulativeSum)
INSTANTIATE_CPU_WORKSPACE(CumulativeSum)
INSTANTIATE_CPU(CopyStrided)
INSTANTIATE_CPU(Cast)
INSTANTIATE_CPU(Fill)
INSTANTIATE_CPU(MeanPoolFwd)
INSTANTIATE_CPU_WORKSPACE(MeanPoolFwd)
INSTANTIATE_CPU(MeanPoolBwd)

}  // namespace selene
