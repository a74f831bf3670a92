// Real-valued pixels times one learned vector (fairseq RealNumberEmbedding), and its gradients: column sums of
// fixed blocks of rows, then the blocks in order.
#include "kernels/embedding.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/columns.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256;

/// Rows of one partial sum: 128, or more where that would give above 1024 partial sums.
SELENE_HD int64_t rows_per_sum(int64_t R) { return R > 128 * 1024 ? ceil_div(R, 1024) : 128; }

/// A group of lanes writes one row of y.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) pixel_rows(PixelFwd<T> a, int log2) {
  const Lanes at = split_block<kThreads>(log2);
  const int64_t r = blockIdx.x * int64_t(at.groups) + at.group;
  if (r >= a.R) return;
  const float x = up(a.x[r]);
  const T* add = a.add != nullptr ? a.add + a.ids2[r] * a.D : nullptr;
#pragma unroll 2
  for (int64_t c = at.lane * N; c < a.D; c += at.lanes * N) {
    const Pack<T, N> w = load_pack<N>(a.w + c), b = load_pack<N>(a.b + c);
    Pack<T, N> p = {}, y;
    if (add != nullptr) p = load_pack<N>(add + c);
    for (int i = 0; i < N; ++i) y.v[i] = down<T>(a.scale * (x * up(w.v[i]) + up(b.v[i])) + up(p.v[i]));
    store_pack(a.y + r * a.D + c, y);
  }
}

/// dx: a warp takes the inner product of one row of dy with w.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) pixel_dx(PixelBwd<T> a) {
  const Lanes at = split_block<kThreads>(5);
  const int64_t r = blockIdx.x * int64_t(at.groups) + at.group;
  if (r >= a.R) return;
  float dot = 0;
#pragma unroll 2
  for (int64_t c = at.lane * N; c < a.D; c += 32 * N) {
    const Pack<T, N> dy = load_pack<N>(a.dy + r * a.D + c), w = load_pack<N>(a.w + c);
    for (int i = 0; i < N; ++i) dot += a.scale * up(dy.v[i]) * up(w.v[i]);
  }
  dot = warp_sum(dot);
  if (at.lane == 0) a.dx[r] = down<T>(dot);
}

/// Grid: block of rows x tile of columns. Row `block` of the workspace [blocks, 2 D]: sums of dy x, then of dy.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) pixel_sums(PixelBwd<T> a, int64_t tiles, int log2) {
  __shared__ float buf[kThreads * N];
  const Lanes at = split_block<kThreads>(log2);
  const int64_t block = blockIdx.x / tiles, first = blockIdx.x % tiles * at.lanes * N, col = first + at.lane * N;
  const int64_t rows = rows_per_sum(a.R), end = min((block + 1) * rows, a.R);
  float dw[N] = {}, db[N] = {};
  if (col < a.D) {
#pragma unroll 4
    for (int64_t r = block * rows + at.group; r < end; r += at.groups) {
      const Pack<T, N> dy = load_pack<N>(a.dy + r * a.D + col);
      const float x = up(a.x[r]);
      for (int i = 0; i < N; ++i) {
        const float g = a.scale * up(dy.v[i]);
        dw[i] += g * x, db[i] += g;
      }
    }
  }
  const float w = sum_groups<N>(dw, at, buf), b = sum_groups<N>(db, at, buf);
  const int t = int(threadIdx.x);
  const int64_t c = first + t;
  if (t >= at.lanes * N || c >= a.D) return;
  float* sums = a.workspace + block * 2 * a.D;
  sums[c] = w, sums[a.D + c] = b;
}

template <class T, int N>
void launch_rows(Stream& s, const PixelFwd<T>& a) {
  const int log2 = lanes_log2(ceil_div(a.D, N));
  launch(s, pixel_rows<T, N>, ceil_div(a.R, kThreads >> log2), kThreads, 0, a, log2);
}
template <class T, int N>
void launch_gradients(Stream& s, const PixelBwd<T>& a) {
  const int log2 = lanes_log2(ceil_div(a.D, N));
  const int64_t tiles = ceil_div(a.D, N << log2);
  if (a.dx != nullptr) launch(s, pixel_dx<T, N>, ceil_div(a.R, kThreads / 32), kThreads, 0, a);
  launch(s, pixel_sums<T, N>, ceil_div(a.R, rows_per_sum(a.R)) * tiles, kThreads, 0, a, tiles, log2);
}

}  // namespace

template <class T>
void run(Stream& s, const PixelFwd<T>& a) {
  if (a.D == 0) return;
  if (whole_packs<T>(a.D, {a.w, a.b, a.add, a.y})) return launch_rows<T, kPack<T>>(s, a);
  launch_rows<T, 1>(s, a);
}
template <class T>
void run(Stream& s, const PixelBwd<T>& a) {
  if (a.R == 0) return;
  if (whole_packs<T>(a.D, {a.w, a.dy})) launch_gradients<T, kPack<T>>(s, a);
  else launch_gradients<T, 1>(s, a);
  add_block_sums(s, a.workspace, ceil_div(a.R, rows_per_sum(a.R)), 2 * a.D, {a.dw, a.db, a.D});
}
template <class T>
int64_t workspace(const PixelBwd<T>& a) {
  return ceil_div(a.R, rows_per_sum(a.R)) * 2 * a.D * int64_t(sizeof(float));
}

INSTANTIATE_DEVICE(PixelFwd)
INSTANTIATE_DEVICE(PixelBwd)
INSTANTIATE_DEVICE_WORKSPACE(PixelBwd)

}  // namespace selene::cuda
