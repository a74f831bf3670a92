// Attention on the device: which kernels run, and what they share: delta before the backward pass, and the second
// pass that adds the partial sums of a chunked loop (cut.h). Dao 2023, "FlashAttention-2"; the second pass as in
// "Flash-Decoding" (Dao et al. 2023).
#include "kernels/attention.h"

#include "kernels/cuda/attention/cudnn.h"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32, kMostChannels = int(kMostHeadSize);

// Several lanes share a row: a lane takes 16 bytes of every kRowLanes * 16, however they can be read.
constexpr int kRowLanes = 8;

template <class T>
__device__ Pack<T, kPack<T>> load_channels(const T* row, int64_t c, int64_t K, bool packs) {
  if (packs) return load_pack<kPack<T>>(row + c);
  Pack<T, kPack<T>> x;
  for (int j = 0; j < kPack<T>; ++j) x.v[j] = c + j < K ? row[c + j] : T{};
  return x;
}

template <class T>
__global__ void __launch_bounds__(kThreads) attention_delta_rows(AttentionBwd<T> a, float* delta, bool packs) {
  const int64_t i = (blockIdx.x * int64_t(kThreads) + threadIdx.x) / kRowLanes;  // heads of a row are neighbours
  const int64_t h = i % a.H, n = i / a.H % a.Nq, b = i / a.H / a.Nq;
  float sum = 0;
  if (b < a.B) {
    const int64_t at = b * a.o_batch + n * a.o_row + h * a.K;
    for (int64_t c = threadIdx.x % kRowLanes * kPack<T>; c < a.K; c += kRowLanes * kPack<T>) {
      const auto o = load_channels(a.o + at, c, a.K, packs), d_o = load_channels(a.d_o + at, c, a.K, packs);
      for (int j = 0; j < kPack<T>; ++j) sum = fmaf(up(o.v[j]), up(d_o.v[j]), sum);
    }
  }
  sum = warp_sum<kRowLanes>(sum);
  if (b < a.B && threadIdx.x % kRowLanes == 0) delta[(b * a.H + h) * a.Nq + n] = sum;
}

// Channels of a row in a warp: lane l has channels l, l + 32, ...
struct RowSums {
  float x[kMostChannels / 32] = {};
};

// Chunks whose partial sums a warp reads before it adds the first of them: of a thousand chunks, each would be a wait
// for memory.
constexpr int kAhead = 8;

// Rows 0 to kAhead - 1 of partial sums, `stride` apart; those from `rows` on, and channels from K on, are 0.
__device__ inline void load_rows(RowSums (&row)[kAhead], const float* from, int64_t stride, int64_t rows, int64_t K) {
  const int lane = int(threadIdx.x) % 32;
  from += lane;
#pragma unroll
  for (int r = 0; r < kAhead; ++r, from += stride)
#pragma unroll
    for (int i = 0; i < kMostChannels / 32; ++i) row[r].x[i] = r < rows && lane + 32 * i < K ? from[32 * i] : 0.0f;
}

// In thread t < kMostChannels: the sum of all warps' channel t, in their order.
template <int Warps>
__device__ inline float add_warps(const RowSums& row, float (*shared)[kMostChannels]) {  // shared: [Warps]
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, t = int(threadIdx.x);
  for (int i = 0; i < kMostChannels / 32; ++i) shared[warp][lane + 32 * i] = row.x[i];
  __syncthreads();
  if (t >= kMostChannels) return 0;
  float sum = shared[0][t];
  for (int w = 1; w < Warps; ++w) sum += shared[w][t];
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    attention_combine_rows(AttentionFwd<T> a, AttentionCut cut) {  // grid B H Nq
  __shared__ float shared[kWarps][kMostChannels], buffer[kWarps];
  const int64_t q = blockIdx.x % a.Nq, bh = blockIdx.x / a.Nq, b = bh / a.H, h = bh % a.H;
  const int warp = int(threadIdx.x) / 32, c = int(threadIdx.x);
  float most = -HUGE_VALF;
  for (int64_t g = threadIdx.x; g < cut.k_chunks; g += kThreads)
    most = max_or_nan(most, attention_partial(a, cut, bh, g).max[q]);
  most = block_max<kThreads>(most, buffer);
  const float origin = most == -HUGE_VALF ? 0.0f : most;
  float total = 0;
  RowSums o;
  for (int64_t g = warp; g < cut.k_chunks; g += kWarps * kAhead) {
    const AttentionPartial part = attention_partial(a, cut, bh, g);
    const int64_t rows = ceil_div(cut.k_chunks - g, kWarps);
    const int64_t mine = c % kAhead, at = mine * kWarps * a.Nq + q;  // every lane has the factor of one chunk
    const float max = mine < rows ? part.max[at] : -HUGE_VALF, sum = mine < rows ? part.sum[at] : 0.0f;
    RowSums row[kAhead];
    load_rows(row, part.o + q * a.K, kWarps * a.Nq * a.K, rows, a.K);
    const float factor = expf(max - origin);
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      const float f = __shfl_sync(kFullMask, factor, r);
      total += __shfl_sync(kFullMask, sum, r) * f;
      for (int i = 0; i < kMostChannels / 32; ++i) o.x[i] = fmaf(row[r].x[i], f, o.x[i]);
    }
  }
  total = block_sum<kThreads>(c % 32 == 0 ? total : 0.0f, buffer);
  const float y = add_warps<kWarps>(o, shared);
  if (c == 0) a.lse[blockIdx.x] = most + logf(total);
  if (c < a.K)
    a.o[b * a.o_batch + q * a.o_row + h * a.K + c] = down<T>(y * (dropout_scale(a.drop.threshold) / total));
}

// Rows of a gradient [B, n, H, K] out of partial sums [B H, chunks, n, K].
template <class T>
struct GradientRows {
  const float* from;
  T* to;
  int64_t chunks, n, H, K, batch, row;
};

constexpr int kSumWarps = 8;

// Each warp adds a run of neighbouring chunks.
template <class T>
__global__ void __launch_bounds__(32 * kSumWarps) attention_add_rows(GradientRows<T> a) {  // grid B H n
  __shared__ float shared[kSumWarps][kMostChannels];
  const int64_t n = blockIdx.x % a.n, bh = blockIdx.x / a.n, b = bh / a.H, h = bh % a.H, c = threadIdx.x;
  const float* from = a.from + (bh * a.chunks * a.n + n) * a.K;
  const int64_t run = ceil_div(a.chunks, kSumWarps), begin = c / 32 * run, end = min(begin + run, a.chunks);
  RowSums sum;
  for (int64_t g = begin; g < end; g += kAhead) {
    RowSums row[kAhead];
    load_rows(row, from + g * a.n * a.K, a.n * a.K, end - g, a.K);
#pragma unroll
    for (int r = 0; r < kAhead; ++r)
      for (int i = 0; i < kMostChannels / 32; ++i) sum.x[i] += row[r].x[i];
  }
  const float y = add_warps<kSumWarps>(sum, shared);
  if (c < a.K) a.to[b * a.batch + n * a.row + h * a.K + c] = down<T>(y);
}

template <class A>
void need_head_size(const A& a) {
  if (a.K < 1 || a.K > kMostChannels)
    throw Error("attention: head size " + std::to_string(a.K) + ", the CUDA kernels take 1 to " +
                std::to_string(kMostChannels));
}

// Whether the tensor cores may be used; float has no kernels that do.
template <class T>
bool with_mma(const Stream& s) {
  return sizeof(T) == 2 && s.capability >= 80 && s.attention != AttentionKernels::plain;
}
template <class T>
bool with_wmma(const Stream& s) {
  return dtype_of<T> == DType::f16 && s.capability >= 70 && s.attention != AttentionKernels::plain;
}

// Where an axis has a few rows, as Luna's have, our kernels are the faster ones. Both passes of an attention decide
// alike: cuDNN's backward pass looks at the same members.
constexpr int64_t kLongAxis = 64;
template <class A>
bool by_cudnn(const Stream& s, const A& a) {
  if (s.attention == AttentionKernels::automatic) return a.Nq > kLongAxis && a.Nk > kLongAxis && !cudnn_refuses(s, a);
  return s.attention == AttentionKernels::cudnn;
}

// The tensor cores were wanted and the kernels that use them have refused.
template <template <class> class Pass, class T>
void tell_refused(Stream& s, Operation operation, const Pass<T>& a) {
  const auto text = [](int64_t n) { return std::to_string(n); };
  const bool size = a.K == 16 || a.K == 32 || a.K == 64 || a.K == 128;
  count_fallback(s, operation, dtype_of<T>,
                 text(a.B) + "x" + text(a.H) + "x" + text(a.Nq) + "x" + text(a.Nk) + "x" + text(a.K),
                 size ? "rows do not start at multiples of 16 bytes"
                      : "head size " + text(a.K) + ", the tensor-core kernels take 16, 32, 64 and 128");
}

template <class T>
void forward_tiles(Stream& s, const AttentionFwd<T>& a, const AttentionCut& cut) {
  if constexpr (sizeof(T) == 2)
    if (with_mma<T>(s)) {
      if (mma_forward(s, a, cut)) return;
      tell_refused(s, Operation::AttentionFwd, a);
    }
  if constexpr (dtype_of<T> == DType::f16)
    if (with_wmma<T>(s)) return wmma_forward(s, a, cut);
  plain_forward(s, a, cut);
}
template <class T>
void backward_tiles(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  if constexpr (sizeof(T) == 2)
    if (with_mma<T>(s)) {
      if (mma_backward(s, a, cut)) return;
      tell_refused(s, Operation::AttentionBwd, a);
    }
  if constexpr (dtype_of<T> == DType::f16)
    if (with_wmma<T>(s)) return wmma_backward(s, a, cut);
  plain_backward(s, a, cut);
}

template <class T>
void add_partials(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  const auto add = [&](const float* from, T* to, int64_t chunks, int64_t n, int64_t batch, int64_t row) {
    launch(s, attention_add_rows<T>, a.B * a.H * n, 32 * kSumWarps, 0,
           GradientRows<T>{from, to, chunks, n, a.H, a.K, batch, row});
  };
  if (cut.k_chunks > 1) add(attention_dq_partial(a, cut, 0, 0), a.dq, cut.k_chunks, a.Nq, a.dq_batch, a.dq_row);
  if (cut.q_chunks == 1) return;
  add(attention_dk_partial(a, cut, 0, 0), a.dk, cut.q_chunks, a.Nk, a.dk_batch, a.dk_row);
  if (a.dv != a.dk) add(attention_dv_partial(a, cut, 0, 0), a.dv, cut.q_chunks, a.Nk, a.dv_batch, a.dv_row);
}

}  // namespace

template <class T>
void run(Stream& s, const AttentionFwd<T>& a) {
  need_head_size(a);
  if (by_cudnn(s, a)) return cudnn_forward(s, a);
  const AttentionCut cut = attention_cut(a);
  forward_tiles(s, a, cut);
  if (cut.k_chunks > 1) launch(s, attention_combine_rows<T>, a.B * a.H * a.Nq, kThreads, 0, a, cut);
}
template <class T>
int64_t workspace(const AttentionFwd<T>& a) {
  const AttentionCut cut = attention_cut(a);
  return cut.k_chunks > 1 ? a.B * a.H * cut.k_chunks * a.Nq * (a.K + 2) * int64_t(sizeof(float)) : 0;
}

template <class T>
void run(Stream& s, const AttentionBwd<T>& a) {
  need_head_size(a);
  if (by_cudnn(s, a)) return cudnn_backward(s, a);
  const AttentionCut cut = attention_cut(a);
  if constexpr (sizeof(T) == 2)
    if (with_mma<T>(s) && mma_short_backward(s, a, cut)) return add_partials(s, a, cut);
  const int64_t rows = a.B * a.H * a.Nq;
  const bool packs =
      a.K % kPack<T> == 0 && aligned16(a.o, a.o_batch) && aligned16(a.o, a.o_row) && aligned16(a.d_o, a.o_row);
  launch(s, attention_delta_rows<T>, ceil_div(rows * kRowLanes, kThreads), kThreads, 0, a, attention_delta(a, cut),
         packs);
  backward_tiles(s, a, cut);
  add_partials(s, a, cut);
}
template <class T>
int64_t workspace(const AttentionBwd<T>& a) {
  const AttentionCut cut = attention_cut(a);
  const int64_t queries = cut.k_chunks > 1 ? cut.k_chunks * a.Nq : 0,
                keys = cut.q_chunks > 1 ? cut.q_chunks * a.Nk : 0;
  return a.B * a.H * ((queries + 2 * keys) * a.K + a.Nq) * int64_t(sizeof(float));
}

INSTANTIATE_DEVICE(AttentionFwd)
INSTANTIATE_DEVICE_WORKSPACE(AttentionFwd)
INSTANTIATE_DEVICE(AttentionBwd)
INSTANTIATE_DEVICE_WORKSPACE(AttentionBwd)

}  // namespace selene::cuda
