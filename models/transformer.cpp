// Transformer encoder: Vaswani et al. 2017; fairseq transformer_sentence_encoder_layer.py.
#include "models/transformer.h"

namespace selene {

TransformerLayer::TransformerLayer(const Builder& b)
    : config(b.config),
      attention(b.inside("self_attn"), config.dim, config.attention_dim ? config.attention_dim : config.dim,
                config.heads, config.attention_bias),
      norm1(b, "self_attn_layer_norm", config.dim),
      feed_forward(b, config.dim, config.ffn_dim),
      norm2(b, "final_layer_norm", config.dim) {}

Var TransformerLayer::operator()(Tape& t, const Var& x, const Tensor& padding, int tower, int64_t layer,
                                 Wanted wanted) const {
  const auto rows = [&](const Var& all) { return wanted == Wanted::first ? first_position(t, all) : all; };
  const auto drop = [&](double p, int place) { return t.dropout(p, dropout_site(tower, layer, place)); };
  const DropoutSite probabilities = drop(config.attention_dropout, 0), branch1 = drop(config.dropout, 1),
                    hidden = drop(config.activation_dropout, 2), branch2 = drop(config.dropout, 3);
  if (config.norm == "pre") {
    const Var xn = norm1(t, x);
    const Var x1 = dropout_add(t, attention(t, rows(xn), xn, padding, false, probabilities), rows(x), branch1);
    return dropout_add(t, feed_forward(t, norm2(t, x1), hidden), x1, branch2);
  }
  const Var query = rows(x), x1 = norm1(t, attention(t, query, x, padding, false, probabilities), query, branch1);
  return norm2(t, feed_forward(t, x1, hidden), x1, branch2);
}

TransformerEncoder::TransformerEncoder(const Builder& b, const Symbols& symbols, Context& context, DType compute)
    : config_(b.config), embeddings_(b, symbols, 1, context, compute) {
  for (int64_t i = 0; i < (config_.tie_layers ? 1 : config_.layers); ++i)
    layers_.emplace_back(b.inside("layers." + std::to_string(i)));
  if (config_.norm == "pre") norm_ = Norm(b, "layer_norm", config_.dim);
}

Encoded TransformerEncoder::forward(Tape& t, const TowerInput& input, int tower, Wanted wanted) const {
  const Tensor padding = padding_mask(t, input.lengths, input.N);
  Var x = embeddings_(t, input, padding, tower);
  for (int64_t i = 0; i < config_.layers; ++i) {
    const TransformerLayer& layer = layers_[size_t(config_.tie_layers ? 0 : i)];
    const Wanted of_layer = i + 1 < config_.layers ? Wanted::x : wanted;
    const auto apply = [&layer, padding, tower, i, of_layer](Tape& tape, const std::vector<Var>& in) {
      return std::vector<Var>{layer(tape, in[0], padding, tower, i, of_layer)};
    };
    x = config_.recompute ? t.checkpoint(apply, {x})[0] : apply(t, {x})[0];
  }
  return {norm_ ? norm_(t, x) : x, {}};
}

}  // namespace selene
