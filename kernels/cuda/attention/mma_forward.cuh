// Forward pass of attention on tensor cores: Dao 2023, "FlashAttention-2", algorithm 1. Scores and probabilities
// stay in registers, as accumulators of one product and fragment A of the next; the softmax is online, in base 2.
#pragma once
#include "kernels/cuda/attention/fragments.cuh"

namespace selene::cuda {

/// Queries and keys of a block of four warps. A warp has MT times 16 queries and, of each tile of keys, KeysAWarp.
/// Split: all warps have the same 16 queries and other keys of each tile; else they share the keys.
template <int K, int MT, int KeysAWarp, bool Split>
struct ForwardShape {
  static constexpr int kQueries = Split ? 16 : 64 * MT, kKeys = Split ? kMmaWarps * KeysAWarp : KeysAWarp;
  static constexpr int kOwnSize = kQueries * K, kStage = 2 * kKeys * K;  // elements; a stage: one tile of K, one of V
  static constexpr int most(int a, int b) { return a > b ? a : b; }
  // Two stages; the queries pass through the second one before it is used, the result through both after the end.
  static constexpr int kTiles = most(2 * (kStage + most(kStage, kOwnSize)), write_tile_bytes<K, Split>() * MT);
  static constexpr int kSharedBytes = kTiles + (2 * kKeys + 2 * kMmaWarps * 16) * 4;
  // Blocks that a multiprocessor shall hold: sets the limit of registers.
  static constexpr int kBlocks = KeysAWarp == 16 ? (K > 64 || MT > 2 ? 3 : 4) : (K > 64 || MT > 1 ? 2 : 3);
};

/// What a lane has gathered for its rows g and g + 8 of each 16 queries. max: in units of log2.
template <int K, int MT>
struct ForwardState {
  float o[MT][K / 8][4], max[MT][2], sum[MT][2];

  __device__ void clear() {
#pragma unroll
    for (int m = 0; m < MT; ++m) {
      max[m][0] = max[m][1] = -INFINITY, sum[m][0] = sum[m][1] = 0;
#pragma unroll
      for (int n = 0; n < K / 8; ++n)
        for (int i = 0; i < 4; ++i) o[m][n][i] = 0;
    }
  }
};

/// s = q k^T for a warp's queries and the keys of a tile from `row` on.
template <class T, int K, int MT, int N>
__device__ inline void forward_scores(float (&s)[MT][N][4], const uint32_t (&q)[MT][K / 16][4], const T* k_tile,
                                      int row) {
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[m][n][i] = 0;
#pragma unroll
  for (int step = 0; step < K / 16; ++step)
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[2][2];
      load_b_rows<K>(b, k_tile, row + 8 * n, step);
#pragma unroll
      for (int m = 0; m < MT; ++m) {
        mma_16816<T>(s[m][n], q[m][step], b[0]);
        mma_16816<T>(s[m][n + 1], q[m][step], b[1]);
      }
    }
}

/// Adds the keys' biases [8 N] to the scores.
template <int MT, int N>
__device__ inline void add_bias(float (&s)[MT][N][4], const float* bias) {
  const int t = int(threadIdx.x) % 4;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const float2 x = *reinterpret_cast<const float2*>(bias + 8 * n + 2 * t);
#pragma unroll
    for (int m = 0; m < MT; ++m) s[m][n][0] += x.x, s[m][n][1] += x.y, s[m][n][2] += x.x, s[m][n][3] += x.y;
  }
}

/// Scores of the future become minus infinity: the query of row r sees columns 0 .. seen + r.
template <int MT, int N>
__device__ inline void hide_future(float (&s)[MT][N][4], int seen) {
  if (seen >= 8 * N - 1) return;
  const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const int last = seen + g - 2 * t;
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (8 * n + i % 2 > last + 16 * m + i / 2 * 8) s[m][n][i] = -INFINITY;
}

/// Scores become exp(scale s - max), the sums and what was gathered before follow the new maximum. A NaN among the
/// scores is no maximum but is in the sum.
template <int K, int MT, int N>
__device__ inline void online_softmax(float (&s)[MT][N][4], ForwardState<K, MT>& state, float scale) {
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = -INFINITY;
#pragma unroll
      for (int n = 0; n < N; ++n) top = fmaxf(top, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
      top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 1));
      top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 2));
      const float before = state.max[m][half], now = fmaxf(before, top * scale);
      const float origin = now == -INFINITY ? 0.0f : now;  // no key counted so far
      const float factor = exp2_fast(before - origin);
      float sum = 0;
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          s[m][n][i] = exp2_fast(fmaf(s[m][n][i], scale, -origin));
          sum += s[m][n][i];
        }
      state.max[m][half] = now, state.sum[m][half] = state.sum[m][half] * factor + sum;
#pragma unroll
      for (int n = 0; n < K / 8; ++n) state.o[m][n][2 * half] *= factor, state.o[m][n][2 * half + 1] *= factor;
    }
}

/// Dropped probabilities become 0. q, k: first query and key of the piece.
template <int MT, int N>
__device__ inline void drop_probabilities(float (&s)[MT][N][4], const DropoutKey& key, int q, int k) {
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t word[2];
      kept_words<false>(word, key, q + 16 * m, k + 8 * n);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (!(word[i / 4] >> kept_bit<false>(i % 4) & 1)) s[m][n + i / 4][i % 4] *= 0.0f;
    }
}

/// o += p v for the keys of a tile from `row` on.
template <class T, int K, int MT, int N>
__device__ inline void gather_values(float (&o)[MT][K / 8][4], const float (&p)[MT][N][4], const T* v_tile, int row) {
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    uint32_t f[MT][4];
#pragma unroll
    for (int m = 0; m < MT; ++m) pack_a<T>(f[m], p[m][n], p[m][n + 1]);
#pragma unroll
    for (int step = 0; step < K / 16; ++step) {
      uint32_t b[2][2];
      load_b_channels<K>(b, v_tile, row + 8 * n, step);
#pragma unroll
      for (int m = 0; m < MT; ++m) {
        mma_16816<T>(o[m][2 * step], f[m], b[0]);
        mma_16816<T>(o[m][2 * step + 1], f[m], b[1]);
      }
    }
  }
}

/// Split: gives all warps the common maximum and sum, and scales their shares of o to it. exchange: [2][4][16].
template <int K>
__device__ inline void join_warps(ForwardState<K, 1>& state, float* exchange) {
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4;
  float* sums = exchange + kMmaWarps * 16;
  for (int half = 0; half < 2; ++half)
    if (lane % 4 == 0) {
      exchange[warp * 16 + g + half * 8] = state.max[0][half];
      sums[warp * 16 + g + half * 8] = state.sum[0][half];
    }
  __syncthreads();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float max = -INFINITY, sum = 0;
    for (int w = 0; w < kMmaWarps; ++w) max = fmaxf(max, exchange[w * 16 + g + half * 8]);
    const float origin = max == -INFINITY ? 0.0f : max;
    for (int w = 0; w < kMmaWarps; ++w)
      sum += sums[w * 16 + g + half * 8] * exp2_fast(exchange[w * 16 + g + half * 8] - origin);
    const float factor = exp2_fast(state.max[0][half] - origin);
    state.max[0][half] = max, state.sum[0][half] = sum;
#pragma unroll
    for (int n = 0; n < K / 8; ++n) state.o[0][n][2 * half] *= factor, state.o[0][n][2 * half + 1] *= factor;
  }
}

/// Maximum and sum go to the partial sums, or o is divided by the sum and lse is written. first: query of row 0.
template <int K, int MT>
__device__ inline void finish_rows(ForwardState<K, MT>& state, const AttentionPartial& partial, float* lse,
                                   float keep, int first, int Nq, bool write) {
  const int lane = int(threadIdx.x) % 32, g = lane / 4;
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int n = first + 16 * m + g + half * 8;
      const float max = state.max[m][half] * kLn2, sum = state.sum[m][half];
      const bool mine = write && lane % 4 == 0 && n < Nq;
      if (mine && partial.o) partial.max[n] = max, partial.sum[n] = sum;
      if (mine && !partial.o) lse[n] = max + logf(sum);
      const float factor = partial.o ? 1.0f : keep / sum;
#pragma unroll
      for (int c = 0; c < K / 8; ++c) state.o[m][c][2 * half] *= factor, state.o[m][c][2 * half + 1] *= factor;
    }
}

/// What a block works on: queries from `first` on, keys [k_first, k_end). Row numbers fit an int.
template <class T, int K>
struct ForwardWork {
  TileSource<T> q, k, v;
  const uint8_t* mask;
  int Nq, Nk, first, k_first, k_end;

  __device__ ForwardWork(const AttentionFwd<T>& a, const AttentionCut& cut, const AttentionBlock& x, int queries)
      : Nq(int(a.Nq)), Nk(int(a.Nk)), first(int(x.tile) * queries), k_first(0), k_end(Nk) {
    if (cut.k_chunks > 1) k_first = int(x.chunk * cut.k_chunk), k_end = min(Nk, k_first + int(cut.k_chunk));
    if (a.causal) k_end = min(k_end, min(Nq, first + queries) + Nk - Nq);
    q = tile_source<K>(a.q + x.b * a.q_batch + x.h * a.K, a.q_row, first);
    k = tile_source<K>(a.k + x.b * a.k_batch + x.h * a.K, a.k_row, k_first);
    v = tile_source<K>(a.v + x.b * a.v_batch + x.h * a.K, a.v_row, k_first);
    mask = a.key_mask ? a.key_mask + x.b * a.Nk : nullptr;
  }
};

/// Fragments of a warp's queries out of their tile, which this waits for.
template <class T, int K, int MT>
__device__ inline void load_queries(uint32_t (&q)[MT][K / 16][4], const T* tile, int row) {
  cp_async_wait<0>();
  __syncthreads();
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int step = 0; step < K / 16; ++step) load_a<K>(q[m][step], tile, row + 16 * m, step);
}

/// All keys of the block's chunk, tile by tile; the next tile is on its way while one is worked on.
template <class T, int K, int MT, int KeysAWarp, bool Split>
__device__ inline void gather_keys(const AttentionFwd<T>& a, ForwardWork<T, K>& work, int64_t bh, T* tiles,
                                   float* bias, ForwardState<K, MT>& state) {
  using Shape = ForwardShape<K, MT, KeysAWarp, Split>;
  const int warp = int(threadIdx.x) / 32, row = Split ? warp * KeysAWarp : 0, query = Split ? 0 : warp * 16 * MT;
  const int first = work.first + query, me = int(threadIdx.x);
  const DropoutKey key(a.drop, bh);
  const bool one_tile = keys_are_values(a);
  const auto fetch = [&](int k, int stage) {
    T* tile = tiles + stage * Shape::kStage;
    fetch_tile<K, Shape::kKeys>(tile, work.k, work.Nk - k);
    if (!one_tile) fetch_tile<K, Shape::kKeys>(tile + Shape::kKeys * K, work.v, work.Nk - k);
    cp_async_commit();
    return me < Shape::kKeys ? key_bias(work.mask, k + me, work.Nk) : 0.0f;
  };
  uint32_t q[MT][K / 16][4];
  fetch_tile<K, Shape::kQueries>(tiles + Shape::kStage, work.q, work.Nq - work.first);
  float next_bias = fetch(work.k_first, 0);
  load_queries<T, K, MT>(q, tiles + Shape::kStage, query);
  if (me < Shape::kKeys) bias[me] = next_bias;
  int stage = 0;
  for (int k = work.k_first; k < work.k_end; k += Shape::kKeys, stage ^= 1) {
    cp_async_wait<0>();
    __syncthreads();
    const bool more = k + Shape::kKeys < work.k_end;
    if (more) next_bias = fetch(k + Shape::kKeys, stage ^ 1);
    const T* tile = tiles + stage * Shape::kStage;
    float s[MT][KeysAWarp / 8][4];
    forward_scores<T, K>(s, q, tile, row);
    if (a.key_mask || k + Shape::kKeys > work.Nk) add_bias(s, bias + stage * Shape::kKeys + row);
    if (a.causal) hide_future(s, first + (work.Nk - work.Nq) - (k + row));
    online_softmax(s, state, a.scale * kLog2e);
    if (key.on()) drop_probabilities(s, key, first, k + row);
    gather_values<T, K>(state.o, s, one_tile ? tile : tile + Shape::kKeys * K, row);
    if (more && me < Shape::kKeys) bias[(stage ^ 1) * Shape::kKeys + me] = next_bias;
  }
  __syncthreads();
}

/// Grid: heads x chunks of keys x tiles of queries.
template <class T, int K, int MT, int KeysAWarp, bool Split>
__global__ void __launch_bounds__(kMmaThreads, ForwardShape<K, MT, KeysAWarp, Split>::kBlocks)
    fwd_mma(AttentionFwd<T> a, AttentionCut cut) {
  using Shape = ForwardShape<K, MT, KeysAWarp, Split>;
  T* tiles = reinterpret_cast<T*>(dynamic_shared);
  float* bias = reinterpret_cast<float*>(dynamic_shared + Shape::kTiles);
  const int64_t query_tiles = ceil_div(a.Nq, Shape::kQueries);
  AttentionBlock x = attention_block(blockIdx.x, a.H, query_tiles, cut.k_chunks, a.Nk <= Shape::kKeys);
  if (a.causal) x.tile = query_tiles - 1 - x.tile;  // the most work first
  ForwardWork<T, K> work(a, cut, x, Shape::kQueries);
  ForwardState<K, MT> state;
  state.clear();
  gather_keys<T, K, MT, KeysAWarp, Split>(a, work, x.bh, tiles, bias, state);
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) state.sum[m][half] = warp_sum<4>(state.sum[m][half]);
  const int warp = int(threadIdx.x) / 32, warp_row = Split ? 0 : warp * 16 * MT;
  if constexpr (Split) join_warps(state, bias + 2 * Shape::kKeys);
  AttentionPartial sums{};
  if (cut.k_chunks > 1) sums = attention_partial(a, cut, x.bh, x.chunk);
  finish_rows(state, sums, a.lse + x.bh * a.Nq, dropout_scale(a.drop.threshold), work.first + warp_row, work.Nq,
              !Split || warp == 0);
  const TileOutput<T> out{a.o + x.b * a.o_batch + work.first * a.o_row + x.h * a.K, a.o_row,
                          sums.o ? sums.o + int64_t(work.first) * K : nullptr,
                          min(Shape::kQueries, work.Nq - work.first)};
  if constexpr (Split) {
    add_and_write_rows<T, K>(state.o[0], reinterpret_cast<float*>(tiles), out);
  } else {
#pragma unroll
    for (int m = 0; m < MT; ++m)
      write_rows<T, K>(state.o[m], tiles + (warp_row + 16 * m) * K, warp_row + 16 * m, out);
  }
}

template <class T, int K, int MT, int KeysAWarp, bool Split>
void launch_forward(Stream& s, const AttentionFwd<T>& a, const AttentionCut& cut) {
  using Shape = ForwardShape<K, MT, KeysAWarp, Split>;
  const int64_t blocks = a.B * a.H * cut.k_chunks * ceil_div(a.Nq, Shape::kQueries);
  launch(s, fwd_mma<T, K, MT, KeysAWarp, Split>, blocks, kMmaThreads, Shape::kSharedBytes, a, cut);
}

/// Small tiles where one axis is short, large ones where there are blocks enough.
template <class T, int K>
void choose_forward(Stream& s, const AttentionFwd<T>& a, const AttentionCut& cut) {
  constexpr int wide = K <= 64 ? 2 : 1;      // more would not fit the registers
  constexpr int tall = K < 64 ? 64 / K : 1;  // few keys are little work: a block reads 8 KiB of queries or more
  if (a.Nk <= 16) return launch_forward<T, K, tall, 16, false>(s, a, cut);
  if (a.Nq <= 16) return launch_forward<T, K, 1, 16, true>(s, a, cut);
  if (a.Nq > 64 && a.B * a.H * cut.k_chunks * ceil_div(a.Nq, 128) >= 256)
    return launch_forward<T, K, wide, 64, false>(s, a, cut);
  return launch_forward<T, K, 1, 64, false>(s, a, cut);
}

}  // namespace selene::cuda
