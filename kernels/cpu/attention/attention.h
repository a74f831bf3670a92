// What the forward and the backward pass of CPU attention share: how the score rectangle of a head is cut, and how a
// block of scores is made. Blocked softmax with recomputation: Dao et al. 2022, algorithms 1 and 4.
#pragma once
#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <type_traits>

#include "kernels/attention.h"
#include "kernels/cpu/dropout_row.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"

namespace selene::cpu {

/// Keys come in multiples of this, so that a row of a block fills whole vectors and whole dropout blocks and that few
/// shapes of products exist. Keys that fill up the last step are zeros, and masked.
constexpr int64_t kKeyStep = 16;
/// Dropout bits are drawn for this many scores at a time, so that they are still in the first cache when used.
constexpr int64_t kBitsAtOnce = 4096;

/// How the scores [Nq, Nk] of a head are cut. Keys are cut by Nq alone, so that more padded keys change no sum.
struct AttentionPlan {
  int64_t q_block, k_block;    // one block of scores; at most 65,536, which the second cache holds
  int64_t q_group, k_group;    // queries and keys whose sums are formed in one place, in ascending order
  int64_t q_groups, k_groups;  // at most one of the two is above 1
  int64_t key_rows;            // Nk in whole steps

  AttentionPlan(int64_t Nq, int64_t Nk);
  bool one_q_block(int64_t Nq) const { return Nq <= q_block; }
};

/// Memory that the calling thread keeps from call to call, handed out in 64-byte aligned pieces.
class AttentionScratch {
 public:
  /// All earlier pieces become free.
  explicit AttentionScratch(int64_t bytes);
  template <class X>
  X* take(int64_t n) {
    X* piece = reinterpret_cast<X*>(next_);
    next_ += piece_bytes<X>(n);
    return piece;
  }
  template <class X>
  static int64_t piece_bytes(int64_t n) {
    return round_up(n * int64_t(sizeof(X)), 64);
  }

 private:
  std::byte* next_;
};

/// Number of leading keys that hold every key that counts, in whole steps. mask: [Nk] or null.
int64_t used_keys(const uint8_t* mask, int64_t Nk);

/// Some keys of one head, `count` rows (a multiple of kKeyStep) from key `first` on.
template <class T>
struct KeyBlock {
  const T *k, *v;
  int64_t k_row, v_row;
  int64_t first, count;
  const Acc<T>* bias;  // [count] added to the scaled scores: 0, or minus infinity where a key doesn't count
};

/// Where KeyBlock's copies live.
template <class T>
struct KeyScratch {
  T *k, *v;
  Acc<T>* bias;

  static int64_t bytes(const AttentionPlan& p, int64_t K) {
    return 2 * AttentionScratch::piece_bytes<T>(p.k_block * K) + AttentionScratch::piece_bytes<Acc<T>>(p.k_block);
  }
  KeyScratch(AttentionScratch& s, const AttentionPlan& p, int64_t K)
      : k(s.take<T>(p.k_block * K)), v(s.take<T>(p.k_block * K)), bias(s.take<Acc<T>>(p.k_block)) {}
};

/// Rows that exist are copied, those after them are zero.
template <class T>
void copy_rows(const T* from, int64_t from_row, int64_t rows, T* to, int64_t to_rows, int64_t K) {
  for (int64_t n = 0; n < rows; ++n) std::copy(from + n * from_row, from + n * from_row + K, to + n * K);
  std::fill(to + rows * K, to + to_rows * K, T{});
}

/// A: AttentionFwd or AttentionBwd. Copies only where the block's rows don't all exist.
template <class T, class A>
KeyBlock<T> key_block(const A& a, int64_t b, int64_t h, int64_t first, int64_t count, const KeyScratch<T>& scratch) {
  const T* k = a.k + b * a.k_batch + first * a.k_row + h * a.K;
  const T* v = a.v + b * a.v_batch + first * a.v_row + h * a.K;
  KeyBlock<T> block{k, v, a.k_row, a.v_row, first, count, scratch.bias};
  const int64_t exist = std::min(count, a.Nk - first);
  if (exist < count) {
    copy_rows(k, a.k_row, exist, scratch.k, count, a.K);
    copy_rows(v, a.v_row, exist, scratch.v, count, a.K);
    block.k = scratch.k, block.v = scratch.v, block.k_row = block.v_row = a.K;
  }
  const Acc<T> none = -std::numeric_limits<Acc<T>>::infinity();
  for (int64_t j = 0; j < count; ++j) {
    const bool counts = j < exist && (!a.key_mask || !a.key_mask[b * a.Nk + first + j]);
    scratch.bias[j] = counts ? 0 : none;
  }
  return block;
}

/// scores[rows, count] = q k^T, dense; q_row: row stride of q. Also d_o v^T, with v's side of the block.
template <class T>
void score_block(const T* q, int64_t q_row, int64_t rows, const T* k, int64_t k_row, int64_t count, int64_t K,
                 Acc<T>* scores) {
  gemm({rows, count, K, q_row, k_row, count, false, true, false, dtype_of<T>, dtype_of<Acc<T>>}, q, k, scores);
}

/// Scores of keys that lie in the future of their query become minus infinity (scale is positive). q, block.first:
/// number of the first row's query, of the first column's key.
template <class T, class A>
void hide_future(const A& a, int64_t q, int64_t rows, const KeyBlock<T>& block, Acc<T>* scores) {
  const Acc<T> none = -std::numeric_limits<Acc<T>>::infinity();
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t visible = std::clamp<int64_t>(q + i + (a.Nk - a.Nq) + 1 - block.first, 0, block.count);
    std::fill(scores + i * block.count + visible, scores + (i + 1) * block.count, none);
  }
}

/// f(i, n, bits) for rows [i, i + n) of a block of scores [rows, keys.count], until all rows had their turn. bits:
/// [n, keys.count] of dropout, null without it. q: number of the first row's query; scratch: [kBitsAtOnce].
template <class T, class F>
void with_dropout_bits(const DropoutSite& drop, int64_t bh, int64_t q, int64_t rows, const KeyBlock<T>& keys,
                       uint16_t* scratch, F f) {
  const bool drops = drop.threshold < 65536;
  const int64_t step = std::max<int64_t>(1, kBitsAtOnce / keys.count);
  for (int64_t i = 0; i < rows; i += step) {
    const int64_t n = std::min(step, rows - i);
    if (drops)
      dropout_bits_rows(drop, dropout_attention_block(uint64_t(bh), uint64_t(q + i), uint64_t(keys.first)), n,
                        dropout_attention_block(0, 1, 0), keys.count / 8, scratch);
    f(i, n, drops ? scratch : nullptr);
  }
}

/// First key that no query up to and including `last_query` sees.
template <class A>
int64_t end_of_sight(const A& a, int64_t last_query, int64_t k_end) {
  return a.causal ? std::min(k_end, last_query + 1 + (a.Nk - a.Nq)) : k_end;
}

}  // namespace selene::cpu
