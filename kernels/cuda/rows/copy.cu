// Copies with any strides. On the host the axes are ordered by the stride of y and merged where both sides are
// dense; then whole 16-byte packs, a transpose through shared memory, or single elements.
#include "kernels/elementwise.h"

#include <utility>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/rows.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 32;

/// The same copy with fewer and longer axes: no axis of one element but in front, y's smallest stride last.
template <class T>
CopyStrided<T> simplify(const CopyStrided<T>& a) {
  CopyStrided<T> c = a;
  int axes[4], used = 0;
  for (int d = 0; d < 4; ++d) {
    if (a.n[d] == 1) continue;
    int i = used++;
    for (; i > 0 && a.y_stride[axes[i - 1]] < a.y_stride[d]; --i) axes[i] = axes[i - 1];
    axes[i] = d;
  }
  int to = 4;
  for (int i = used - 1; i >= 0; --i) {
    const int64_t n = a.n[axes[i]], x = a.x_stride[axes[i]], y = a.y_stride[axes[i]];
    if (to < 4 && x == c.x_stride[to] * c.n[to] && y == c.y_stride[to] * c.n[to]) {
      c.n[to] *= n;
    } else {
      --to;
      c.n[to] = n, c.x_stride[to] = x, c.y_stride[to] = y;
    }
  }
  while (to > 0) --to, c.n[to] = 1, c.x_stride[to] = 0, c.y_stride[to] = 0;
  return c;
}

struct Place {
  int64_t x, y;
};
/// Where element `i` of [n0, n1, n2, n3 / N] lies. I: 32 bits where they suffice, for faster divisions.
template <class I, class A>
__device__ inline Place place_of(const A& a, I i, I packs, int N) {
  const int64_t i3 = i % packs;
  i /= packs;
  const I i2 = i % I(a.n[2]);
  i /= I(a.n[2]);
  const int64_t i1 = i % I(a.n[1]), i0 = i / I(a.n[1]);
  return {i0 * a.x_stride[0] + i1 * a.x_stride[1] + i2 * a.x_stride[2] + i3 * N * a.x_stride[3],
          i0 * a.y_stride[0] + i1 * a.y_stride[1] + i2 * a.y_stride[2] + i3 * N * a.y_stride[3]};
}

/// A thread copies N neighbours of the last axis (N = 1: any strides), in the order of y.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) copy_packs(CopyStrided<T> a, int64_t all) {
  const int64_t i = blockIdx.x * int64_t(kThreads) + threadIdx.x, packs = a.n[3] / N;
  if (i >= all) return;
  const Place p = all <= 0xffffffffll ? place_of<uint32_t>(a, uint32_t(i), uint32_t(packs), N)
                                      : place_of<int64_t>(a, i, packs, N);
  Pack<T, N> x = load_pack<N>(a.x + p.x);
  if (a.accumulate) {
    const Pack<T, N> y = load_pack<N>(a.y + p.y);
    for (int j = 0; j < N; ++j) x.v[j] = down<T>(up(x.v[j]) + up(y.v[j]));
  }
  store_pack(a.y + p.y, x);
}

/// Grid: n0 x n1 x tile of axis 2 x tile of axis 3. x is dense along axis 2, y along axis 3.
template <class T>
__global__ void __launch_bounds__(kThreads) copy_transposed(CopyStrided<T> a) {
  __shared__ T tile[kTile][kTile + 1];
  const int64_t tiles2 = ceil_div(a.n[2], kTile), tiles3 = ceil_div(a.n[3], kTile);
  const int64_t block = blockIdx.x, i3 = block % tiles3 * kTile, i2 = block / tiles3 % tiles2 * kTile;
  const int64_t i1 = block / tiles3 / tiles2 % a.n[1], i0 = block / tiles3 / tiles2 / a.n[1];
  const T* x = a.x + i0 * a.x_stride[0] + i1 * a.x_stride[1] + i2 + i3 * a.x_stride[3];
  T* y = a.y + i0 * a.y_stride[0] + i1 * a.y_stride[1] + i2 * a.y_stride[2] + i3;
  const int lane = int(threadIdx.x) % kTile, warp = int(threadIdx.x) / kTile;
  for (int k = warp; k < kTile && i3 + k < a.n[3]; k += kThreads / kTile)
    if (i2 + lane < a.n[2]) tile[k][lane] = x[k * a.x_stride[3] + lane];
  __syncthreads();
  for (int k = warp; k < kTile && i2 + k < a.n[2]; k += kThreads / kTile) {
    if (i3 + lane >= a.n[3]) continue;
    T* to = y + k * a.y_stride[2] + lane;
    *to = a.accumulate ? down<T>(up(tile[lane][k]) + up(*to)) : tile[lane][k];
  }
}

/// True where packs of N elements are whole and aligned on both sides.
template <class T, int N>
bool packs_fit(const CopyStrided<T>& c) {
  bool fit = c.x_stride[3] == 1 && c.y_stride[3] == 1 && whole_packs<T>(c.n[3], {c.x, c.y});
  for (int d = 0; d < 3; ++d) fit = fit && c.x_stride[d] % N == 0 && c.y_stride[d] % N == 0;
  return fit;
}

/// Swaps the axis along which x is dense with axis 2; false where there is none of some length.
template <class T>
bool can_transpose(CopyStrided<T>& c) {
  if (c.y_stride[3] != 1 || c.x_stride[3] == 1 || c.n[3] < kTile / 2) return false;
  for (int d = 2; d >= 0; --d) {
    if (c.x_stride[d] != 1 || c.n[d] < kTile / 2) continue;
    std::swap(c.n[d], c.n[2]), std::swap(c.x_stride[d], c.x_stride[2]), std::swap(c.y_stride[d], c.y_stride[2]);
    return true;
  }
  return false;
}

}  // namespace

template <class T>
void run(Stream& s, const CopyStrided<T>& a) {
  constexpr int N = kPack<T>;
  CopyStrided<T> c = simplify(a);
  const int64_t all = c.n[0] * c.n[1] * c.n[2] * c.n[3];
  if (all == 0) return;
  if (packs_fit<T, N>(c)) return launch(s, copy_packs<T, N>, ceil_div(all / N, kThreads), kThreads, 0, c, all / N);
  if (can_transpose(c)) {
    const int64_t tiles = ceil_div(c.n[2], kTile) * ceil_div(c.n[3], kTile);
    return launch(s, copy_transposed<T>, c.n[0] * c.n[1] * tiles, kThreads, 0, c);
  }
  launch(s, copy_packs<T, 1>, ceil_div(all, kThreads), kThreads, 0, c, all);
}

INSTANTIATE_DEVICE(CopyStrided)

}  // namespace selene::cuda
