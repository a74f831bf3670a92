// Every public operation. Those that return a Var are differentiable: tests/support/op_case_*.cpp have cases for
// each, and a test reads this file to find one without. Letters: docs/shapes.md. Gradients: docs/math.md. Dropout is
// inverted (survivors are divided by the probability of survival) and off in evaluation. All throw Error with
// operation, argument, what it is and what was wanted, before anything runs.
#pragma once
#include "autograd/tape.h"
#include "kernels/activation.h"
#include "kernels/softmax.h"

namespace selene {

// --- Products (ops_matmul.cpp)

/// x[..., K] W[N, K]^T + b[N] -> [..., N]; torch nn.Linear. b null: no bias.
Var linear(Tape& t, const Var& x, const Var& W, const Var* b);
/// a[..., M, K] b[..., K, N] -> [..., M, N], or a b^T with trans_b and b[..., N, K]; at most two batch axes, equal in
/// both.
Var matmul(Tape& t, const Var& a, const Var& b, bool trans_b);
/// Bytes of a chunk of feed_forward's hidden rows: three of them stay in a GPU's second cache.
constexpr int64_t kHiddenBytes = 16 << 20;
/// The two-layer network of a Transformer layer, x[B, N, D] -> [B, N, D]:
/// W2 dropout(f(W1 x + b1)) + b2 with W1[F, D], W2[D, F]. Keeps W1 x + b1 only; the activation is recomputed.
/// recompute: keeps nothing but x; both passes go over chunks of rows whose hidden values take kHiddenBytes.
Var feed_forward(Tape& t, const Var& x, const Var& W1, const Var& b1, const Var& W2, const Var& b2, Activation f,
                 const DropoutSite& drop, bool recompute = false);

// --- Attention (ops_attention.cpp)

/// softmax(scale q k^T) v per head, fused: q[B, Nq, D], k and v[B, Nk, D], heads of K = D / heads neighbouring
/// channels -> [B, Nq, D]. key_mask u8[B, Nk], 1 = padding, or empty. causal: query n sees keys 0 .. n + Nk - Nq.
/// Dropout on the probabilities. k and v may be the same Var (tied keys and values).
Var attention(Tape& t, const Var& q, const Var& k, const Var& v, int64_t heads, const Tensor& key_mask, double scale,
              bool causal, const DropoutSite& drop);

// --- Normalisation and dropout (ops_norm.cpp)

/// Layer norm over the last axis (Ba et al. 2016, eq. 4): x[..., C], gamma[C], beta[C].
Var layer_norm(Tape& t, const Var& x, const Var& gamma, const Var& beta, double eps);
/// layer_norm(residual + dropout(x)), x and residual [B, N, C]: the end of a post-norm branch in one pass.
Var dropout_add_layer_norm(Tape& t, const Var& x, const Var& residual, const Var& gamma, const Var& beta, double eps,
                           const DropoutSite& drop);
/// dropout(x), x[B, N, C] or [B, C]; rows whose zero_row (u8[B, N], or empty) is 1 become 0.
Var dropout(Tape& t, const Var& x, const DropoutSite& drop, const Tensor& zero_row);
/// residual + dropout(x), both [B, N, C]: the end of a pre-norm branch.
Var dropout_add(Tape& t, const Var& x, const Var& residual, const DropoutSite& drop);

// --- Softmax and loss (ops_softmax.cpp)

/// Softmax over the last axis of x[B, ..., C] without the columns whose mask (u8[B, C], or empty) is 1; never a whole
/// row.
Var softmax(Tape& t, const Var& x, const Tensor& mask, bool causal);
/// Log softmax over the last axis.
Var log_softmax(Tape& t, const Var& x);
/// Summed cross-entropy of logits[R, C] with target i32[R], natural logarithm, label smoothing eps over all C classes
/// (fairseq label_smoothed_cross_entropy); rows whose target is `ignore` count for nothing. Returns f64[1]. `sums`
/// (LossSums as f64[4]: loss, loss without smoothing, rows, rows right) is added to where given.
Var cross_entropy(Tape& t, const Var& logits, const Tensor& target, double eps, int32_t ignore, const Tensor& sums);

// --- Inputs (ops_embedding.cpp)

/// scale * table[ids] -> [B, N, D], ids i32[B, N]; row `pad` is read but gets no gradient (-1: every row does). With
/// `add`: plus add[add_ids] (positions), whose row add_pad gets no gradient.
struct AddedRows {
  const Var* table = nullptr;  // [V2, D]
  Tensor ids;                  // i32[B, N]
  int32_t pad = -1;
};
Var embedding(Tape& t, const Tensor& ids, const Var& table, double scale, int32_t pad, const AddedRows& add);
/// scale * (x w + b) (+ add) -> [B, N, D] for one real number a position: x[B, N], w[D], b[D]; fairseq
/// RealNumberEmbedding.
Var pixel_embedding(Tape& t, const Var& x, const Var& w, const Var& b, double scale, const AddedRows& add);
/// First `rows` rows of p[l, D] for every example: [B, rows, D].
Var expand_batch(Tape& t, const Var& p, int64_t B, int64_t rows);
/// i32[B, N]: fairseq make_positions, pad + running count of tokens that are not `pad`, `pad` for padding; n where
/// pad < 0.
Tensor positions(Tape& t, const Tensor& tokens, int32_t pad);
/// u8[B, N]: 1 from lengths[b] (i32[B]) on.
Tensor padding_mask(Tape& t, const Tensor& lengths, int64_t N);

// --- Pooling and small change (ops_elementwise.cpp)

/// Mean over rows, x[B, N, D] -> [B, D]: over lengths[b] rows (i32[B]), else over *length rows (i32[1]), else over
/// all N.
Var mean_pool(Tape& t, const Var& x, const Tensor& lengths, const Tensor& length);
/// x[B, N, D] -> [B, D], row n of every example.
Var select_position(Tape& t, const Var& x, int64_t n);
/// Along the last axis: a[..., C1], b[..., C2] -> [..., C1 + C2].
Var concat(Tape& t, const Var& a, const Var& b);
Var add(Tape& t, const Var& a, const Var& b);       // shapes equal
Var subtract(Tape& t, const Var& a, const Var& b);  // shapes equal
Var multiply(Tape& t, const Var& a, const Var& b);  // shapes equal, elementwise
Var scale(Tape& t, const Var& x, double factor);
/// f(x), elementwise. beta: softplus only.
Var activate(Tape& t, const Var& x, Activation f, double beta);
/// Running sum along one axis (kernels/elementwise.h).
Var cumulative_sum(Tape& t, const Var& x, int axis);
/// The same elements in another shape.
Var reshape(Tape& t, const Var& x, Shape shape);
/// Two axes exchanged, as dense memory.
Var transpose(Tape& t, const Var& x, int a, int b);

}  // namespace selene
