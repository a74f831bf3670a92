// Backward pass of attention on tensor cores where one axis has at most 16 rows, as in Luna's pack and unpack (Ma
// et al. 2021, eq. 4 and 5): one pass over the long axis makes all gradients and delta, so that its rows are read
// once. A block keeps the short axis, its sums in registers, and walks over a chunk of the long one. Each 16 x 16
// scores are made twice, as the sums of either axis want them: products are cheap here, bytes are not. Few keys are
// all there, so delta is made of the scores and o is not read.
#pragma once
#include "kernels/cuda/attention/mma_backward.cuh"

namespace selene::cuda {

/// WalkKeys: the queries are few; else the keys are. Rows of queries come with those of d_o, few queries also with o.
template <int K, bool WalkKeys>
struct ShortShape {
  static constexpr int kRows = 16 * kMmaWarps, kTile = kRows * K;  // of the long axis, a warp has 16 of each tile
  static constexpr int kStage = 2 * kTile;                         // elements
  static constexpr int kOwn = 16 * K, kTiles = (2 * kStage + (WalkKeys ? 3 : 2) * kOwn) * 2;
  static_assert(kTiles >= write_tile_bytes<K, true>(), "the sums pass through the stages");
  // RowTerms' numbers: of the short axis [2][16], of each stage [2][rows].
  static constexpr int kSharedBytes = kTiles + (2 * 16 + 2 * 2 * kRows) * 4;
};

/// delta of 16 rows of the tiles d_o and o from `row` on: lanes 2 r and 2 r + 1 get that of row r.
template <class T, int K>
__device__ inline float delta_of_rows(const T* d_o, const T* o, int row) {
  const int lane = int(threadIdx.x) % 32;
  float sum = 0;
#pragma unroll
  for (int piece = lane % 2; piece < K / 8; piece += 2) {
    const int at = tile_at<K>(row + lane / 2, piece);
    const Pack<T, 8> x = load_pack<8>(d_o + at), y = load_pack<8>(o + at);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum = fmaf(up(x.v[j]), up(y.v[j]), sum);
  }
  return warp_sum<2>(sum);
}

/// delta of 16 queries, the columns of p, whose rows are all of their keys: sum_k P_ik D_ik dA_ik of docs/math.md
/// "Attention". p: P; d_p: dA. Visible to the whole warp.
__device__ inline void delta_of_columns(float* delta, const float (&p)[2][4], const float (&d_p)[2][4],
                                        const DropoutKey& key, const uint32_t (&kept)[2]) {
  const int lane = int(threadIdx.x) % 32;
  const float survivor = dropout_scale(key.threshold);
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int i = 0; i < 2; ++i) {  // accumulators i and i + 2 belong to one column
      float sum = p[n][i] * survival<true>(key, survivor, kept[n], i) * d_p[n][i];
      sum = fmaf(p[n][i + 2] * survival<true>(key, survivor, kept[n], i + 2), d_p[n][i + 2], sum);
#pragma unroll
      for (int o = 4; o < 32; o *= 2) sum += __shfl_xor_sync(kFullMask, sum, o);
      if (lane < 4) delta[8 * n + 2 * lane + i] = sum;
    }
  __syncwarp();
}

/// Both sides of a block's work, and where its walk begins and ends.
template <class T, int K, bool WalkKeys>
struct ShortWork {
  BackwardSide<T> own, walk;
  TileSource<T> o;  // of few queries
  const float* lse;
  const uint8_t* mask;
  int Nq, Nk, first, end, b, h;  // example and head

  __device__ ShortWork(const AttentionBwd<T>& a, const AttentionCut& cut, const AttentionBlock& x)
      : lse(a.lse + x.bh * a.Nq),
        mask(a.key_mask ? a.key_mask + x.b * a.Nk : nullptr),
        Nq(int(a.Nq)),
        Nk(int(a.Nk)),
        first(0),
        end(WalkKeys ? Nk : Nq),
        b(int(x.b)),
        h(int(x.h)) {
    const int64_t chunk = WalkKeys ? cut.k_chunk : cut.q_chunk;
    if ((WalkKeys ? cut.k_chunks : cut.q_chunks) > 1)
      first = int(x.chunk * chunk), end = min(end, first + int(chunk));
    own = WalkKeys ? query_side<T, K>(a, x, 0) : key_side<T, K>(a, x, 0);
    walk = WalkKeys ? key_side<T, K>(a, x, first) : query_side<T, K>(a, x, first);
    o = tile_source<K>(a.o + x.b * a.o_batch + x.h * a.K, a.o_row, 0);
  }
  /// What query or key n adds to the exponent; as RowTerms has it.
  __device__ float of_query(int n) const { return n < Nq ? lse[n] * kLog2e : INFINITY; }
  __device__ float of_key(int n) const { return key_bias(mask, n, Nk); }
  __device__ float own_exponent(int n) const { return WalkKeys ? of_query(n) : of_key(n); }
  __device__ float walk_exponent(int n) const { return WalkKeys ? of_key(n) : of_query(n); }
};

/// Terms [2][apart] of 16 rows; sums begin at 0.
template <int K, bool Keys>
__device__ inline void begin_rows(BackwardState<K, Keys>& state, const float* terms, int apart) {
  const int g = int(threadIdx.x) % 32 / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half)
    state.row[half] = {terms[g + 8 * half], Keys ? 0.0f : terms[apart + g + 8 * half]};
#pragma unroll
  for (int n = 0; n < K / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      state.d_x[n][i] = 0;
      if (Keys) state.d_y[n][i] = 0;
    }
}

/// s = x u^T and d_p = y w^T for 16 rows of the tiles x and y from `row` and of u and w from `at` on. No fragment
/// stays in registers, which the sums of both axes need.
template <class T, int K>
__device__ inline void tile_products(const T* x, const T* y, int row, const T* u, const T* w, int at,
                                     float (&s)[2][4], float (&d_p)[2][4]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) s[i / 4][i % 4] = d_p[i / 4][i % 4] = 0;
#pragma unroll
  for (int step = 0; step < K / 16; ++step) {
    uint32_t f[4], b[2][2];
    load_a<K>(f, x, row, step), load_b_rows<K>(b, u, at, step);
    mma_16816<T>(s[0], f, b[0]), mma_16816<T>(s[1], f, b[1]);
    load_a<K>(f, y, row, step), load_b_rows<K>(b, w, at, step);
    mma_16816<T>(d_p[0], f, b[0]), mma_16816<T>(d_p[1], f, b[1]);
  }
}

/// Sums become gradients. tied: of keys that are values, d_x is the gradient of both.
template <int K, bool Keys>
__device__ inline void finish_gradients(BackwardState<K, Keys>& state, float scale, bool tied) {
#pragma unroll
  for (int n = 0; n < K / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      state.d_x[n][i] *= scale;
      if (Keys && tied) state.d_x[n][i] += state.d_y[n][i];
    }
}

/// A warp's 16 rows of one tile of the long axis, from row n of the whole on: added to the sums of the short axis,
/// and their own gradients written.
template <class T, int K, bool WalkKeys>
__device__ inline void walk_rows(const AttentionBwd<T>& a, int b, int h, int n, int rows, T* tile, float* terms,
                                 const T* own, const float* own_terms, const DropoutKey& key,
                                 BackwardState<K, !WalkKeys>& sums) {
  using Shape = ShortShape<K, WalkKeys>;
  const int at = int(threadIdx.x) / 32 * 16;
  if (at >= rows) return;
  const T* y = WalkKeys && keys_are_values(a) ? tile : tile + Shape::kTile;
  const int q = WalkKeys ? 0 : n + at, k = WalkKeys ? n + at : 0;
  const T* own_y = own + Shape::kOwn;
  const int ahead = k - (q + int(a.Nk - a.Nq));
  float s[2][4], d_p[2][4];
  uint32_t kept[2] = {0, 0};
  if (key.on()) kept_words<!WalkKeys>(kept, key, q, k);
  tile_products<T, K>(own, own_y, 0, tile, y, at, s, d_p);
  if (a.causal) hide_future<!WalkKeys>(s, ahead);
  backward_probabilities<!WalkKeys>(s, sums.row, terms + at, a.scale * kLog2e);
  if (!WalkKeys) delta_of_columns(terms + Shape::kRows + at, s, d_p, key, kept);
  backward_scores<!WalkKeys>(s, d_p, sums.row, terms + Shape::kRows + at, key, kept);
  add_gradients<T, K, !WalkKeys>(sums, s, d_p, tile, y, at);
  if (key.on()) kept_words<WalkKeys>(kept, key, q, k);
  tile_products<T, K>(tile, y, at, own, own_y, 0, s, d_p);
  BackwardState<K, WalkKeys> state;
  begin_rows(state, terms + at, Shape::kRows);
  add_piece<T, K, WalkKeys>(a, ahead, s, d_p, own, own_y, 0, own_terms, 16, key, kept, state);
  const bool tied = a.dv == a.dk;
  finish_gradients(state, a.scale, tied);
  __syncwarp();  // the warp alone read its rows of the tile, and is done with them
  T* scratch = tile + at * K;
  const auto write = [&](const float(&sum)[K / 8][4], T* base, int64_t batch, int64_t stride) {
    write_rows<T, K>(sum, scratch, at, TileOutput<T>{base + b * batch + n * stride + h * K, stride, nullptr, rows});
  };
  if constexpr (WalkKeys) {
    write(state.d_x, a.dk, a.dk_batch, a.dk_row);
    if (!tied) write(state.d_y, a.dv, a.dv_batch, a.dv_row);
  } else {
    write(state.d_x, a.dq, a.dq_batch, a.dq_row);
  }
}

/// The terms of the short axis [2][16], where its tiles are there: [q, d_o, o] or [k, v].
template <class T, int K, bool WalkKeys>
__device__ inline void begin_short_axis(const ShortWork<T, K, WalkKeys>& work, const T* own, float* own_terms,
                                        BackwardState<K, !WalkKeys>& sums) {
  const int me = int(threadIdx.x), lane = me % 32;
  if (me < 16) own_terms[me] = work.own_exponent(me);
  if (WalkKeys && me / 32 == 1) {
    const float delta = delta_of_rows<T, K>(own + 16 * K, own + 2 * 16 * K, 0);
    if (lane % 2 == 0) own_terms[16 + lane / 2] = delta;
  }
  __syncthreads();
  begin_rows(sums, own_terms, 16);
}

/// The whole chunk of the long axis; the next tile is on its way while one is worked on.
template <class T, int K, bool WalkKeys>
__device__ inline void walk(const AttentionBwd<T>& a, ShortWork<T, K, WalkKeys>& work, T* tiles, float* terms,
                            BackwardState<K, !WalkKeys>& sums) {
  using Shape = ShortShape<K, WalkKeys>;
  constexpr int rows = Shape::kRows;
  T* own = tiles + 2 * Shape::kStage;
  float* own_terms = terms + 2 * 2 * rows;
  const int me = int(threadIdx.x);
  const DropoutKey key(a.drop, work.b * a.H + work.h);
  const bool one_tile = WalkKeys && keys_are_values(a);
  const auto fetch = [&](int n, int stage) {
    T* tile = tiles + stage * Shape::kStage;
    fetch_tile<K, rows>(tile, work.walk.x, work.walk.rows - n);
    if (!one_tile) fetch_tile<K, rows>(tile + Shape::kTile, work.walk.y, work.walk.rows - n);
    cp_async_commit();
    return me < rows ? work.walk_exponent(n + me) : 0.0f;
  };
  fetch_tile<K, 16>(own, work.own.x, work.own.rows);
  fetch_tile<K, 16>(own + 16 * K, work.own.y, work.own.rows);
  if (WalkKeys) fetch_tile<K, 16>(own + 2 * 16 * K, work.o, work.Nq);
  cp_async_commit();
  float next = fetch(work.first, 0);
  cp_async_wait<1>();
  __syncthreads();
  begin_short_axis<T, K, WalkKeys>(work, own, own_terms, sums);
  if (me < rows) terms[me] = next;
  int stage = 0;
  for (int n = work.first; n < work.end; n += rows, stage ^= 1) {
    cp_async_wait<0>();
    __syncthreads();
    const bool more = n + rows < work.end;
    if (more) next = fetch(n + rows, stage ^ 1);
    walk_rows<T, K, WalkKeys>(a, work.b, work.h, n, min(rows, work.end - n), tiles + stage * Shape::kStage,
                              terms + stage * 2 * rows, own, own_terms, key, sums);
    if (more && me < rows) terms[(stage ^ 1) * 2 * rows + me] = next;
  }
  __syncthreads();
}

/// Grid: heads x chunks of the long axis.
template <class T, int K, bool WalkKeys>
__global__ void __launch_bounds__(kMmaThreads, K == 16 ? 4 : 3) bwd_mma_short(AttentionBwd<T> a, AttentionCut cut) {
  using Shape = ShortShape<K, WalkKeys>;
  T* tiles = reinterpret_cast<T*>(dynamic_shared);
  const int64_t chunks = WalkKeys ? cut.k_chunks : cut.q_chunks;
  const AttentionBlock x = attention_block(blockIdx.x, a.H, 1, chunks);
  ShortWork<T, K, WalkKeys> work(a, cut, x);
  BackwardState<K, !WalkKeys> sums;
  walk<T, K, WalkKeys>(a, work, tiles, reinterpret_cast<float*>(dynamic_shared + Shape::kTiles), sums);
  const bool tied = a.dv == a.dk;
  finish_gradients(sums, a.scale, tied);
  const auto write = [&](const float(&sum)[K / 8][4], T* base, int64_t batch, int64_t stride, float* partial) {
    write_tile<T, K, true>(
        sum, tiles,
        TileOutput<T>{base + x.b * batch + x.h * K, stride, chunks > 1 ? partial : nullptr, min(16, work.own.rows)});
  };
  if constexpr (WalkKeys) {
    write(sums.d_x, a.dq, a.dq_batch, a.dq_row, attention_dq_partial(a, cut, x.bh, x.chunk));
  } else {
    write(sums.d_x, a.dk, a.dk_batch, a.dk_row, attention_dk_partial(a, cut, x.bh, x.chunk));
    if (!tied) write(sums.d_y, a.dv, a.dv_batch, a.dv_row, attention_dv_partial(a, cut, x.bh, x.chunk));
  }
}

/// For a.Nq or a.Nk of at most 16.
template <class T, int K>
void launch_short_backward(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  const int64_t heads = a.B * a.H;
  if (a.Nq <= 16)
    launch(s, bwd_mma_short<T, K, true>, heads * cut.k_chunks, kMmaThreads, ShortShape<K, true>::kSharedBytes, a,
           cut);
  else
    launch(s, bwd_mma_short<T, K, false>, heads * cut.q_chunks, kMmaThreads, ShortShape<K, false>::kSharedBytes, a,
           cut);
}

}  // namespace selene::cuda
