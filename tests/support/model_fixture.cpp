#include "tests/support/model_fixture.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/philox.h"
#include "tests/support/op_case.h"

namespace selene::testing {

ModelConfig small_luna() {
  ModelConfig c;
  c.attention = "luna";
  c.layers = 2, c.dim = 12, c.heads = 3, c.ffn_dim = 20, c.own.at("luna.projection_length") = 4, c.max_positions = 20;
  c.dropout = 0.2, c.attention_dropout = 0.2, c.activation_dropout = 0.1, c.head_dropout = 0.1;
  c.head_dim = 10;
  return c;
}

ModelConfig small_transformer() {
  ModelConfig c = small_luna();
  c.attention = "full";
  return c;
}

std::vector<NamedConfig> model_variants() {
  std::vector<NamedConfig> all;
  const auto add = [&](const char* name, ModelConfig c, auto change) {
    change(c);
    all.push_back({name, c});
  };
  const ModelConfig luna = small_luna(), transformer = small_transformer();
  add("transformer", transformer, [](ModelConfig&) {});
  add("transformer pre", transformer, [](ModelConfig& c) { c.norm = "pre", c.activation = "gelu_tanh"; });
  add("transformer tied layers", transformer, [](ModelConfig& c) { c.tie_layers = true, c.pooling = "mean"; });
  add("transformer two towers", transformer, [](ModelConfig& c) { c.towers = 2, c.pooling = "real_mean"; });
  add("transformer pixels", transformer, [](ModelConfig& c) { c.input = "pixels", c.positions = "sinusoidal"; });
  ModelConfig efficient = transformer;
  efficient.attention = "efficient";
  add("efficient", efficient, [](ModelConfig&) {});
  add("efficient pre narrow", efficient,
      [](ModelConfig& c) { c.norm = "pre", c.attention_dim = 6, c.pooling = "mean"; });
  add("luna", luna, [](ModelConfig&) {});
  add("luna tied", luna, [](ModelConfig& c) { c.own.at("luna.tie_kv") = true, c.activation = "silu"; });
  add("luna pre", luna, [](ModelConfig& c) { c.norm = "pre", c.pooling = "real_mean", c.head = "linear"; });
  add("luna pre tied p", luna,
      [](ModelConfig& c) { c.norm = "pre", c.own.at("luna.tie_kv") = true, c.pooling = "p"; });
  add("luna p", luna,
      [](ModelConfig& c) { c.pooling = "p", c.head = "gelu", c.own.at("luna.projection_length") = 11; });
  add("luna own p", luna, [](ModelConfig& c) { c.own.at("luna.contextual_p") = false, c.pooling = "mean"; });
  add("luna own p pre", luna,
      [](ModelConfig& c) { c.own.at("luna.contextual_p") = false, c.norm = "pre", c.own.at("luna.tie_kv") = true; });
  add("luna tied layers", luna, [](ModelConfig& c) { c.tie_layers = true, c.head_layers = 2; });
  add("luna pack heads", luna,
      [](ModelConfig& c) { c.own.at("luna.pack_heads") = 2, c.own.at("luna.dynamic_projection") = false; });
  add("luna two towers", luna, [](ModelConfig& c) { c.towers = 2, c.tower_features = "four"; });
  add("luna pixels", luna, [](ModelConfig& c) { c.input = "pixels", c.pooling = "mean"; });
  add("luna sinusoidal", luna, [](ModelConfig& c) {
    c.positions = "sinusoidal", c.scale_embedding = true, c.init = "bert", c.activation = "tanh";
  });
  // Widths at which the layers that read one input are one product.
  const auto wide = [](ModelConfig& c) { c.dim = 64, c.heads = 4; };
  add("transformer wide", transformer, wide);
  add("luna wide", luna, wide);
  add("luna wide pre tied p", luna, [&](ModelConfig& c) {
    wide(c), c.norm = "pre", c.own.at("luna.tie_kv") = true, c.pooling = "p", c.attention_bias = false;
  });
  add("luna bare", luna, [](ModelConfig& c) { c.positions = "none", c.embedding_norm = false, c.norm = "pre"; });
  return all;
}

SmallModel::SmallModel(const ModelConfig& config, DType dtype, bool guard)
    : context({4 << 20, 16 << 20, 0}, nullptr, guard), dtype_(dtype) {
  classifier = std::make_unique<Classifier>(config, kSymbols, kClasses, parameters, context, dtype);
  parameters.allocate(context, dtype, true, 0, kSeed);
  set_test_step(context);
}

TowerInput SmallModel::tower(const HostBatch& batch, int which) {
  TowerInput in;
  in.B = int64_t(batch.lengths.size()), in.N = batch.N;
  in.lengths = context.tensor<int32_t>({in.B}, batch.lengths);
  in.longest = context.tensor<int32_t>({1}, {*std::max_element(batch.lengths.begin(), batch.lengths.end())});
  std::vector<int32_t> tokens(size_t(in.B * in.N), kSymbols.pad);
  std::vector<double> pixels(tokens.size());
  for (int64_t b = 0; b < in.B; ++b) {
    PhiloxStream random(batch.seed, uint64_t(1000 * which + b));
    for (int64_t n = 0; n < batch.lengths[size_t(b)]; ++n) {
      pixels[size_t(b * in.N + n)] = random.uniform();
      tokens[size_t(b * in.N + n)] = 2 + int32_t(random.below(uint32_t(kSymbols.count - 2)));
    }
  }
  if (classifier->config().input == "pixels") in.pixels = upload_doubles(context, {in.B, in.N}, dtype_, pixels);
  else in.tokens = context.tensor<int32_t>({in.B, in.N}, tokens);
  return in;
}

Var SmallModel::forward(Tape& t, const HostBatch& batch) {
  std::vector<TowerInput> towers;
  for (int64_t i = 0; i < classifier->config().towers; ++i) towers.push_back(tower(batch, int(i)));
  return classifier->forward(t, towers, everything).logits;
}

Var SmallModel::loss_of(Tape& t, const Var& logits, const HostBatch& batch) {
  const Tensor labels = context.tensor<int32_t>({int64_t(batch.labels.size())}, batch.labels);
  return cross_entropy(t, logits, labels, 0.1, -1, {});
}

SmallModel::Result SmallModel::train_step(const HostBatch& batch) {
  const Tensor& g = parameters.gradients();
  if (g.dtype() == DType::f64) run(context.stream(), Fill<double>{g.data<double>(), g.numel(), 0});
  else run(context.stream(), Fill<float>{g.data<float>(), g.numel(), 0});
  Tape t(context, &parameters, Tape::Mode::train);
  const Var logits = forward(t, batch), loss = loss_of(t, logits, batch);
  Result r{context.values<double>(loss.v)[0], download_doubles(context, logits.v), {}};
  t.backward(loss, upload_doubles(context, {1}, g.dtype(), {1}));
  r.gradients = download_doubles(context, g);
  return r;
}

std::vector<double> SmallModel::logits(const HostBatch& batch, Tape::Mode mode) {
  Tape t(context, &parameters, mode);
  return t.no_grad([&] { return download_doubles(context, forward(t, batch).v); });
}

double SmallModel::loss(const HostBatch& batch) {
  Tape t(context, &parameters, Tape::Mode::train);
  return t.no_grad([&] { return context.values<double>(loss_of(t, forward(t, batch), batch).v)[0]; });
}

}  // namespace selene::testing
