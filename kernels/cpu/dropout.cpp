// Dropout with the residual branch and the zeroed padding rows, one pass.
#include "kernels/dropout.h"

#include "kernels/cpu/row.h"

namespace selene {
namespace {

using namespace cpu;

/// y = x * factor (+ residual); bits null: factor is `scale` everywhere. zero: the row counts as padding.
template <class T>
SELENE_CLONES void drop_row(const T* x, const T* residual, const uint16_t* bits, uint32_t threshold, Acc<T> scale,
                            T* y, int64_t n) {
  using A = Acc<T>;
  if (bits != nullptr && residual != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i)
      y[i] = down<T>(up(x[i]) * dropout_factor(bits[i], threshold, scale) + up(residual[i]));
  } else if (bits != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = down<T>(up(x[i]) * dropout_factor(bits[i], threshold, scale));
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = down<T>(up(x[i]) * scale + (residual != nullptr ? up(residual[i]) : A(0)));
  }
}

}  // namespace

template <class T>
void cpu::run(Stream&, const Dropout<T>& a) {
  const bool drop = dropout_on(a.drop);
  const Acc<T> scale = drop ? dropout_scale(a.drop.threshold) : 1.0f;
  parallel_pieces(a.R, a.C, drop ? a.rows : a.R, [&](int64_t begin, int64_t n, int64_t b, int64_t e) {
    uint16_t scratch[kPiece + 16];
    const uint16_t* bits = drop ? dropout_row(a.drop, b, e, n, scratch) : nullptr;
    for (int64_t i = 0; i < n;) {  // to the end of the piece, or of the row where rows differ
      const int64_t row = (begin + i) / a.C, end = a.zero_row ? std::min(n, (row + 1) * a.C - begin) : n;
      const Acc<T> keep = a.zero_row != nullptr && a.zero_row[row] ? Acc<T>(0) : scale;
      drop_row(a.x + begin + i, a.residual ? a.residual + begin + i : nullptr, bits ? bits + i : nullptr,
               a.drop.threshold, keep, a.y + begin + i, end - i);
      i = end;
    }
  });
}

INSTANTIATE_CPU(Dropout)

}  // namespace selene
