#include "models/luna.h"

#include <algorithm>
#include <cmath>

namespace selene {
namespace {

int64_t pack_heads(const ModelConfig& c) { return c.pack_heads ? c.pack_heads : c.heads; }

bool pools_p(const ModelConfig& c) { return c.pooling == "p"; }

}  // namespace

LunaLayer::LunaLayer(const Builder& b, bool p_is_read)
    : config(b.config),
      attention(b.inside("self_attn"), config.dim, config.heads, pack_heads(config), config.tie_kv,
                config.attention_bias),
      norm_x(b, "self_attn_layer_norm", config.dim) {
  if (p_is_read || config.norm == "pre") norm_p = Norm(b, "self_atten_proj_layer_norm", config.dim);
  feed_forward = FeedForward(b, config.dim, config.ffn_dim);
  norm_f = Norm(b, "final_layer_norm", config.dim);
}

Encoded LunaLayer::operator()(Tape& t, const Var& x, const Var& p, const Tensor& x_mask, const Tensor& p_mask,
                              int tower, int64_t layer, Wanted wanted) const {
  const auto drop = [&](double probability, int place) {
    return t.dropout(probability, dropout_site(tower, layer, place));
  };
  const bool pre = config.norm == "pre";
  const Var xn = pre ? norm_x(t, x) : x, pn = pre ? norm_p(t, p) : p;
  // Taken before the pack: on the way back its row is then added to a gradient that is there already.
  const bool first = wanted == Wanted::first;
  const Var query = first ? first_position(t, xn) : xn, residual = !pre ? query : first ? first_position(t, x) : x;
  const Var packed = attention.pack(t, pn, xn, x_mask, drop(config.attention_dropout, 0));
  Encoded out;
  const DropoutSite p_branch = drop(config.dropout, 4);
  if (pre) out.p = dropout_add(t, packed, p, p_branch);
  else if (norm_p) out.p = norm_p(t, packed, p, p_branch);
  if (wanted == Wanted::p) return out;
  const DropoutSite branch1 = drop(config.dropout, 1), hidden = drop(config.activation_dropout, 2),
                    branch2 = drop(config.dropout, 3);
  const Var y = attention.unpack(t, query, packed, p_mask, drop(config.attention_dropout, 5));
  if (pre) {
    const Var x1 = dropout_add(t, y, residual, branch1);
    out.x = dropout_add(t, feed_forward(t, norm_f(t, x1), hidden), x1, branch2);
  } else {
    const Var x1 = norm_x(t, y, residual, branch1);
    out.x = norm_f(t, feed_forward(t, x1, hidden), x1, branch2);
  }
  return out;
}

LunaEncoder::LunaEncoder(const Builder& b, const Symbols& symbols, Context& context, DType compute)
    : config_(b.config), embeddings_([&] {
        const Init init{Init::normal, 1 / std::sqrt(double(b.config.dim))};
        const Shape shape{b.config.projection_length, b.config.dim};
        if (b.config.contextual_p) p_.push_back(b.add("projected_embeddings", shape, init));
        else
          for (int64_t i = 0; i < b.config.layers; ++i)
            p_.push_back(b.add("projected_embeddings." + std::to_string(i), shape, init));
        return Embeddings(b, symbols, 1 / std::sqrt(double(b.config.dim)), context, compute);
      }()) {
  if (config_.embedding_norm) p_norm_ = Norm(b, "proj_emb_layer_norm", config_.dim);
  if (config_.positions == "sinusoidal")
    p_sinusoids_ = sinusoidal_table(context, config_.projection_length, config_.dim, -1, compute);
  const int64_t count = config_.tie_layers ? 1 : config_.layers;
  for (int64_t i = 0; i < count; ++i)
    layers_.emplace_back(b.inside("layers." + std::to_string(i)),
                         config_.contextual_p || (i + 1 == count && pools_p(config_)));
  if (config_.norm == "pre") {
    norm_x_ = Norm(b, "layer_norm", config_.dim);
    if (pools_p(config_)) norm_p_ = Norm(b, "proj_layer_norm", config_.dim);
  }
  declare_unread(b.parameters);
}

// Where P's last value is not read its norm gets no gradient, and with P pooling all that the last
// layer does to X gets none. With tied layers the earlier applications of the same parameters do reach the loss.
void LunaEncoder::declare_unread(Parameters& parameters) {
  if (config_.tie_layers && config_.layers > 1) return;
  const LunaLayer& last = layers_.back();
  if (!pools_p(config_)) {
    if (last.norm_p && config_.norm != "pre") last.norm_p.no_gradient_path(parameters);
    return;
  }
  for (const Linear* l : {&last.attention.q, &last.attention.k, &last.attention.v, &last.attention.out,
                          &last.feed_forward.fc1, &last.feed_forward.fc2})
    l->no_gradient_path(parameters);
  last.norm_f.no_gradient_path(parameters);
  if (config_.norm != "pre") last.norm_x.no_gradient_path(parameters);
  else norm_x_.no_gradient_path(parameters);
}

Var LunaEncoder::start_p(Tape& t, int64_t which, const TowerInput& input, const Tensor& p_mask, int tower,
                         int64_t rows) const {
  Var p = t.parameter(p_[size_t(which)]);
  if (config_.scale_embedding) p = scale(t, p, std::sqrt(double(config_.dim)));
  if (p_sinusoids_) p = add(t, p, t.constant(p_sinusoids_));
  if (p_norm_) p = p_norm_(t, p);
  const DropoutSite drop = t.dropout(config_.dropout, dropout_site(tower, which - 1, 8));
  return dropout(t, expand_batch(t, p, input.B, rows), drop, p_mask);
}

Encoded LunaEncoder::forward(Tape& t, const TowerInput& input, int tower, Wanted wanted) const {
  const bool dynamic = config_.dynamic_projection;
  const int64_t rows = dynamic ? std::min(config_.projection_length, input.N) : config_.projection_length;
  const Tensor x_mask = padding_mask(t, input.lengths, input.N);
  const Tensor p_mask = dynamic ? padding_mask(t, input.lengths, rows) : Tensor();
  Encoded state{embeddings_(t, input, x_mask, tower), start_p(t, 0, input, p_mask, tower, rows)};
  for (int64_t i = 0; i < config_.layers; ++i) {
    const LunaLayer& layer = layers_[size_t(config_.tie_layers ? 0 : i)];
    const Wanted of_layer = i + 1 < config_.layers ? Wanted::x : wanted;
    const bool x_wanted = of_layer != Wanted::p;
    const auto apply = [&layer, x_mask, p_mask, tower, i, of_layer, x_wanted](Tape& tape,
                                                                              const std::vector<Var>& in) {
      const Encoded out = layer(tape, in[0], in[1], x_mask, p_mask, tower, i, of_layer);
      std::vector<Var> results;
      if (x_wanted) results.push_back(out.x);
      if (out.p.v) results.push_back(out.p);
      return results;
    };
    const std::vector<Var> inputs{state.x, state.p};
    const std::vector<Var> out = config_.recompute ? t.checkpoint(apply, inputs) : apply(t, inputs);
    state.x = x_wanted ? out[0] : Var{};
    state.p = out.size() > size_t(x_wanted) ? out[size_t(x_wanted)] : Var{};
    if (!config_.contextual_p && i + 1 < config_.layers) state.p = start_p(t, i + 1, input, p_mask, tower, rows);
  }
  if (norm_x_ && state.x.v) state.x = norm_x_(t, state.x);
  if (norm_p_ && state.p.v) state.p = norm_p_(t, state.p);
  return state;
}

}  // namespace selene
