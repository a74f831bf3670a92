// Row softmax and log-softmax with key mask, and their gradients: a warp for a short row, a block for a long one.
// One read finds maximum and sum, a second one writes. Gradients: docs/math.md, "Softmax".
#include "kernels/softmax.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/row_softmax.cuh"

namespace selene::cuda {
namespace {

/// P columns of x from c on, with -inf where a mask hides one.
template <class T, int Threads, int P>
__device__ void load_masked(const T* x, const uint8_t* mask, int64_t c, int64_t visible, float* v) {
  RowWalk<T, Threads, P>::load(x + c, v);
  for (int j = 0; j < P; ++j)
    if (c + j >= visible || (mask != nullptr && mask[c + j] != 0)) v[j] = -INFINITY;
}

template <class T, int Threads, int P>
__global__ __launch_bounds__(kRowThreads) void softmax_rows(SoftmaxFwd<T> a) {
  using Walk = RowWalk<T, Threads, P>;
  __shared__ float buffer[kRowThreads / 32];
  const int64_t r = Walk::row();
  if (r >= a.R) return;
  const int64_t visible = a.causal ? min(a.C, r % a.rows_causal + 1) : a.C;
  const uint8_t* mask = a.mask != nullptr && !a.log ? a.mask + r / a.rows * a.C : nullptr;
  const T* x = a.x + r * a.C;
  float v[P];
  OnlineSum s;
  for (int64_t c = Walk::first(); c < visible; c += Walk::kSweep) {
    load_masked<T, Threads, P>(x, mask, c, visible, v);
    s.add(v);
  }
  s.template combine<Threads>(buffer);
  const float log_sum = logf(s.sum), scale = 1.0f / s.sum, hidden = a.log ? -INFINITY : 0.0f;
  for (int64_t c = Walk::first(); c < a.C; c += Walk::kSweep) {
    load_masked<T, Threads, P>(x, mask, c, visible, v);
    for (int j = 0; j < P; ++j) {
      const float shifted = v[j] - s.largest, y = a.log ? shifted - log_sum : expf(shifted) * scale;
      v[j] = c + j < visible ? y : hidden;
    }
    Walk::store(a.y + r * a.C + c, v);
  }
}

template <class T, int Threads, int P>
__global__ __launch_bounds__(kRowThreads) void softmax_gradient_rows(SoftmaxBwd<T> a) {
  using Walk = RowWalk<T, Threads, P>;
  __shared__ float buffer[kRowThreads / 32];
  const int64_t r = Walk::row();
  if (r >= a.R) return;
  const T *y = a.y + r * a.C, *dy = a.dy + r * a.C;
  float v[P], d[P], sum = 0;
  for (int64_t c = Walk::first(); c < a.C; c += Walk::kSweep) {
    Walk::load(y + c, v), Walk::load(dy + c, d);
    for (int j = 0; j < P; ++j) sum += a.log ? d[j] : d[j] * v[j];
  }
  sum = row_sum<Threads>(sum, buffer);
  for (int64_t c = Walk::first(); c < a.C; c += Walk::kSweep) {
    Walk::load(y + c, v), Walk::load(dy + c, d);
    for (int j = 0; j < P; ++j) v[j] = a.log ? d[j] - expf(v[j]) * sum : v[j] * (d[j] - sum);
    Walk::store(a.dx + r * a.C + c, v);
  }
}

}  // namespace

template <class T>
void run(Stream& s, const SoftmaxFwd<T>& a) {
  const bool aligned = aligned16(a.x, a.C) && aligned16(a.y, a.C);
  const auto kernel = aligned ? ROW_KERNEL(softmax_rows, T, a.C, kPack<T>) : ROW_KERNEL(softmax_rows, T, a.C, 1);
  launch(s, kernel, row_blocks(a.R, a.C), kRowThreads, 0, a);
}
template <class T>
void run(Stream& s, const SoftmaxBwd<T>& a) {
  const bool aligned = aligned16(a.y, a.C) && aligned16(a.dy, a.C) && aligned16(a.dx, a.C);
  const auto kernel =
      aligned ? ROW_KERNEL(softmax_gradient_rows, T, a.C, kPack<T>) : ROW_KERNEL(softmax_gradient_rows, T, a.C, 1);
  launch(s, kernel, row_blocks(a.R, a.C), kRowThreads, 0, a);
}

INSTANTIATE_DEVICE(SoftmaxFwd)
INSTANTIATE_DEVICE(SoftmaxBwd)

}  // namespace selene::cuda
