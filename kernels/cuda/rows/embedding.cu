// Positions (fairseq make_positions), padding masks and table look-ups: a group of lanes copies a row, 16 bytes
// a lane where rows and pointers allow it.
#include "kernels/embedding.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/rows.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunk = 16384;  // tokens of one block
constexpr int64_t kMaskBytes = 16;

/// How many of tokens[0..n) are not padding; the same in every thread.
__device__ inline int32_t count_tokens(const int32_t* tokens, int64_t n, int32_t pad, int32_t* buf) {
  int32_t seen = 0;
  if (aligned16(tokens)) {
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < n / 4; i += kThreads) {
      const Pack<int32_t, 4> t = load_pack<4>(tokens + i * 4);
      for (int j = 0; j < 4; ++j) seen += t.v[j] != pad;
    }
  } else {
    for (int64_t i = threadIdx.x; i < n / 4 * 4; i += kThreads) seen += tokens[i] != pad;
  }
  if (threadIdx.x < n % 4) seen += tokens[n / 4 * 4 + threadIdx.x] != pad;
  int32_t total;
  block_running_sum<kThreads>(seen, buf, &total);
  return total;
}

/// Grid: example x chunk of tokens. A block counts what lies before its chunk by itself: integers are exact, the
/// tokens of a row are few bytes, and no block waits for another.
__global__ void number_tokens(Positions<float> a, int64_t chunks) {
  __shared__ int32_t buf[kThreads / 32];
  const int64_t b = blockIdx.x / chunks, first = blockIdx.x % chunks * kChunk, last = min(first + kChunk, a.N);
  const int32_t* tokens = a.tokens + b * a.N;
  int32_t* positions = a.positions + b * a.N;
  if (a.pad < 0) {
    for (int64_t n = first + threadIdx.x; n < last; n += kThreads) positions[n] = int32_t(n);
    return;
  }
  int32_t seen = count_tokens(tokens, first, a.pad, buf);
  for (int64_t n = first + threadIdx.x; n - threadIdx.x < last; n += kThreads) {
    const bool counts = n < last && tokens[n] != a.pad;
    int32_t total;
    const int32_t before = block_running_sum<kThreads>(counts, buf, &total);
    if (n < last) positions[n] = counts ? a.pad + seen + before + 1 : a.pad;
    seen += total;
  }
}

/// A thread writes 16 neighbouring elements of mask [B * N].
__global__ void mask_padding(PaddingMask<float> a) {
  const int64_t begin = (blockIdx.x * int64_t(kThreads) + threadIdx.x) * kMaskBytes, all = a.B * a.N;
  const int64_t end = min(begin + kMaskBytes, all);
  if (begin >= all) return;
  int64_t b = begin / a.N, n = begin % a.N;
  Pack<uint8_t, kMaskBytes> mask;
#pragma unroll
  for (int64_t i = 0; i < kMaskBytes; ++i) {
    mask.v[i] = begin + i < end && n >= a.lengths[b];
    if (++n == a.N) n = 0, ++b;
  }
  if (end - begin == kMaskBytes && aligned16(a.mask)) store_pack(a.mask + begin, mask);
  else
    for (int64_t i = begin; i < end; ++i) a.mask[i] = mask.v[i - begin];
}

/// A group of lanes writes one row of y; packs of N elements.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) look_up(EmbeddingFwd<T> a, int log2) {
  const Lanes at = split_block<kThreads>(log2);
  const int64_t r = blockIdx.x * int64_t(at.groups) + at.group;
  if (r >= a.R) return;
  const T *row = a.table + a.ids[r] * a.D, *add = a.add != nullptr ? a.add + a.ids2[r] * a.D : nullptr;
#pragma unroll 2
  for (int64_t c = at.lane * N; c < a.D; c += at.lanes * N) {
    const Pack<T, N> x = load_pack<N>(row + c);
    Pack<T, N> p = {}, y;
    if (add != nullptr) p = load_pack<N>(add + c);
    for (int i = 0; i < N; ++i)
      y.v[i] = down<T>(add != nullptr ? a.scale * up(x.v[i]) + up(p.v[i]) : a.scale * up(x.v[i]));
    store_pack(a.y + r * a.D + c, y);
  }
}

template <class T, int N>
void launch_look_up(Stream& s, const EmbeddingFwd<T>& a) {
  const int log2 = lanes_log2(ceil_div(a.D, N));
  launch(s, look_up<T, N>, ceil_div(a.R, kThreads >> log2), kThreads, 0, a, log2);
}

}  // namespace

template <class T>
void run(Stream& s, const Positions<T>& a) {
  const int64_t chunks = ceil_div(a.N, kChunk);
  launch(s, number_tokens, a.B * chunks, kThreads, 0, a, chunks);
}
template <class T>
void run(Stream& s, const PaddingMask<T>& a) {
  launch(s, mask_padding, ceil_div(a.B * a.N, kThreads * kMaskBytes), kThreads, 0, a);
}
template <class T>
void run(Stream& s, const EmbeddingFwd<T>& a) {
  if (a.D == 0) return;
  if (whole_packs<T>(a.D, {a.table, a.add, a.y})) return launch_look_up<T, kPack<T>>(s, a);
  launch_look_up<T, 1>(s, a);
}

INSTANTIATE_DEVICE_FLOAT(Positions)
INSTANTIATE_DEVICE_FLOAT(PaddingMask)
INSTANTIATE_DEVICE(EmbeddingFwd)

}  // namespace selene::cuda
