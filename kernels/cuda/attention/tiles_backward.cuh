// General attention kernel, backward (docs/math.md, "Attention"): a block owns Own queries of a head and walks
// over a chunk of its keys (d_q), or owns Own keys and walks over a chunk of queries (d_k, d_v). Scores are
// made again; no atomics. Dao 2023, "FlashAttention-2", algorithm 2.
#pragma once
#include "kernels/cuda/attention/tiles.cuh"

namespace selene::cuda {

/// Where the tiles of a backward block lie in shared memory.
template <class Tiles, int Own, int Loop, int KP>
struct BackwardMemory {
  using E = typename Tiles::Element;
  static constexpr bool kOwnP = sizeof(E) != sizeof(float);  // else the factors of the products overwrite the scores
  static constexpr int kOwn = Own * (KP + Tiles::kPad), kLoop = Loop * (KP + Tiles::kPad);
  static constexpr int kScores = Own * (Loop + kSumPad), kP = Own * (Loop + Tiles::kPad);
  static constexpr int kMost = Own > Loop ? Own : Loop;
  static constexpr int64_t kBytes =
      2 * (kOwn + kLoop + (kOwnP ? kP : 0)) * sizeof(E) + (2 * kScores + 3 * kMost) * sizeof(float);
  // Blocks that a multiprocessor shall hold: sets the limit of registers.
  static constexpr int kBlocks = kBytes > 48 * 1024 ? 2 : 3;
  static_assert(2 * kOwn * sizeof(E) >= Own * (KP + kSumPad) * sizeof(float), "sums fit where the owned rows were");

  E *own[2], *loop[2];        // q and d_o, k and v, or the other way round: [Own, KP], [Loop, KP]
  float *scores, *d_p;        // [Own, Loop]
  E *p, *d_s;                 // [Own, Loop]
  float *lse, *delta, *bias;  // of queries, of keys
  __device__ BackwardMemory() {
    own[0] = reinterpret_cast<E*>(dynamic_shared), own[1] = own[0] + kOwn;
    loop[0] = own[1] + kOwn, loop[1] = loop[0] + kLoop;
    scores = reinterpret_cast<float*>(loop[1] + kLoop), d_p = scores + kScores;
    float* end = d_p + kScores;
    if constexpr (kOwnP) p = reinterpret_cast<E*>(end), d_s = p + kP, end = reinterpret_cast<float*>(d_s + kP);
    else p = scores, d_s = d_p;
    lse = end, delta = lse + kMost, bias = delta + kMost;
  }
  __device__ float* sums() const { return reinterpret_cast<float*>(own[0]); }  // [Own, KP], when the loop is over
};

/// lse and delta of QT queries from q on. Beyond the last: probabilities 0.
template <int QT, class T>
__device__ void load_queries(const AttentionBwd<T>& a, const float* delta, int64_t bh, int64_t q, int64_t end,
                             float* lse, float* to) {
  for (int i = int(threadIdx.x); i < QT; i += kTileThreads) {
    const bool exists = q + i < end;
    lse[i] = exists ? a.lse[bh * a.Nq + q + i] : -kNoKey;
    to[i] = exists ? delta[bh * a.Nq + q + i] : 0.0f;
  }
}

/// Scores and d_o v^T of QT queries and KT keys become D P and d_s. Keys: a row is a key, else a query.
template <class Tiles, int QT, int KT, bool Keys, class M, class A>
__device__ void gradient_tile(const A& a, uint64_t bh, int64_t q, int64_t k, const M& m) {
  using E = typename Tiles::Element;
  constexpr int columns = Keys ? QT : KT;
  const float survivor = dropout_scale(a.drop.threshold);
  for (int item = int(threadIdx.x); item < QT * KT / 8; item += kTileThreads) {
    const int query = Keys ? item % QT : item / (KT / 8), key = (Keys ? item / QT : item % (KT / 8)) * 8;
    const int64_t sight = a.causal ? q + query + (a.Nk - a.Nq) - k : KT;  // last visible key of the tile
    const float lse = m.lse[query], delta = m.delta[query];
    Philox bits{};
    if (a.drop.threshold < 65536)
      bits = dropout_bits(a.drop, dropout_attention_block(bh, uint64_t(q + query), uint64_t(k + key)));
    for (int j = 0; j < 8; ++j) {
      const int row = Keys ? key + j : query, column = Keys ? query : key + j;
      const int from = row * (columns + kSumPad) + column, to = row * (columns + Tiles::kPad) + column;
      const float s = key + j > sight ? kNoKey : fmaf(m.scores[from], a.scale, m.bias[key + j]);
      const float e = expf(s - lse), keep = dropout_keeps(bits, j, a.drop.threshold) ? survivor : 0.0f;
      const float d_s = e * a.scale * fmaf(m.d_p[from], keep, -delta);
      m.p[to] = down<E>(e * keep), m.d_s[to] = down<E>(d_s);
    }
  }
}

template <class Tiles, int QT, int KT, int KP, class T>
__global__ void __launch_bounds__(kTileThreads, BackwardMemory<Tiles, QT, KT, KP>::kBlocks)
    attention_backward_queries(AttentionBwd<T> a, AttentionCut cut, bool packs) {  // grid B H chunks tiles
  const BackwardMemory<Tiles, QT, KT, KP> m;
  const AttentionBlock x = attention_block(blockIdx.x, a.H, ceil_div(a.Nq, QT), cut.k_chunks);
  const int64_t q = x.tile * QT, rows = min(int64_t(QT), a.Nq - q), k_first = x.chunk * cut.k_chunk;
  const uint8_t* mask = a.key_mask ? a.key_mask + x.b * a.Nk : nullptr;
  const T *keys = a.k + x.b * a.k_batch + x.h * a.K, *v = a.v + x.b * a.v_batch + x.h * a.K;
  const int64_t head = x.h * a.K, o_first = x.b * a.o_batch + q * a.o_row + head;
  const int K = int(a.K);
  int64_t end = min(a.Nk, k_first + cut.k_chunk);
  if (a.causal) end = min(end, q + rows + (a.Nk - a.Nq));
  load_tile<Tiles, QT, KP>(a.q + x.b * a.q_batch + q * a.q_row + head, a.q_row, rows, K, packs, m.own[0]);
  load_tile<Tiles, QT, KP>(a.d_o + o_first, a.o_row, rows, K, packs, m.own[1]);
  load_queries<QT>(a, attention_delta(a, cut), x.bh, q, a.Nq, m.lse, m.delta);
  typename Tiles::template Sums<QT, KP> d_q;
  d_q.clear();
  for (int64_t k = k_first; k < end; k += KT) {
    if (!any_key_counts<KT>(mask, k, end)) continue;
    __syncthreads();  // the tiles of the step before are free
    load_tile<Tiles, KT, KP>(keys + k * a.k_row, a.k_row, end - k, K, packs, m.loop[0]);
    load_tile<Tiles, KT, KP>(v + k * a.v_row, a.v_row, end - k, K, packs, m.loop[1]);
    load_bias<KT>(mask, k, end, m.bias);
    __syncthreads();
    Tiles::template scores<QT, KT, KP>(m.own[0], m.loop[0], m.scores);
    Tiles::template scores<QT, KT, KP>(m.own[1], m.loop[1], m.d_p);
    __syncthreads();
    gradient_tile<Tiles, QT, KT, false>(a, uint64_t(x.bh), q, k, m);
    __syncthreads();
    d_q.template add_product<KT>(m.d_s, m.loop[0]);
  }
  __syncthreads();
  d_q.store(m.sums());
  __syncthreads();
  if (cut.k_chunks > 1)
    write_tile<QT, KP>(m.sums(), nullptr, rows, K, attention_dq_partial(a, cut, x.bh, x.chunk) + q * a.K, a.K);
  else write_tile<QT, KP>(m.sums(), nullptr, rows, K, a.dq + x.b * a.dq_batch + q * a.dq_row + head, a.dq_row);
}

/// The sums of KT keys from k on, by way of shared memory; one sum where d_v is d_k.
template <int KT, int KP, class Sums, class T>
__device__ void write_keys(const AttentionBwd<T>& a, const AttentionCut& cut, const AttentionBlock& x, int64_t k,
                           float* shared, Sums& d_k, const Sums& d_v) {
  const bool tied = a.dv == a.dk, whole = cut.q_chunks == 1;
  const int64_t rows = min(int64_t(KT), a.Nk - k);
  if (tied) d_k.add(d_v);
  for (int i = 0; i < (tied ? 1 : 2); ++i) {
    __syncthreads();  // what was here before has been read
    if (i == 0) d_k.store(shared);
    else d_v.store(shared);
    __syncthreads();
    const int64_t row = i == 0 ? a.dk_row : a.dv_row, batch = i == 0 ? a.dk_batch : a.dv_batch;
    if (whole) {
      write_tile<KT, KP>(shared, nullptr, rows, int(a.K), (i == 0 ? a.dk : a.dv) + x.b * batch + k * row + x.h * a.K,
                         row);
    } else {
      float* to = i == 0 ? attention_dk_partial(a, cut, x.bh, x.chunk) : attention_dv_partial(a, cut, x.bh, x.chunk);
      write_tile<KT, KP>(shared, nullptr, rows, int(a.K), to + k * a.K, a.K);
    }
  }
}

template <class Tiles, int KT, int QT, int KP, class T>
__global__ void __launch_bounds__(kTileThreads, BackwardMemory<Tiles, KT, QT, KP>::kBlocks)
    attention_backward_keys(AttentionBwd<T> a, AttentionCut cut, bool packs) {  // grid B H chunks tiles
  const BackwardMemory<Tiles, KT, QT, KP> m;
  const AttentionBlock x = attention_block(blockIdx.x, a.H, ceil_div(a.Nk, KT), cut.q_chunks);
  const int64_t k = x.tile * KT, rows = min(int64_t(KT), a.Nk - k), head = x.h * a.K;
  const int64_t end = min(a.Nq, (x.chunk + 1) * cut.q_chunk), unseeing = a.causal ? k - (a.Nk - a.Nq) : 0;
  const uint8_t* mask = a.key_mask ? a.key_mask + x.b * a.Nk : nullptr;
  const T *queries = a.q + x.b * a.q_batch + head, *d_o = a.d_o + x.b * a.o_batch + head;
  const int K = int(a.K);
  load_tile<Tiles, KT, KP>(a.k + x.b * a.k_batch + k * a.k_row + head, a.k_row, rows, K, packs, m.own[0]);
  load_tile<Tiles, KT, KP>(a.v + x.b * a.v_batch + k * a.v_row + head, a.v_row, rows, K, packs, m.own[1]);
  load_bias<KT>(mask, k, a.Nk, m.bias);
  typename Tiles::template Sums<KT, KP> d_k, d_v;
  d_k.clear(), d_v.clear();
  int64_t q = x.chunk * cut.q_chunk;
  if (unseeing > q) q += (unseeing - q) / QT * QT;  // queries before `unseeing` don't see key k
  if (!any_key_counts<KT>(mask, k, a.Nk)) q = end;
  for (; q < end; q += QT) {
    __syncthreads();  // the tiles of the step before are free
    load_tile<Tiles, QT, KP>(queries + q * a.q_row, a.q_row, end - q, K, packs, m.loop[0]);
    load_tile<Tiles, QT, KP>(d_o + q * a.o_row, a.o_row, end - q, K, packs, m.loop[1]);
    load_queries<QT>(a, attention_delta(a, cut), x.bh, q, end, m.lse, m.delta);
    __syncthreads();
    Tiles::template scores<KT, QT, KP>(m.own[0], m.loop[0], m.scores);
    Tiles::template scores<KT, QT, KP>(m.own[1], m.loop[1], m.d_p);
    __syncthreads();
    gradient_tile<Tiles, QT, KT, true>(a, uint64_t(x.bh), q, k, m);
    __syncthreads();
    d_v.template add_product<QT>(m.p, m.loop[1]);
    d_k.template add_product<QT>(m.d_s, m.loop[0]);
  }
  write_keys<KT, KP>(a, cut, x, k, m.sums(), d_k, d_v);
}

template <class T>
bool whole_packs(const AttentionBwd<T>& a) {
  return whole_packs(a.q, a.q_batch, a.q_row, a.K) && whole_packs(a.k, a.k_batch, a.k_row, a.K) &&
         whole_packs(a.v, a.v_batch, a.v_row, a.K) && whole_packs(a.d_o, a.o_batch, a.o_row, a.K);
}
template <class Tiles, int QT, int KT, int KP, class T>
void launch_backward_queries(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  constexpr int64_t bytes = BackwardMemory<Tiles, QT, KT, KP>::kBytes;
  static_assert(bytes <= 64 * 1024, "what a block has on every device");
  launch(s, attention_backward_queries<Tiles, QT, KT, KP, T>, a.B * a.H * cut.k_chunks * ceil_div(a.Nq, QT),
         kTileThreads, bytes, a, cut, whole_packs(a));
}
template <class Tiles, int KT, int QT, int KP, class T>
void launch_backward_keys(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  constexpr int64_t bytes = BackwardMemory<Tiles, KT, QT, KP>::kBytes;
  static_assert(bytes <= 64 * 1024, "what a block has on every device");
  launch(s, attention_backward_keys<Tiles, KT, QT, KP, T>, a.B * a.H * cut.q_chunks * ceil_div(a.Nk, KT),
         kTileThreads, bytes, a, cut, whole_packs(a));
}

}  // namespace selene::cuda
