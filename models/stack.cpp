#include "models/stack.h"

namespace selene {
namespace {

/// x[B, N, D] -> [B, 1, D].
Var first_position(Tape& t, const Var& x) { return reshape(t, select_position(t, x, 0), {x.dim(0), 1, x.dim(2)}); }

}  // namespace

Layer::Layer(const Builder& b, const Mechanism& mechanism, bool p_is_read)
    : pre_(b.config.norm == "pre"),
      has_p_(mechanism.packed),
      weights_(b.site("attention weights", b.config.attention_dropout)),
      branch_(b.site("attention branch", b.config.dropout)),
      hidden_(b.site("feed-forward hidden", b.config.activation_dropout)),
      feed_forward_branch_(b.site("feed-forward branch", b.config.dropout)),
      p_branch_(b.site("P branch", b.config.dropout)),
      attention_(mechanism.make(b.inside("self_attn"))),
      norm_x_(b, "self_attn_layer_norm", b.config.dim),
      norm_p_(has_p_ && (p_is_read || pre_) ? Norm(b, "self_atten_proj_layer_norm", b.config.dim) : Norm()),
      feed_forward_(b, b.config.dim, b.config.ffn_dim),
      norm_f_(b, "final_layer_norm", b.config.dim) {}

State Layer::operator()(Tape& t, const State& in, const Masks& masks, Where at, Wanted wanted) const {
  const Var xn = pre_ ? norm_x_(t, in.x) : in.x, pn = pre_ && has_p_ ? norm_p_(t, in.p) : in.p;
  // Taken before the pack: on the way back its row is then added to a gradient that is there already.
  const bool first = wanted == Wanted::first;
  const Var query = first ? first_position(t, xn) : xn;
  const Var residual = !pre_ ? query : first ? first_position(t, in.x) : in.x;
  View view{masks, xn, {}, at, weights_(t, at), wanted == Wanted::x};
  State out;
  if (has_p_) {
    view.packed = attention_->pack(t, pn, view);
    if (pre_) out.p = dropout_add(t, view.packed, in.p, p_branch_(t, at));
    else if (norm_p_) out.p = norm_p_(t, view.packed, in.p, p_branch_(t, at));
    if (wanted == Wanted::p) return out;
  }
  const DropoutSite branch = branch_(t, at), hidden = hidden_(t, at), last = feed_forward_branch_(t, at);
  if (pre_) {
    const Var x1 = dropout_add(t, attention_->mix(t, query, view), residual, branch);
    out.x = dropout_add(t, feed_forward_(t, norm_f_(t, x1), hidden), x1, last);
  } else {
    const Var x1 = norm_x_(t, attention_->mix(t, query, view), residual, branch);
    out.x = norm_f_(t, feed_forward_(t, x1, hidden), x1, last);
  }
  return out;
}

void Layer::declare_unread(Parameters& parameters, bool reads_p) const {
  if (!reads_p) {
    if (norm_p_ && !pre_) norm_p_.no_gradient_path(parameters);
    return;
  }
  attention_->leave_out_mix(parameters);
  feed_forward_.fc1.no_gradient_path(parameters), feed_forward_.fc2.no_gradient_path(parameters);
  norm_f_.no_gradient_path(parameters);
  if (!pre_) norm_x_.no_gradient_path(parameters);
}

Stack::Stack(const Builder& b, const Mechanism& mechanism, bool reads_p)
    : count_(b.config.layers), recompute_(b.config.recompute == "layers") {
  const int64_t own = b.config.tie_layers ? 1 : count_;
  const bool contextual = mechanism.packed && mechanism.packed(b.config).contextual;
  for (int64_t i = 0; i < own; ++i)
    layers_.emplace_back(b.layer(i), mechanism, contextual || (i + 1 == own && reads_p));
  if (b.config.norm == "pre") {
    norm_x_ = Norm(b, "layer_norm", b.config.dim);
    if (reads_p) norm_p_ = Norm(b, "proj_layer_norm", b.config.dim), norm_x_.no_gradient_path(b.parameters);
  }
  // With tied layers the earlier applications of the same parameters do reach the loss.
  if (own == count_) layers_.back().declare_unread(b.parameters, reads_p);
}

State Stack::forward(Tape& t, State state, const Masks& masks, int tower, Wanted wanted,
                     const std::function<Var(int64_t)>& p_of_layer) const {
  for (int64_t i = 0; i < count_; ++i) {
    const Layer& layer = layers_[size_t(i) % layers_.size()];
    const Wanted of_layer = i + 1 < count_ ? Wanted::x : wanted;
    const bool has_x = of_layer != Wanted::p;
    const auto apply = [&layer, masks, at = Where{tower, i}, of_layer](Tape& tape, const std::vector<Var>& in) {
      const State out = layer(tape, {in[0], in.size() > 1 ? in[1] : Var{}}, masks, at, of_layer);
      std::vector<Var> results;
      if (out.x.v) results.push_back(out.x);
      if (out.p.v) results.push_back(out.p);
      return results;
    };
    std::vector<Var> inputs{state.x};
    if (state.p.v) inputs.push_back(state.p);
    const std::vector<Var> out = recompute_ ? t.checkpoint(apply, inputs) : apply(t, inputs);
    state = {has_x ? out[0] : Var{}, out.size() > size_t(has_x) ? out[size_t(has_x)] : Var{}};
    if (p_of_layer && i + 1 < count_) state.p = p_of_layer(i + 1);
  }
  if (norm_x_ && state.x.v) state.x = norm_x_(t, state.x);
  if (norm_p_ && state.p.v) state.p = norm_p_(t, state.p);
  return state;
}

}  // namespace selene
