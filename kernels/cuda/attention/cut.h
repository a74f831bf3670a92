// How attention is cut into blocks of threads, and where their partial sums lie: shared by the tile kernels,
// the tensor-core kernels and the second pass that adds partial sums. Work partitioning: Dao 2023,
// "FlashAttention-2", section 3.2; the split of the loop axis: "Flash-Decoding" (Dao et al. 2023). Everything
// is a function of shapes.
#pragma once
#include "kernels/attention.h"
#include "kernels/ceil_div.h"
#include "kernels/cuda/backend.h"

namespace selene::cuda {

/// A block of threads owns a tile of queries and loops over a chunk of keys (forward pass, d_q), or owns a tile
/// of keys and loops over a chunk of queries (d_k, d_v). With one chunk it writes the result, with several a
/// partial sum.
struct AttentionCut {
  int64_t k_chunk, k_chunks;  // keys of a chunk, a multiple of 64; chunks, at least 1
  int64_t q_chunk, q_chunks;  // queries of a chunk, chunks
};

/// Rows of one chunk of the axis that blocks loop over, which has `loop` rows; each of the `heads` heads has `own`
/// rows, which are divided among blocks. Where there are few blocks the chunks are short, so that a batch of one
/// fills a device; at most 16 own rows make blocks so small that three share a multiprocessor, and chunks that are a
/// quarter shorter. `loop` counts only above 196,608 rows, where there would be more than 1024 chunks. So keys that
/// are only padding move no end of a chunk: they add zeros after the sums that count.
SELENE_HD int64_t attention_chunk(int64_t heads, int64_t own, int64_t loop) {
  const int64_t blocks = heads * ceil_div(own, 64);
  int64_t rows = (own <= 16 ? 192 : 256) * ceil_div(blocks, 16);
  if (rows < 4 * own) rows = 4 * own;  // partial sums stay small beside the rows that were read for them
  if (rows < ceil_div(loop, 1024)) rows = ceil_div(loop, 1024);
  return round_up(rows, 64);
}

/// A: AttentionFwd or AttentionBwd.
template <class A>
SELENE_HD AttentionCut attention_cut(const A& a) {
  AttentionCut c;
  c.k_chunk = attention_chunk(a.B * a.H, a.Nq, a.Nk), c.q_chunk = attention_chunk(a.B * a.H, a.Nk, a.Nq);
  c.k_chunks = a.Nk > c.k_chunk ? ceil_div(a.Nk, c.k_chunk) : 1;
  c.q_chunks = a.Nq > c.q_chunk ? ceil_div(a.Nq, c.q_chunk) : 1;
  return c;
}

/// What a block works on. Neighbours are the tiles of one head and chunk, which read the same rows of the other axis,
/// then the heads of a chunk: the channels of all heads of a row lie side by side, and what memory sends at a time is
/// more than a small head has of them. heads_first: heads before tiles, where the other axis has a few rows only.
/// Counted in 32 bits, as the grid is: a division in 64 bits takes as long as a small tile.
struct AttentionBlock {
  int64_t b, h, bh;     // example, head, b * H + h
  int64_t tile, chunk;  // of the axis that is owned, of the axis that is looped over
};
SELENE_HD AttentionBlock attention_block(uint32_t index, int64_t H, int64_t tiles, int64_t chunks,
                                         bool heads_first = false) {
  const uint32_t m = uint32_t(chunks), heads = uint32_t(H), inner = heads_first ? heads : uint32_t(tiles),
                 outer = heads_first ? uint32_t(tiles) : heads;
  const uint32_t i = index % inner, o = index / inner % outer, rest = index / inner / outer, b = rest / m;
  const uint32_t h = heads_first ? i : o;
  return {b, h, int64_t(b) * H + h, heads_first ? o : i, rest % m};
}

/// Partial sums of a chunk of keys in the forward workspace, for all queries: max of scale q k (-inf where no
/// key counts), sum of exp(scale q k - max) (0 then), sum of exp(scale q k - max) v over the keys that dropout
/// keeps (the factor of the survivors is applied at the end).
struct AttentionPartial {
  float* o;          // [Nq, K]
  float *max, *sum;  // [Nq]
};
template <class T>
SELENE_HD AttentionPartial attention_partial(const AttentionFwd<T>& a, const AttentionCut& c, int64_t bh,
                                             int64_t chunk) {
  const int64_t rows = (bh * c.k_chunks + chunk) * a.Nq, all = a.B * a.H * c.k_chunks * a.Nq;
  return {a.workspace + rows * a.K, a.workspace + all * a.K + rows, a.workspace + all * a.K + all + rows};
}

/// Backward workspace: d_q [B H, k_chunks, Nq, K] if there are several chunks of keys; d_k [B H, q_chunks, Nk,
/// K] and d_v likewise if there are several chunks of queries (only d_k is used where d_v is d_k: it takes the
/// sum of both); delta [B, H, Nq] = sum over channels of d_o o, which is there before any of the others.
template <class T>
SELENE_HD float* attention_dq_partial(const AttentionBwd<T>& a, const AttentionCut& c, int64_t bh, int64_t chunk) {
  return a.workspace + (bh * c.k_chunks + chunk) * a.Nq * a.K;  // [Nq, K]
}
template <class T>
SELENE_HD float* attention_dk_partial(const AttentionBwd<T>& a, const AttentionCut& c, int64_t bh, int64_t chunk) {
  const int64_t queries = c.k_chunks > 1 ? a.B * a.H * c.k_chunks * a.Nq * a.K : 0;
  return a.workspace + queries + (bh * c.q_chunks + chunk) * a.Nk * a.K;  // [Nk, K]
}
template <class T>
SELENE_HD float* attention_dv_partial(const AttentionBwd<T>& a, const AttentionCut& c, int64_t bh, int64_t chunk) {
  return attention_dk_partial(a, c, bh, chunk) + a.B * a.H * c.q_chunks * a.Nk * a.K;
}
template <class T>
SELENE_HD float* attention_delta(const AttentionBwd<T>& a, const AttentionCut& c) {
  const int64_t queries = c.k_chunks > 1 ? c.k_chunks * a.Nq : 0;
  const int64_t keys = c.q_chunks > 1 ? 2 * c.q_chunks * a.Nk : 0;
  return a.workspace + a.B * a.H * (queries + keys) * a.K;  // [B, H, Nq]
}

/// Tensor-core kernels of sm_80 and newer (mma.cu): true where they took the call, for T = f16, bf16,
/// K = 16, 32, 64, 128 and rows of 16-byte alignment. They write results or partial sums; delta exists, a
/// second pass follows.
template <class T>
bool mma_forward(Stream& s, const AttentionFwd<T>& a, const AttentionCut& cut);
template <class T>
bool mma_backward(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut);
/// For an axis of at most 16 rows and K of at most 64, o aligned where it is read: needs no delta.
template <class T>
bool mma_short_backward(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut);

}  // namespace selene::cuda
