// General attention kernel, forward: a block owns QT queries of a head and walks over a chunk of its keys, KT
// at a time. Dao 2023, "FlashAttention-2", algorithm 1; sums wait in shared memory, where any thread can scale
// them.
#pragma once
#include "kernels/cuda/attention/tiles.cuh"
#include "kernels/cuda/reduce.cuh"

namespace selene::cuda {

/// Where the tiles of a forward block lie in shared memory.
template <class Tiles, int QT, int KT, int KP>
struct ForwardMemory {
  using E = typename Tiles::Element;
  static constexpr bool kOwnP = sizeof(E) != sizeof(float);  // else probabilities overwrite the scores
  static constexpr int kQ = QT * (KP + Tiles::kPad), kKeys = KT * (KP + Tiles::kPad), kP = QT * (KT + Tiles::kPad);
  static constexpr int kScores = QT * (KT + kSumPad), kO = QT * (KP + kSumPad);
  static constexpr int64_t kBytes = (kQ + kKeys + (kOwnP ? kP : 0)) * sizeof(E) + (kScores + kO + KT) * sizeof(float);

  float *o, *scores;  // [QT, KP], [QT, KT]
  E *q, *keys, *p;    // [QT, KP], [KT, KP], [QT, KT]
  float* bias;        // [KT]
  __device__ ForwardMemory() {
    o = reinterpret_cast<float*>(dynamic_shared), scores = o + kO;
    q = reinterpret_cast<E*>(scores + kScores), keys = q + kQ;
    p = kOwnP ? keys + kKeys : reinterpret_cast<E*>(scores);
    bias = reinterpret_cast<float*>(keys + kKeys + (kOwnP ? kP : 0));
  }
};

/// What a query has met so far: the largest score, and the sum of exp(score - max). Kept by every thread of its
/// row.
struct RowSoftmax {
  float max = kNoKey, sum = 0;
};

/// One row of scores becomes probabilities up to the factor exp(-max) / sum, with dropout. The threads of a row
/// take its groups of 8 keys in turn, the first `part`. Returns the factor for what was summed before.
template <class Tiles, int KT, int Threads, class A>
__device__ float softmax_row(const A& a, uint64_t bh, int64_t q, int64_t k, int part, const float* scores,
                             const float* bias, typename Tiles::Element* p, RowSoftmax& row) {
  constexpr int groups = KT / 8 / Threads;
  const int64_t sight = a.causal ? q + (a.Nk - a.Nq) - k : KT;  // last visible key of the tile
  float s[groups][8], most = row.max, total = 0;
  for (int i = 0; i < groups; ++i)
    for (int j = 0; j < 8; ++j) {
      const int at = (part + i * Threads) * 8 + j;
      s[i][j] = at > sight ? kNoKey : fmaf(scores[at], a.scale, bias[at]);
      most = max_or_nan(most, s[i][j]);
    }
  most = warp_max<Threads>(most);
  const float origin = most == kNoKey ? 0.0f : most;
  for (int i = 0; i < groups; ++i) {
    const int at = (part + i * Threads) * 8;
    Philox bits{};
    if (a.drop.threshold < 65536)
      bits = dropout_bits(a.drop, dropout_attention_block(bh, uint64_t(q), uint64_t(k + at)));
    for (int j = 0; j < 8; ++j) {
      const float e = expf(s[i][j] - origin);
      total += e;
      p[at + j] = down<typename Tiles::Element>(dropout_keeps(bits, j, a.drop.threshold) ? e : 0.0f);
    }
  }
  const float factor = expf(row.max - origin);
  row.max = most, row.sum = row.sum * factor + warp_sum<Threads>(total);
  return factor;
}

template <class Tiles, int QT, int KT, int KP, class T>
__global__ void __launch_bounds__(kTileThreads, 3)
    attention_forward_tiles(AttentionFwd<T> a, AttentionCut cut, bool packs) {  // grid B H chunks tiles
  constexpr int threads = kTileThreads / QT;                                    // of a row
  const ForwardMemory<Tiles, QT, KT, KP> m;
  const AttentionBlock x = attention_block(blockIdx.x, a.H, ceil_div(a.Nq, QT), cut.k_chunks);
  const int64_t q = x.tile * QT, rows = min(int64_t(QT), a.Nq - q), k_first = x.chunk * cut.k_chunk;
  const uint8_t* mask = a.key_mask ? a.key_mask + x.b * a.Nk : nullptr;
  const int r = int(threadIdx.x) / threads, part = int(threadIdx.x) % threads, K = int(a.K);
  const T *keys = a.k + x.b * a.k_batch + x.h * a.K, *v = a.v + x.b * a.v_batch + x.h * a.K;
  int64_t end = min(a.Nk, k_first + cut.k_chunk);
  if (a.causal) end = min(end, q + rows + (a.Nk - a.Nq));
  load_tile<Tiles, QT, KP>(a.q + x.b * a.q_batch + q * a.q_row + x.h * a.K, a.q_row, rows, K, packs, m.q);
  float* o = m.o + r * (KP + kSumPad);
  for (int c = part * 4; c < KP; c += threads * 4) store4(o + c, make_float4(0, 0, 0, 0));
  RowSoftmax row;
  for (int64_t k = k_first; k < end; k += KT) {
    if (!any_key_counts<KT>(mask, k, end)) continue;
    __syncthreads();  // the tiles of the step before are free
    load_tile<Tiles, KT, KP>(keys + k * a.k_row, a.k_row, end - k, K, packs, m.keys);
    load_bias<KT>(mask, k, end, m.bias);
    __syncthreads();
    Tiles::template scores<QT, KT, KP>(m.q, m.keys, m.scores);
    __syncthreads();
    load_tile<Tiles, KT, KP>(v + k * a.v_row, a.v_row, end - k, K, packs, m.keys);
    const float factor = softmax_row<Tiles, KT, threads>(
        a, uint64_t(x.bh), q + r, k, part, m.scores + r * (KT + kSumPad), m.bias, m.p + r * (KT + Tiles::kPad), row);
    for (int c = part * 4; c < KP && factor != 1; c += threads * 4) {
      const float4 y = load4(o + c);
      store4(o + c, make_float4(y.x * factor, y.y * factor, y.z * factor, y.w * factor));
    }
    __syncthreads();
    typename Tiles::template Sums<QT, KP> sums;
    sums.load(m.o);
    sums.template add_product<KT>(m.p, m.keys);
    sums.store(m.o);
  }
  __syncthreads();
  if (cut.k_chunks > 1) {
    const AttentionPartial out = attention_partial(a, cut, x.bh, x.chunk);
    if (part == 0 && r < rows) out.max[q + r] = row.max, out.sum[q + r] = row.sum;
    write_tile<QT, KP>(m.o, nullptr, rows, K, out.o + q * a.K, a.K);
    return;
  }
  if (part == 0) m.scores[r] = dropout_scale(a.drop.threshold) / row.sum;
  if (part == 0 && r < rows) a.lse[x.bh * a.Nq + q + r] = row.max + logf(row.sum);
  __syncthreads();
  write_tile<QT, KP>(m.o, m.scores, rows, K, a.o + x.b * a.o_batch + q * a.o_row + x.h * a.K, a.o_row);
}

template <class Tiles, int QT, int KT, int KP, class T>
void launch_forward(Stream& s, const AttentionFwd<T>& a, const AttentionCut& cut) {
  constexpr int64_t bytes = ForwardMemory<Tiles, QT, KT, KP>::kBytes;
  static_assert(bytes <= 64 * 1024, "what a block has on every device");
  const bool packs = whole_packs(a.q, a.q_batch, a.q_row, a.K) && whole_packs(a.k, a.k_batch, a.k_row, a.K) &&
                     whole_packs(a.v, a.v_batch, a.v_row, a.K);
  launch(s, attention_forward_tiles<Tiles, QT, KT, KP, T>, a.B * a.H * cut.k_chunks * ceil_div(a.Nq, QT),
         kTileThreads, bytes, a, cut, packs);
}

}  // namespace selene::cuda
