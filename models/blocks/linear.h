// The linear layer, and what attentions make of it. A block is a handful of parameter indices and a call; it sees no
// pointer and no device. Parameter names follow the reference implementation (fairseq).
#pragma once
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "models/blocks/builder.h"

namespace selene {

/// y = x W^T + b, W[out, in]. Starts: fairseq luna_attention.py reset_parameters, init_bert_params.
struct Linear {
  enum class Start {
    plain,
    projection,
    output
  };  // plain: torch nn.Linear; projection: Xavier gain 2^-0.5; output: Xavier, b = 0
  int weight = -1, bias = -1;
  Linear() = default;
  Linear(const Builder& b, const std::string& name, int64_t in, int64_t out, bool with_bias = true,
         Start start = Start::plain);
  Var operator()(Tape& t, const Var& x) const;
  void no_gradient_path(Parameters& p) const;
};

/// Lays the parameters of layers that were declared one after another, with as many inputs and outputs each, side by
/// side in this order where their sizes allow it: for together() of any neighbours among them.
void side_by_side(const Builder& b, const std::vector<const Linear*>& layers);
/// Every layer's y of one x: one product, whose results are parts of one tensor (strided, see Tape::split), where the
/// parameters lie side by side; else one product each.
std::vector<Var> together(Tape& t, const Var& x, const std::vector<const Linear*>& layers);

/// A projection of an attention: D -> model.attention_dim (0: D) channels.
Linear projection(const Builder& b, const std::string& name);
/// Queries, keys and values of model.attention_dim channels and the way back (Vaswani et al. 2017, section 3.2.2;
/// fairseq multihead_attention.py).
struct Projections {
  Linear q, k, v, out;
  explicit Projections(const Builder& b);
};

/// [B, N, D] -> [B, H, N, K]: head h has the channels [h K, (h + 1) K).
Var split_heads(Tape& t, const Var& x, int64_t heads);
/// [B, H, N, K] -> [B, N, H K].
Var merge_heads(Tape& t, const Var& x);

}  // namespace selene
