// Attention modules and encoder layers: full attention (group ops), Luna attention and Luna layers.
#include <cmath>
#include <string>

#include "autograd/with_dtype.h"
#include "models/registry.h"
#include "models/stack.h"
#include "tests/golden/session.h"

namespace selene::golden {
namespace {

/// The mechanism that config.attention names, with parameters called as in the reference's module.
std::unique_ptr<Attention> declare(Session& s, const ModelConfig& config) {
  return attention_named(config.attention).make(Builder{s.parameters, config, ""});
}

/// A linear layer among the declared parameters.
Linear named(const Session& s, const std::string& name) {
  Linear l;
  l.weight = s.parameters.find(name + ".weight"), l.bias = s.parameters.find(name + ".bias");
  return l;
}

/// The probabilities that fused attention never stores: softmax(scale q k^T), [B, H, Nq, Nk].
Var probabilities(Tape& t, const Var& q, const Var& k, int64_t heads, const Tensor& key_mask, bool causal) {
  const Var scores = matmul(t, split_heads(t, q, heads), split_heads(t, k, heads), true);
  return softmax(t, scale(t, scores, 1 / std::sqrt(double(q.dim(2) / heads))), key_mask, causal);
}

Var mean_over_heads(Tape& t, const Var& p) {
  const int64_t B = p.dim(0), H = p.dim(1), N = p.dim(2), M = p.dim(3);
  return reshape(t, mean_pool(t, reshape(t, p, {B, H, N * M}), {}, {}), {B, N, M});
}

ModelConfig module_config(const Case& c, const char* name) {
  ModelConfig config;
  config.attention = name, config.dim = c.integer("embed_dim"), config.heads = c.integer("num_heads");
  config.own.at("luna.pack_heads") = c.integer("num_pheads", 0),
  config.own.at("luna.tie_kv") = c.flag("tie_kv", false);
  config.attention_bias = c.flag("bias", true);
  return config;
}

void multihead_attention(Session& s) {
  const ModelConfig config = module_config(s.golden, "full");
  const auto attention = declare(s, config);
  s.load_parameters();
  Tape& t = s.tape();
  const Var x = s.leaf("in.query");
  View view;
  view.self = !s.golden.has("in.context");
  view.context = view.self ? x : s.leaf("in.context");
  view.padding = s.optional("in.key_padding_mask"), view.causal = s.golden.flag("causal");
  s.output("y", attention->mix(t, x, view));
  const Var p = probabilities(t, named(s, "q_proj")(t, x), named(s, "k_proj")(t, view.context), config.heads,
                              view.padding, view.causal);
  s.output("attn_weights_mean", mean_over_heads(t, p));
  s.backward();
}

/// One position at a time; keys and values of the past wait in the state arena.
Tensor step_by_step(Session& s, int64_t heads, const Tensor& x) {
  Tape& t = s.tape();
  const int64_t B = x.dim(0), N = x.dim(1), D = x.dim(2), K = D / heads;
  const Linear q = named(s, "q_proj"), k = named(s, "k_proj"), v = named(s, "v_proj"), out = named(s, "out_proj");
  const auto cache = [&](const char* what) { return s.context.make(s.context.state(), {B, N, D}, DType::f32, what); };
  const Tensor keys = cache("keys"), values = cache("values"), result = cache("result");
  for (int64_t n = 0; n < N; ++n) {
    const Tensor at = t.empty({B, 1, D}, DType::f32);
    copy_strided(t.stream(), x.slice(1, n, n + 1), at, false);
    const Var now = t.constant(at);
    copy_strided(t.stream(), k(t, now).v, keys.slice(1, n, n + 1), false);
    copy_strided(t.stream(), v(t, now).v, values.slice(1, n, n + 1), false);
    const Var y = attention(t, q(t, now), t.constant(keys.slice(1, 0, n + 1)), t.constant(values.slice(1, 0, n + 1)),
                            heads, {}, 1 / std::sqrt(double(K)), false, {});
    copy_strided(t.stream(), out(t, y).v, result.slice(1, n, n + 1), false);
  }
  return result;
}

void incremental_attention(Session& s) {
  const ModelConfig config = module_config(s.golden, "full");
  const auto attention = declare(s, config);
  s.load_parameters();
  Tape& t = s.tape();
  const Var x = s.leaf("in.query");
  View view;
  view.context = x, view.causal = view.self = true;
  s.output("full", attention->mix(t, x, view));
  s.expect("out.step", t.no_grad([&] { return step_by_step(s, config.heads, x.v); }));
  s.backward();
}

void luna_attention(Session& s) {
  const Case& c = s.golden;
  const ModelConfig config = module_config(c, "luna");
  const auto attention = declare(s, config);
  s.load_parameters();
  Tape& t = s.tape();
  const Var x = s.leaf("in.query"), p = s.leaf("in.pquery");
  View view;
  view.self = c.flag("self_attention");
  view.context = view.self ? x : s.leaf("in.context");
  view.padding = s.optional("in.context_padding_mask");
  view.packed_padding = s.optional("in.pcontext_padding_mask");
  view.packed = attention->pack(t, p, view);
  s.output("pcontext", view.packed);
  s.output("attn", attention->mix(t, x, view));
  if (c.has("out.unpack_weights"))
    s.output("unpack_weights",
             probabilities(t, named(s, "q_proj")(t, x),
                           named(s, config.own.get<bool>("luna.tie_kv") ? "c_proj" : "k_proj")(t, view.packed),
                           config.heads, view.packed_padding, false));
  s.backward();
}

ModelConfig layer_config(const Case& c) {
  ModelConfig config;
  config.dim = c.integer("embed_dim"), config.heads = c.integer("num_heads");
  config.own.at("luna.pack_heads") = c.integer("num_pheads"), config.ffn_dim = c.integer("ffn");
  config.own.at("luna.tie_kv") = c.flag("tie_kv"), config.tie_layers = c.flag("tie_layer_weights", false);
  config.layers = c.integer("layers", 1);
  config.norm = c.flag("normalize_before") ? "pre" : "post";
  config.activation = c.text("activation") == "gelu (erf)" ? "gelu" : c.text("activation");
  return config;
}

Masks masks_of(Session& s, const char* padding, const char* packed_padding) {
  return {.padding = s.optional(padding), .packed_padding = s.optional(packed_padding)};
}

void encoder_layer(Session& s) {
  const ModelConfig config = layer_config(s.golden);
  const Layer layer(Builder{s.parameters, config, ""}, attention_named("luna"), true);
  s.load_parameters();
  const State y = layer(s.tape(), {s.leaf("in.x"), s.leaf("in.px")},
                        masks_of(s, "in.encoder_padding_mask", "in.encoder_projected_padding_mask"), {}, Wanted::x);
  s.output("x", y.x), s.output("px", y.p);
  s.backward();
}

void encoder_stack(Session& s) {
  const ModelConfig config = layer_config(s.golden);
  std::vector<Layer> layers;
  for (int64_t i = 0; i < (config.tie_layers ? 1 : config.layers); ++i)
    layers.emplace_back(Builder{s.parameters, config, ""}.layer(i), attention_named("luna"), true);
  s.load_parameters();
  const Masks masks = masks_of(s, "in.x_padding_mask", "in.px_padding_mask");
  State state{s.leaf("in.x"), s.leaf("in.px")};
  for (int64_t i = 0; i < config.layers; ++i) {
    state = layers[size_t(config.tie_layers ? 0 : i)](s.tape(), state, masks, {.layer = i}, Wanted::x);
    const std::string number = std::to_string(i + 1);
    s.output("x" + number, state.x), s.output("px" + number, state.p);
  }
  s.backward();
}

constexpr Row kRows[] = {
    {"ops", "ops_mha_incremental", incremental_attention}, {"ops", "ops_mha_*", multihead_attention},
    {"luna_attention", "luna_mha_*", luna_attention},      {"luna_layers", "luna_enc_layer_*", encoder_layer},
    {"luna_layers", "luna_enc_stack*", encoder_stack},
};

}  // namespace

std::span<const Row> attention_rows() { return kRows; }

}  // namespace selene::golden
