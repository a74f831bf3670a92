// The small change: sums, products, copies, pooling.
#pragma once
#include "kernels/backend.h"

namespace selene {

enum class Binary : int32_t { add, subtract, multiply };
template <class T>
struct Elementwise {  // y = alpha * (a op b); b null: y = alpha * a
  const T *a, *b;
  T* y;  // may be a or b
  int64_t n;
  Binary op;
  Acc<T> alpha;
};
/// Running sum along the middle axis of [outer, N, inner]; reverse: from the end, which is its gradient. For causal
/// linear attention (Katharopoulos et al. 2020, section 3.3), which no model has yet.
template <class T>
struct CumulativeSum {
  const T* x;
  T* y;  // may be x
  int64_t outer, N, inner;
  int32_t reverse;
  Acc<T>* workspace = nullptr;  // sums of chunks of a long axis
};
/// y[i0, i1, i2, i3] = x[i0, i1, i2, i3] (+ y) with any strides, 0 included in x (broadcast). Elements of y are
/// distinct.
template <class T>
struct CopyStrided {
  const T* x;
  T* y;
  int64_t n[4], x_stride[4], y_stride[4];
  int32_t accumulate;
};
/// y = x as another element type. T is the type of x.
template <class T>
struct Cast {
  const T* x;
  void* y;
  DType to;  // f32, bf16, f16, f64
  int64_t n;
};
template <class T>
struct Fill {
  T* y;
  int64_t n;
  Acc<T> value;
};
/// y[b, d] = (1 / count) sum over n < used of x[b, n, d]; used = rows given by `lengths[b]`, else by *length, else N;
/// count = used.
template <class T>
struct MeanPoolFwd {
  const T* x;              // [B, N, D]
  T* y;                    // [B, D]
  const int32_t* lengths;  // [B] or null: every example's own length
  const int32_t* length;   // one number or null: the batch's true longest row, min(that, N) rows are used
  int64_t B, N, D;
  Acc<T>* workspace = nullptr;  // sums of chunks of a long axis
};
template <class T>
struct MeanPoolBwd {
  const T* dy;  // [B, D]
  T* dx;        // [B, N, D], overwritten (0 for rows that were not used)
  const int32_t *lengths, *length;
  int64_t B, N, D;
};
DECLARE_OPERATION(Elementwise)
DECLARE_OPERATION(CumulativeSum)
DECLARE_OPERATION(CopyStrided)
DECLARE_OPERATION(Cast)
DECLARE_OPERATION(Fill)
DECLARE_OPERATION(MeanPoolFwd)
DECLARE_OPERATION(MeanPoolBwd)

}  // namespace selene
