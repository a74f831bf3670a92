// Backward pass of attention on tensor cores, docs/math.md "Attention". One kernel in two forms, both without
// atomics: a block owns keys and loops over queries (d_k, d_v), or owns queries and loops over keys (d_q).
// Probabilities are recomputed from lse, 16 x 16 at a time, so that the registers belong to the sums.
#pragma once
#include "kernels/cuda/attention/fragments.cuh"

namespace selene::cuda {

constexpr int kMostShortChannels = 64;  // of a head that mma_short.cuh takes: more would not fit the registers

/// Rows that a block of four warps owns, 16 a warp, and rows of a tile of the other axis. Split: all warps own the
/// same 16 rows and take other pieces of each tile.
template <int K, bool Keys, bool Split>
struct BackwardShape {
  static constexpr int kOwn = Split ? 16 : 64, kOther = K > 64 && !Split ? 32 : 64;
  static constexpr int kOwnSize = kOwn * K, kStage = 2 * kOther * K;  // elements
  static constexpr int most(int a, int b) { return a > b ? a : b; }
  // Steps of 16 channels of which a warp keeps the fragments of y; the others don't fit the registers and are loaded
  // each time.
  static constexpr int kYSteps = Keys && K > 64 ? K / 32 : K / 16;
  // Two stages. The rows that are owned pass through the second one before it is used, but for a y that is needed
  // later; the result passes through both.
  static constexpr int kXAt = kStage, kYAt = kXAt + (kYSteps < K / 16 ? most(kStage, kOwnSize) : kOwnSize);
  static constexpr int kTiles = most(2 * most(2 * kStage, kYAt + kOwnSize), write_tile_bytes<K, Split>());
  static constexpr int kSharedBytes = kTiles + 2 * 2 * kOther * 4;
  // Blocks that a multiprocessor shall hold: sets the limit of registers.
  static constexpr int kBlocks = K > 64 ? 2 : Keys ? 3 : 4;
};

/// Rows of one head: of queries and d_o, or of keys and values.
template <class T>
struct BackwardSide {
  TileSource<T> x, y;
  int rows;
};
template <class T, int K>
__device__ inline BackwardSide<T> query_side(const AttentionBwd<T>& a, const AttentionBlock& x, int first) {
  return {tile_source<K>(a.q + x.b * a.q_batch + x.h * a.K, a.q_row, first),
          tile_source<K>(a.d_o + x.b * a.o_batch + x.h * a.K, a.o_row, first), int(a.Nq)};
}
template <class T, int K>
__device__ inline BackwardSide<T> key_side(const AttentionBwd<T>& a, const AttentionBlock& x, int first) {
  return {tile_source<K>(a.k + x.b * a.k_batch + x.h * a.K, a.k_row, first),
          tile_source<K>(a.v + x.b * a.v_batch + x.h * a.K, a.v_row, first), int(a.Nk)};
}

/// What a row adds to the scores' exponent and to their gradient. Of a query: lse in units of log2 and delta; a
/// query that doesn't exist has probability 0. Of a key: its bias.
struct RowTerm {
  float exponent, gradient;
};
struct RowTerms {
  const float *lse, *delta;  // [Nq], of the head
  const uint8_t* mask;       // [Nk] or null
  int Nq, Nk;

  __device__ RowTerm of_query(int q) const { return {q < Nq ? lse[q] * kLog2e : INFINITY, q < Nq ? delta[q] : 0.0f}; }
  __device__ RowTerm of_key(int k) const { return {key_bias(mask, k, Nk), 0.0f}; }
};

/// What a warp keeps of its 16 rows: fragments, row terms of a lane's rows g and g + 8, sums.
template <int K, bool Keys>
struct BackwardState {
  static constexpr int kYSteps = BackwardShape<K, Keys, false>::kYSteps;
  uint32_t x[K / 16][4], y[kYSteps][4];
  const void* y_rows;  // [16, K] in shared memory, for the other steps
  RowTerm row[2];
  float d_x[K / 8][4], d_y[Keys ? K / 8 : 1][4];
};

/// s = x u^T and d_p = y w^T for 16 rows of the tiles u and w from `at` on.
template <class T, int K, bool Keys>
__device__ inline void backward_products(const BackwardState<K, Keys>& state, const T* u, const T* w, int at,
                                         float (&s)[2][4], float (&d_p)[2][4]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) s[i / 4][i % 4] = d_p[i / 4][i % 4] = 0;
#pragma unroll
  for (int step = 0; step < K / 16; ++step) {
    uint32_t b[2][2];
    load_b_rows<K>(b, u, at, step);
    mma_16816<T>(s[0], state.x[step], b[0]), mma_16816<T>(s[1], state.x[step], b[1]);
    load_b_rows<K>(b, w, at, step);
    if (step < BackwardState<K, Keys>::kYSteps) {
      mma_16816<T>(d_p[0], state.y[step], b[0]), mma_16816<T>(d_p[1], state.y[step], b[1]);
    } else {
      uint32_t y[4];
      load_a<K>(y, static_cast<const T*>(state.y_rows), 0, step);
      mma_16816<T>(d_p[0], y, b[0]), mma_16816<T>(d_p[1], y, b[1]);
    }
  }
}

/// Scores of the future become minus infinity. ahead: number of the first key minus that of the last key that the
/// first query sees.
template <bool Keys>
__device__ inline void hide_future(float (&s)[2][4], int ahead) {
  if (ahead <= -16) return;
  const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = g + i / 2 * 8, column = 8 * n + 2 * t + i % 2;
      if (ahead + (Keys ? row - column : column - row) > 0) s[n][i] = -INFINITY;
    }
}

/// s becomes the probabilities. columns: RowTerms' exponents of the 16 columns.
template <bool Keys>
__device__ inline void backward_probabilities(float (&s)[2][4], const RowTerm (&row)[2], const float* columns,
                                              float scale) {
  const int t = int(threadIdx.x) % 4;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const float2 exponent = *reinterpret_cast<const float2*>(columns + 8 * n + 2 * t);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float column = i % 2 ? exponent.y : exponent.x, own = row[i / 2].exponent;
      const float bias = Keys ? own : column, lse = Keys ? column : own;
      s[n][i] = exp2_fast(fmaf(s[n][i] + bias, scale, -lse));
    }
  }
}

/// What dropout multiplies probability i of an n8 product by: `survivor` is dropout_scale, kept a word of kept_words.
template <bool Keys>
__device__ inline float survival(const DropoutKey& key, float survivor, uint32_t kept, int i) {
  float keep = 1;
  if (key.on()) keep = kept >> kept_bit<Keys>(i) & 1 ? survivor : 0.0f;
  return keep;
}

/// p becomes the probabilities after dropout, d_p the gradient of the scores. columns: (Keys) RowTerms' gradients of
/// the 16 columns.
template <bool Keys>
__device__ inline void backward_scores(float (&p)[2][4], float (&d_p)[2][4], const RowTerm (&row)[2],
                                       const float* columns, const DropoutKey& key, const uint32_t (&kept)[2]) {
  const int t = int(threadIdx.x) % 4;
  const float survivor = dropout_scale(key.threshold);
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    float2 gradient = make_float2(0, 0);
    if (Keys) gradient = *reinterpret_cast<const float2*>(columns + 8 * n + 2 * t);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float delta = Keys ? (i % 2 ? gradient.y : gradient.x) : row[i / 2].gradient;
      const float keep = survival<Keys>(key, survivor, kept[n], i), gain = fmaf(d_p[n][i], keep, -delta);
      d_p[n][i] = p[n][i] * gain, p[n][i] *= keep;
    }
  }
}

/// d_x += d_s u and (Keys) d_y += p w, over 16 rows of the tiles u and w.
template <class T, int K, bool Keys>
__device__ inline void add_gradients(BackwardState<K, Keys>& state, const float (&p)[2][4], const float (&d_s)[2][4],
                                     const T* u, const T* w, int at) {
  uint32_t f[4], d_f[4], b[2][2];
  pack_a<T>(d_f, d_s[0], d_s[1]);
  if (Keys) pack_a<T>(f, p[0], p[1]);
#pragma unroll
  for (int step = 0; step < K / 16; ++step) {
    load_b_channels<K>(b, u, at, step);
    mma_16816<T>(state.d_x[2 * step], d_f, b[0]), mma_16816<T>(state.d_x[2 * step + 1], d_f, b[1]);
    if constexpr (Keys) {
      load_b_channels<K>(b, w, at, step);
      mma_16816<T>(state.d_y[2 * step], f, b[0]), mma_16816<T>(state.d_y[2 * step + 1], f, b[1]);
    }
  }
}

/// What a block works on: rows of its own from `own_first` on, [first, end) of the other axis.
template <class T, int K, bool Keys>
struct BackwardWork {
  BackwardSide<T> own, other;
  RowTerms terms;
  int own_first, first, end;

  __device__ BackwardWork(const AttentionBwd<T>& a, const AttentionCut& cut, const AttentionBlock& x, int own_rows,
                          int tile)
      : own_first(int(x.tile) * own_rows), first(0), end(int(Keys ? a.Nq : a.Nk)) {
    const int64_t chunk = Keys ? cut.q_chunk : cut.k_chunk, chunks = Keys ? cut.q_chunks : cut.k_chunks;
    if (chunks > 1) first = int(x.chunk * chunk), end = min(end, first + int(chunk));
    const int past = int(a.Nk - a.Nq);
    if (a.causal && !Keys) end = min(end, min(int(a.Nq), own_first + own_rows) + past);
    if (a.causal && Keys && own_first - past > first) first += (own_first - past - first) / tile * tile;
    own = Keys ? key_side<T, K>(a, x, own_first) : query_side<T, K>(a, x, own_first);
    other = Keys ? query_side<T, K>(a, x, first) : key_side<T, K>(a, x, first);
    const uint8_t* mask = a.key_mask ? a.key_mask + x.b * a.Nk : nullptr;
    terms = {a.lse + x.bh * a.Nq, attention_delta(a, cut) + x.bh * a.Nq, mask, int(a.Nq), int(a.Nk)};
  }
  __device__ RowTerm own_term(int n) const { return Keys ? terms.of_key(n) : terms.of_query(n); }
  __device__ RowTerm other_term(int n) const { return Keys ? terms.of_query(n) : terms.of_key(n); }
};

/// Fragments and terms of a warp's own rows, 16 from `row` on, out of tiles that this waits for. Sums begin at 0.
template <class T, int K, bool Keys>
__device__ inline void load_own(BackwardState<K, Keys>& state, const BackwardWork<T, K, Keys>& work, const T* x,
                                const T* y, int row) {
  const int g = int(threadIdx.x) % 32 / 4;
  for (int half = 0; half < 2; ++half) state.row[half] = work.own_term(work.own_first + row + g + half * 8);
#pragma unroll
  for (int n = 0; n < K / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      state.d_x[n][i] = 0;
      if (Keys) state.d_y[n][i] = 0;
    }
  state.y_rows = y + row * K;
  cp_async_wait<0>();
  __syncthreads();
#pragma unroll
  for (int step = 0; step < K / 16; ++step) {
    load_a<K>(state.x[step], x, row, step);
    if (step < BackwardState<K, Keys>::kYSteps) load_a<K>(state.y[step], y, row, step);
  }
}

/// Products s and d_p of the warp's own rows and 16 rows of the tiles u and w from `at` on become gradients, which
/// are added to the sums. ahead: as for hide_future; columns: RowTerms' numbers of the 16 columns, exponents and
/// (Keys) gradients `apart` further on.
template <class T, int K, bool Keys>
__device__ inline void add_piece(const AttentionBwd<T>& a, int ahead, float (&s)[2][4], float (&d_p)[2][4],
                                 const T* u, const T* w, int at, const float* columns, int apart,
                                 const DropoutKey& key, const uint32_t (&kept)[2], BackwardState<K, Keys>& state) {
  if (a.causal) hide_future<Keys>(s, ahead);
  backward_probabilities<Keys>(s, state.row, columns, a.scale * kLog2e);
  backward_scores<Keys>(s, d_p, state.row, columns + apart, key, kept);
  add_gradients<T, K, Keys>(state, s, d_p, u, w, at);
}

/// One tile of the other axis, 16 rows at a time. n: number of its first row; own: of the warp's first row.
template <class T, int K, bool Keys, bool Split>
__device__ inline void gather_tile(const AttentionBwd<T>& a, int own, int n, int end, const T* u, const T* w,
                                   const float* columns, const DropoutKey& key, BackwardState<K, Keys>& state) {
  constexpr int other = BackwardShape<K, Keys, Split>::kOther;
  const int rows = min(other, end - n), past = int(a.Nk - a.Nq);
#pragma unroll 1
  for (int at = Split ? int(threadIdx.x) / 32 * 16 : 0; at < rows; at += Split ? 16 * kMmaWarps : 16) {
    const int q = Keys ? n + at : own, k = Keys ? own : n + at;
    float s[2][4], d_p[2][4];
    uint32_t kept[2] = {0, 0};
    if (key.on()) kept_words<Keys>(kept, key, q, k);
    backward_products<T, K, Keys>(state, u, w, at, s, d_p);
    add_piece<T, K, Keys>(a, k - (q + past), s, d_p, u, w, at, columns + at, other, key, kept, state);
  }
}

/// All tiles of the block's part of the other axis; the next tile is on its way while one is worked on.
template <class T, int K, bool Keys, bool Split>
__device__ inline void gather_gradients(const AttentionBwd<T>& a, BackwardWork<T, K, Keys>& work, int64_t bh,
                                        T* tiles, float* columns, BackwardState<K, Keys>& state) {
  using Shape = BackwardShape<K, Keys, Split>;
  constexpr int other = Shape::kOther, own = Shape::kOwn;
  const int row = Split ? 0 : int(threadIdx.x) / 32 * 16, me = int(threadIdx.x);
  const DropoutKey key(a.drop, bh);
  const bool one_tile = !Keys && keys_are_values(a);
  const auto fetch = [&](int n, int stage) {
    T* tile = tiles + stage * Shape::kStage;
    fetch_tile<K, other>(tile, work.other.x, work.other.rows - n);
    if (!one_tile) fetch_tile<K, other>(tile + other * K, work.other.y, work.other.rows - n);
    cp_async_commit();
    return me < other ? work.other_term(n + me) : RowTerm{0, 0};
  };
  const auto keep_term = [&](const RowTerm& term, int stage) {
    if (me >= other) return;
    columns[stage * 2 * other + me] = term.exponent;
    if (Keys) columns[stage * 2 * other + other + me] = term.gradient;
  };
  T *x = tiles + Shape::kXAt, *y = tiles + Shape::kYAt;
  fetch_tile<K, own>(x, work.own.x, work.own.rows - work.own_first);
  fetch_tile<K, own>(y, work.own.y, work.own.rows - work.own_first);
  RowTerm next = fetch(work.first, 0);
  load_own<T, K, Keys>(state, work, x, y, row);
  keep_term(next, 0);
  int stage = 0;
  for (int n = work.first; n < work.end; n += other, stage ^= 1) {
    cp_async_wait<0>();
    __syncthreads();
    const bool more = n + other < work.end;
    if (more) next = fetch(n + other, stage ^ 1);
    const T* tile = tiles + stage * Shape::kStage;
    gather_tile<T, K, Keys, Split>(a, work.own_first + row, n, work.end, tile, one_tile ? tile : tile + other * K,
                                   columns + stage * 2 * other, key, state);
    if (more) keep_term(next, stage ^ 1);
  }
  __syncthreads();
}

/// Grid: heads x chunks of the other axis x tiles of the axis that is owned.
template <class T, int K, bool Keys, bool Split>
__global__ void __launch_bounds__(kMmaThreads, BackwardShape<K, Keys, Split>::kBlocks)
    bwd_mma(AttentionBwd<T> a, AttentionCut cut) {
  using Shape = BackwardShape<K, Keys, Split>;
  T* tiles = reinterpret_cast<T*>(dynamic_shared);
  float* columns = reinterpret_cast<float*>(dynamic_shared + Shape::kTiles);
  const int64_t own_tiles = ceil_div(Keys ? a.Nk : a.Nq, Shape::kOwn);
  AttentionBlock x = attention_block(blockIdx.x, a.H, own_tiles, Keys ? cut.q_chunks : cut.k_chunks);
  if (a.causal && !Keys) x.tile = own_tiles - 1 - x.tile;  // the most work first
  BackwardWork<T, K, Keys> work(a, cut, x, Shape::kOwn, Shape::kOther);
  BackwardState<K, Keys> state;
  gather_gradients<T, K, Keys, Split>(a, work, x.bh, tiles, columns, state);
  const bool tied = a.dv == a.dk, partial = (Keys ? cut.q_chunks : cut.k_chunks) > 1;
#pragma unroll
  for (int n = 0; n < K / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      state.d_x[n][i] *= a.scale;
      if (Keys && tied) state.d_x[n][i] += state.d_y[n][i];
    }
  const int rows = min(Shape::kOwn, work.own.rows - work.own_first);
  const int64_t at = int64_t(work.own_first) * K;
  const auto output = [&](T* base, int64_t batch, int64_t stride, float* sums) {
    return TileOutput<T>{base + x.b * batch + work.own_first * stride + x.h * a.K, stride,
                         partial ? sums + at : nullptr, rows};
  };
  if constexpr (Keys) {
    float *d_k = attention_dk_partial(a, cut, x.bh, x.chunk), *d_v = attention_dv_partial(a, cut, x.bh, x.chunk);
    write_tile<T, K, Split>(state.d_x, tiles, output(a.dk, a.dk_batch, a.dk_row, d_k));
    if (!tied) write_tile<T, K, Split>(state.d_y, tiles, output(a.dv, a.dv_batch, a.dv_row, d_v));
  } else {
    float* d_q = attention_dq_partial(a, cut, x.bh, x.chunk);
    write_tile<T, K, Split>(state.d_x, tiles, output(a.dq, a.dq_batch, a.dq_row, d_q));
  }
}

template <class T, int K, bool Keys, bool Split>
void launch_backward(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  using Shape = BackwardShape<K, Keys, Split>;
  const int64_t tiles = ceil_div(Keys ? a.Nk : a.Nq, Shape::kOwn);
  launch(s, bwd_mma<T, K, Keys, Split>, a.B * a.H * (Keys ? cut.q_chunks : cut.k_chunks) * tiles, kMmaThreads,
         Shape::kSharedBytes, a, cut);
}

/// Small tiles where one axis is short. Heads of at most kMostShortChannels have kernels of their own for that
/// (mma_short.cuh).
template <class T, int K>
void choose_backward(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  if constexpr (K > kMostShortChannels) {
    if (a.Nk <= 16) launch_backward<T, K, true, true>(s, a, cut);
    else launch_backward<T, K, true, false>(s, a, cut);
    if (a.Nq <= 16) launch_backward<T, K, false, true>(s, a, cut);
    else launch_backward<T, K, false, false>(s, a, cut);
  } else {
    launch_backward<T, K, true, false>(s, a, cut);
    launch_backward<T, K, false, false>(s, a, cut);
  }
}

}  // namespace selene::cuda
