// Look-ups. Gradients of tables are cut into slices of columns: each slice has one owner that walks the tokens in
// ascending order, so there is no race and one order of addition.
#include "kernels/embedding.h"

#include <fmt/format.h>

#include "kernels/cpu/columns.h"
#include "kernels/cpu/row.h"
#include "kernels/error.h"

namespace selene {
namespace {

using namespace cpu;

constexpr int64_t kSlice = 32;   // columns of one owner
constexpr int64_t kBlock = 256;  // rows of one partial sum of the pixel gradient

template <class T>
SELENE_CLONES void embed_rows(const EmbeddingFwd<T>& a, int64_t first, int64_t last) {
  const int64_t D = a.D;
  for (int64_t r = first; r < last; ++r) {
    const T* row = a.table + int64_t(a.ids[r]) * D;
    T* y = a.y + r * D;
    if (a.add != nullptr) {
      const T* add = a.add + int64_t(a.ids2[r]) * D;
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) y[d] = down<T>(a.scale * up(row[d]) + up(add[d]));
    } else {
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) y[d] = down<T>(a.scale * up(row[d]));
    }
  }
}

template <class T>
SELENE_CLONES void scatter_slice(const EmbeddingBwd<T>& a, int64_t begin, int64_t end) {
  const int64_t n = end - begin;
  for (int64_t r = 0; r < a.R; ++r) {
    const int64_t id = a.ids[r];
    if (id == a.pad) continue;
    const T* dy = a.dy + r * a.D + begin;
    Acc<T>* to = a.dtable + id * a.D + begin;
#pragma omp simd
    for (int64_t d = 0; d < n; ++d) to[d] += a.scale * up(dy[d]);
  }
}

template <class T>
SELENE_CLONES void pixel_rows(const PixelFwd<T>& a, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    const Acc<T> x = up(a.x[r]);
    const T *w = a.w, *b = a.b, *add = a.add != nullptr ? a.add + int64_t(a.ids2[r]) * a.D : nullptr;
    T* y = a.y + r * a.D;
#pragma omp simd
    for (int64_t d = 0; d < a.D; ++d)
      y[d] = down<T>(a.scale * (x * up(w[d]) + up(b[d])) + (add != nullptr ? up(add[d]) : Acc<T>(0)));
  }
}

/// dx of rows [first, last) and their sums of dw, db: workspace block of 2 D.
template <class T>
SELENE_CLONES void pixel_gradient_rows(const PixelBwd<T>& a, int64_t first, int64_t last) {
  using A = Acc<T>;
  A *dw = a.workspace + first / kBlock * 2 * a.D, *db = dw + a.D;
  std::fill(dw, dw + 2 * a.D, A(0));
  for (int64_t r = first; r < last; ++r) {
    const T *dy = a.dy + r * a.D, *w = a.w;
    const A x = up(a.x[r]);
    A dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t d = 0; d < a.D; ++d) {
      const A g = a.scale * up(dy[d]);
      dw[d] += g * x, db[d] += g, dot += g * up(w[d]);
    }
    if (a.dx != nullptr) a.dx[r] = down<T>(dot);
  }
}

}  // namespace

template <class T>
int64_t cpu::workspace(const PixelBwd<T>& a) {
  return ceil_div(a.R, kBlock) * 2 * a.D * int64_t(sizeof(Acc<T>));
}

template <class T>
void cpu::run(Stream&, const Positions<T>& a) {
  parallel_for(a.B, [&](int64_t b) {
    int32_t seen = 0;
    for (int64_t i = b * a.N; i < (b + 1) * a.N; ++i) {
      if (a.pad < 0) a.positions[i] = seen++;
      else a.positions[i] = a.tokens[i] == a.pad ? a.pad : a.pad + ++seen;
    }
  });
}
template <class T>
void cpu::run(Stream&, const PaddingMask<T>& a) {
  for (int64_t b = 0; b < a.B; ++b)
    for (int64_t n = 0; n < a.N; ++n) a.mask[b * a.N + n] = n >= a.lengths[b];
}
template <class T>
void cpu::run(Stream&, const EmbeddingFwd<T>& a) {
  parallel_ranges(a.R, rows_per_task(a.D), [&](int64_t first, int64_t last) { embed_rows(a, first, last); });
}
template <class T>
void cpu::run(Stream&, const EmbeddingBwd<T>& a) {
  for (int64_t r = 0; r < a.R; ++r)
    if (a.ids[r] < 0 || a.ids[r] >= a.V)
      throw Error(fmt::format("embedding: ids[{}] is {}, wanted a row of the table, 0 to {}", r, a.ids[r], a.V - 1));
  parallel_ranges(a.D, kSlice, [&](int64_t begin, int64_t end) { scatter_slice(a, begin, end); });
}
template <class T>
void cpu::run(Stream&, const PixelFwd<T>& a) {
  parallel_ranges(a.R, rows_per_task(a.D), [&](int64_t first, int64_t last) { pixel_rows(a, first, last); });
}
template <class T>
void cpu::run(Stream&, const PixelBwd<T>& a) {
  parallel_ranges(a.R, kBlock, [&](int64_t first, int64_t last) { pixel_gradient_rows(a, first, last); });
  const int64_t blocks = ceil_div(a.R, kBlock);
  add_blocks(a.workspace, 2 * a.D, blocks, a.D, a.dw);
  add_blocks(a.workspace + a.D, 2 * a.D, blocks, a.D, a.db);
}

template <class T>
int64_t cpu::workspace(const EmbeddingBwd<T>&) {
  return 0;
}

INSTANTIATE_CPU(Positions)
INSTANTIATE_CPU(PaddingMask)
INSTANTIATE_CPU(EmbeddingFwd)
INSTANTIATE_CPU(EmbeddingBwd)
INSTANTIATE_CPU_WORKSPACE(EmbeddingBwd)
INSTANTIATE_CPU(PixelFwd)
INSTANTIATE_CPU(PixelBwd)
INSTANTIATE_CPU_WORKSPACE(PixelBwd)

}  // namespace selene
