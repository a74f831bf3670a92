// Cross-entropy with label smoothing: a row in one read (a warp, or a block for a vocabulary), then one block adds
// the rows in a fixed order in double. Gradients: docs/math.md, "Cross-entropy". Device code cannot refuse a
// target that is no class: its row's loss, and the whole row of its gradient, are NaN.
#include "kernels/softmax.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/row_softmax.cuh"

namespace selene::cuda {
namespace {

// What a row leaves in the workspace: [R] one of these, then [R] the target's logit.
constexpr float kIgnored = 0, kWrong = 1, kRight = 2;

/// lse, row_loss, and the workspace.
template <class T, int Threads, int P>
__global__ __launch_bounds__(kRowThreads) void loss_rows(CrossEntropyFwd<T> a) {
  using Walk = RowWalk<T, Threads, P>;
  __shared__ float buffer[kRowThreads / 32];
  const int64_t r = Walk::row();
  if (r >= a.R) return;
  const T* x = a.logits + r * a.C;
  const int32_t target = a.target[r];
  const bool ignored = a.ignore != -1 && target == a.ignore, valid = target >= 0 && target < a.C;
  const float wanted = valid ? up(x[target]) : NAN;
  OnlineSum s;
  float total = 0, before = 0, v[P];  // before: 1 where an element before the target is as large
  for (int64_t c = Walk::first(); c < a.C; c += Walk::kSweep) {
    Walk::load(x + c, v);
    s.add(v);
    for (int j = 0; j < P; ++j) {
      total += v[j];
      if (v[j] == wanted && c + j < target) before = 1;
    }
  }
  s.template combine<Threads>(buffer);
  before = row_max<Threads>(before, buffer);
  if (a.eps > 0) total = row_sum<Threads>(total, buffer);
  if (threadIdx.x % Threads != 0) return;
  const float lse = s.largest + logf(s.sum), nll = lse - wanted;
  a.lse[r] = lse;
  a.row_loss[r] = ignored ? 0.0f : a.eps > 0 ? (1.0f - a.eps) * nll + a.eps * (lse - total / float(a.C)) : nll;
  a.workspace[r] = ignored ? kIgnored : wanted == s.largest && before == 0 ? kRight : kWrong;
  a.workspace[a.R + r] = wanted;
}

/// One block. Thread t adds rows t, t + 256, ...; then a tree.
template <class T>
__global__ __launch_bounds__(kRowThreads) void add_losses(CrossEntropyFwd<T> a) {
  __shared__ double part[4][kRowThreads];
  const int t = int(threadIdx.x);
  double loss = 0, nll = 0, count = 0, correct = 0;
#pragma unroll 4
  for (int64_t r = t; r < a.R; r += kRowThreads) {
    const float kind = a.workspace[r];
    if (kind == kIgnored) continue;
    loss += double(a.row_loss[r]), nll += double(a.lse[r]) - double(a.workspace[a.R + r]);
    count += 1, correct += kind == kRight ? 1 : 0;
  }
  part[0][t] = loss, part[1][t] = nll, part[2][t] = count, part[3][t] = correct;
  for (int width = kRowThreads / 2; width > 0; width /= 2) {
    __syncthreads();
    if (t < width)
      for (int i = 0; i < 4; ++i) part[i][t] += part[i][t + width];
  }
  if (t != 0) return;
  a.sums->loss += part[0][0], a.sums->nll += part[1][0];
  a.sums->count += part[2][0], a.sums->correct += part[3][0];
}

template <class T, int Threads, int P>
__global__ __launch_bounds__(kRowThreads) void loss_gradient_rows(CrossEntropyBwd<T> a) {
  using Walk = RowWalk<T, Threads, P>;
  const int64_t r = Walk::row();
  if (r >= a.R) return;
  const int32_t target = a.target[r];
  const bool ignored = a.ignore != -1 && target == a.ignore, valid = target >= 0 && target < a.C;
  const float scale = valid ? *a.dloss : NAN, lse = a.lse[r], even = a.eps / float(a.C), rest = 1.0f - a.eps;
  float v[P] = {};
  for (int64_t c = Walk::first(); c < a.C; c += Walk::kSweep) {
    if (!ignored) {
      Walk::load(a.logits + r * a.C + c, v);
      for (int j = 0; j < P; ++j) {
        const float others = expf(v[j] - lse) - even;
        v[j] = scale * (c + j == target ? others - rest : others);
      }
    }
    Walk::store(a.dlogits + r * a.C + c, v);
  }
}

}  // namespace

template <class T>
void run(Stream& s, const CrossEntropyFwd<T>& a) {
  if (a.R == 0) return;
  const bool aligned = aligned16(a.logits, a.C);
  const auto kernel = aligned ? ROW_KERNEL(loss_rows, T, a.C, kPack<T>) : ROW_KERNEL(loss_rows, T, a.C, 1);
  launch(s, kernel, row_blocks(a.R, a.C), kRowThreads, 0, a);
  launch(s, add_losses<T>, 1, kRowThreads, 0, a);
}
template <class T>
int64_t workspace(const CrossEntropyFwd<T>& a) {
  return 2 * a.R * int64_t(sizeof(float));
}
template <class T>
void run(Stream& s, const CrossEntropyBwd<T>& a) {
  const bool aligned = aligned16(a.logits, a.C) && aligned16(a.dlogits, a.C);
  const auto kernel =
      aligned ? ROW_KERNEL(loss_gradient_rows, T, a.C, kPack<T>) : ROW_KERNEL(loss_gradient_rows, T, a.C, 1);
  launch(s, kernel, row_blocks(a.R, a.C), kRowThreads, 0, a);
}

INSTANTIATE_DEVICE(CrossEntropyFwd)
INSTANTIATE_DEVICE_WORKSPACE(CrossEntropyFwd)
INSTANTIATE_DEVICE(CrossEntropyBwd)

}  // namespace selene::cuda
