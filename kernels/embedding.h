// Look-ups at the bottom of a model: positions, token and position tables, real-valued pixels, padding masks.
#pragma once
#include "kernels/backend.h"

namespace selene {

/// fairseq make_positions: p[b, n] = pad + (1-based index among the tokens that are not padding), p = pad for
/// padding. With pad < 0 (no padding symbol) p[b, n] = n. T is float, unused.
template <class T>
struct Positions {
  const int32_t* tokens;  // [B, N]
  int32_t* positions;     // [B, N]
  int64_t B, N;
  int32_t pad;
};
/// mask[b, n] = n >= lengths[b], for rows padded on the right. T is float, unused.
template <class T>
struct PaddingMask {
  const int32_t* lengths;  // [B]
  uint8_t* mask;           // [B, N]
  int64_t B, N;
};
template <class T>
struct EmbeddingFwd {         // y[r] = scale * table[ids[r]] (+ add[ids2[r]])
  const int32_t *ids, *ids2;  // [R], [R] or null
  const T *table, *add;       // [V, D], [V2, D] or null: a second table, not scaled (positions)
  T* y;                       // [R, D]
  int64_t R, D;
  Acc<T> scale;
};
template <class T>
struct EmbeddingBwd {  // dtable[ids[r]] += scale * dy[r], in ascending r for every row of the table
  const int32_t* ids;  // [R]
  const T* dy;         // [R, D]
  Acc<T>* dtable;      // [V, D], added to
  int64_t R, D, V;
  int32_t pad;  // this id gets no gradient; -1: every id does
  Acc<T> scale;
  Acc<T>* workspace = nullptr;  // a device sorts the ids there
};
template <class T>
struct PixelFwd {       // y[r, d] = x[r] w[d] + b[d] (+ add[ids2[r], d]); fairseq RealNumberEmbedding
  const T *x, *w, *b;   // [R], [D], [D]
  const int32_t* ids2;  // [R] or null
  const T* add;         // [V2, D] or null
  T* y;                 // [R, D]
  int64_t R, D;
  Acc<T> scale;  // multiplies x w + b
};
template <class T>
struct PixelBwd {
  const T *x, *w, *dy;  // [R], [D], [R, D]
  T* dx;                // [R] or null, overwritten
  Acc<T>*dw, *db;       // [D], [D], added to
  int64_t R, D;
  Acc<T> scale;
  Acc<T>* workspace = nullptr;  // partial sums per fixed block of rows
};

DECLARE_OPERATION(Positions)
DECLARE_OPERATION(PaddingMask)
DECLARE_OPERATION(EmbeddingFwd)
DECLARE_OPERATION(EmbeddingBwd)
DECLARE_OPERATION(PixelFwd)
DECLARE_OPERATION(PixelBwd)

}  // namespace selene
