// Softmax attention, fused and blocked: softmax(scale Q K^T) V per head without ever keeping an n x n (or n x l)
// matrix. One kernel serves full attention (Vaswani et al. 2017, eq. 1) and Luna's pack (few queries, many keys) and
// unpack (many queries, few keys; Ma et al. 2021, eq. 4 and 5). Online softmax and recomputation as in Dao et al.
// 2022; only the log-sum-exp is kept. Gradient: docs/math.md, "Attention".
#pragma once
#include "kernels/dropout.h"

namespace selene {

constexpr int64_t kMostHeadSize = 128;  // channels of a head that a device takes; the CPU takes any number

// Shapes: Nq queries, Nk keys, H heads of K channels. Head h of row n of example b starts at
// q + b * q_batch + n * q_row + h * K.
template <class T>
struct AttentionFwd {
  const T *q, *k, *v;       // [B, Nq, H, K], [B, Nk, H, K] twice; v may be k
  const uint8_t* key_mask;  // [B, Nk] or null: 1 = padding, probability 0; every example has a key that counts
  T* o;                     // [B, Nq, H, K]
  Acc<T>* lse;              // [B, H, Nq] natural log of the sum of exp(scale q k), kept for the backward pass
  int64_t B, H, Nq, Nk, K;
  int64_t q_batch, q_row, k_batch, k_row, v_batch, v_row, o_batch, o_row;  // strides, elements
  Acc<T> scale;                                                            // K^-0.5, positive
  int32_t causal;               // 1: query n sees keys 0 .. n + (Nk - Nq); one that sees none gets NaN
  DropoutSite drop = {};        // on the probabilities, dropout_attention_block
  Acc<T>* workspace = nullptr;  // partial sums: work is cut along the longer axis into groups that depend on the
                                // shape alone, and added in group order
};
template <class T>
struct AttentionBwd {
  const T *q, *k, *v, *o, *d_o;  // as above; d_o has o's strides
  const uint8_t* key_mask;
  const Acc<T>* lse;
  T *dq, *dk, *dv;  // overwritten, strides of q, k, v; dv may be dk (same strides): then it receives the sum of both
  int64_t B, H, Nq, Nk, K;
  int64_t q_batch, q_row, k_batch, k_row, v_batch, v_row, o_batch, o_row;
  int64_t dq_batch, dq_row, dk_batch, dk_row, dv_batch, dv_row;
  Acc<T> scale;
  int32_t causal;
  DropoutSite drop = {};
  Acc<T>* workspace = nullptr;
};

/// Whether a device's tensor-core kernels make the gradient without o: they have all of few keys at once, so delta is
/// the sum of probabilities times gradients that o is a short cut for (docs/math.md "Attention").
template <class T>
bool gradient_without_o(const AttentionBwd<T>& a) {
  return sizeof(T) == 2 && a.K <= 64 && a.Nk <= 16 && a.Nq > 16;
}

DECLARE_OPERATION(AttentionFwd)
DECLARE_OPERATION(AttentionBwd)

}  // namespace selene
