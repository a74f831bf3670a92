// Whole classifiers, and short training runs of them. Two generations of the reference (tests/golden/README.md):
// cases lra_* (2021) and lra23_* (2023).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>

#include "kernels/error.h"
#include "models/heads/classifier.h"
#include "tests/golden/session.h"
#include "train/step/optimizer.h"
#include "train/step/schedule.h"

namespace selene::golden {
namespace {

bool is_2023(const Case& c) { return c.group == "lra23_models"; }

std::string head_of(const Case& c) {
  if (!is_2023(c)) return "hidden";
  return c.flag("pre_logits") ? "gelu" : "linear";
}

std::string pooling_of(const Case& c) {
  if (c.flag("use_p", false)) return "p";
  const std::string& kind = c.text("sen_rep_type");
  if (kind == "cls") return kind;
  if (kind == "mp") return is_2023(c) ? "real_mean" : "mean";
  throw Error(fmt::format("hyper.sen_rep_type is '{}', wanted cls or mp", kind));
}

bool scales_embedding(const Case& c) {
  const double scale = c.number("embed_scale"), root = std::sqrt(c.number("embed_dim"));
  if (scale != 1 && std::abs(scale - root) > 1e-9)
    throw Error(fmt::format("hyper.embed_scale is {}, wanted 1 or {}", scale, root));
  return scale != 1;
}

ModelConfig config_of(const Case& c) {
  ModelConfig m;
  m.attention = c.text("layer_type") == "luna" ? "luna" : "full",
  m.input = c.text("input") == "image" ? "pixels" : "tokens";
  m.layers = c.integer("layers"), m.dim = c.integer("embed_dim"), m.heads = c.integer("num_heads");
  m.ffn_dim = c.integer("ffn"), m.own.at("luna.pack_heads") = c.integer("num_pheads", 0);
  m.own.at("luna.projection_length") = c.integer("projection_length", 16);
  m.own.at("luna.dynamic_projection") = c.flag("dynamic_projection", true);
  m.own.at("luna.tie_kv") = c.flag("tie_kv", false), m.tie_layers = c.flag("tie_layer_weights");
  m.norm = c.flag("normalize_before") ? "pre" : "post";
  m.activation = c.text("activation") == "gelu (erf)" ? "gelu" : c.text("activation");
  m.positions = c.text("positions"), m.max_positions = c.integer("max_positions");
  m.scale_embedding = scales_embedding(c), m.embedding_norm = c.flag("embedding_layer_norm");
  m.pooling = pooling_of(c), m.head = head_of(c);
  m.head_layers = c.integer("classifier_layers", 1), m.head_dim = c.integer("classifier_out_dim", 0);
  m.towers = c.has("in.src_tokens1") ? 2 : 1;
  m.tower_features = is_2023(c) ? "four" : "concat";
  return m;
}

Symbols symbols_of(const Case& c) { return {c.integer("vocab", 0), int32_t(c.integer("padding_idx", -1))}; }

/// The document `name` without its first `skipped` symbols. Lengths from `lengths`, or the symbols that are not
/// padding.
TowerInput tokens_of(Session& s, const std::string& name, const std::string& lengths, int64_t skipped) {
  const std::vector<int64_t> all = s.integers(name);
  const std::vector<int64_t>& shape = s.golden.tensors.at(name).shape;
  const int64_t pad = s.golden.integer("padding_idx");
  TowerInput in;
  in.B = shape[0], in.N = shape[1] - skipped;
  std::vector<int32_t> tokens, counts;
  for (int64_t b = 0; b < in.B; ++b) {
    const auto row = all.begin() + b * shape[1] + skipped;
    tokens.insert(tokens.end(), row, row + in.N);
    counts.push_back(int32_t(in.N - std::count(row, row + in.N, pad)));
  }
  in.tokens = s.context.tensor<int32_t>({in.B, in.N}, tokens);
  in.lengths = s.golden.has(lengths) ? s.tensor(lengths) : s.context.tensor<int32_t>({in.B}, counts);
  return in;
}

TowerInput pixels_of(Session& s, const std::string& name, const std::string& lengths) {
  TowerInput in;
  const Var pixels = s.leaf(name);
  in.pixels = pixels.v, in.pixels_slot = pixels.slot, in.lengths = s.tensor(lengths);
  in.B = in.pixels.dim(0), in.N = in.pixels.dim(1);
  return in;
}

/// Document `tower` ("", "1"; training: ".0", ".1"). The 2021 code drops the CLS of the first document only, before P
/// pooling.
TowerInput input_of(Session& s, const std::string& tower, bool drops_cls) {
  const std::string name = "in.src_tokens" + tower, lengths = "in.src_lengths" + tower;
  TowerInput in = s.golden.text("input") == "image" ? pixels_of(s, name, lengths)
                                                    : tokens_of(s, name, lengths, drops_cls ? 1 : 0);
  const std::vector<int32_t> counts = s.context.values<int32_t>(in.lengths);
  in.longest = s.context.tensor<int32_t>({1}, {*std::max_element(counts.begin(), counts.end())});
  return in;
}

bool drops_cls(const Case& c) { return !is_2023(c) && c.flag("use_p", false); }

void classifier(Session& s) {
  const Case& c = s.golden;
  const Classifier model(config_of(c), symbols_of(c), c.integer("classes"), s.parameters, s.context, DType::f32);
  s.load_parameters();
  Tape& t = s.tape();
  std::vector<TowerInput> towers{input_of(s, "", drops_cls(c))};
  if (model.config().towers == 2) towers.push_back(input_of(s, "1", false));
  const Classifier::Result y = model.forward(t, towers, true);
  Tensor x = y.first.x.v;
  if (is_2023(c)) {  // the later code zeroes padded rows of its result; no logit depends on it
    const Tensor padding = padding_mask(t, towers[0].lengths, towers[0].N);
    x = t.no_grad([&] { return dropout(t, y.first.x, {}, padding); }).v;
  }
  s.expect("out.x", x);
  if (c.has("out.px")) s.expect("out.px", y.first.p.v);
  s.expect("out.sentence_rep", y.representation.v);
  s.expect("out.logits", t.no_grad([&] { return model.forward(t, towers); }).logits.v);  // as in training
  const Tensor sums = t.zeros({4}, DType::f64, "sums");
  const Var loss = cross_entropy(t, y.logits, s.tensor("in.target"), 0, -1, sums);
  s.expect("out.ncorrect", sums.slice(0, 3, 4));
  s.backward(loss, s.context.values<double>(sums)[0]);
}

/// "inverse_sqrt lr 5e-3 warmup 3 init 1e-7"
std::pair<train::ScheduleConfig, double> schedule_of(const std::string& text) {
  train::ScheduleConfig schedule;
  std::istringstream words(text);
  std::string key;
  double value = 0, peak = 0;
  for (words >> schedule.name; words >> key >> value;) {
    if (key == "lr") peak = value;
    else if (key == "warmup") schedule.warmup = int64_t(value);
    else if (key == "init") schedule.init_lr = value;
    else throw Error(fmt::format("hyper.schedule is '{}', wanted lr, warmup and init in it", text));
  }
  return {schedule, peak};
}

train::OptimConfig optimizer_of(const Case& c) {
  if (c.text("optimizer") != "fairseq adam")
    throw Error(fmt::format("hyper.optimizer is '{}', wanted fairseq adam", c.text("optimizer")));
  train::OptimConfig optim;
  optim.beta1 = c.numbers("betas").at(0), optim.beta2 = c.numbers("betas").at(1);
  optim.eps = c.number("eps"), optim.weight_decay = c.number("weight_decay");
  optim.clip_norm = c.number("clip_norm");
  return optim;
}

void training(Session& s) {
  const Case& c = s.golden;
  const Classifier model(config_of(c), symbols_of(c), c.integer("classes"), s.parameters, s.context, DType::f32);
  s.load_parameters("buf.init.", false);
  const auto [schedule, peak] = schedule_of(c.text("schedule"));
  train::Optimizer optimizer(optimizer_of(c), {}, s.parameters, s.context);
  train::GradientTree gradients(s.parameters, s.context, {}, 1);
  const int64_t steps = c.integer("steps");
  std::vector<double> losses, rates, norms;
  for (int64_t step = 0; step < steps; ++step) {
    const std::string batch = fmt::format(".{}", step % c.integer("batches"));
    Tape t(s.context, &s.parameters, Tape::Mode::evaluate);
    gradients.begin();
    const TowerInput in = input_of(s, batch, drops_cls(c));
    const Var loss = cross_entropy(t, model.forward(t, {in}).logits, s.tensor("in.target" + batch), 0, -1, {});
    losses.push_back(s.context.values<double>(loss.v)[0] / double(in.B));
    t.backward(loss, s.context.tensor<float>({1}, {1.0f}));
    gradients.end(0);
    rates.push_back(train::learning_rate(schedule, peak, steps, step));
    StepScalars scalars{};
    optimizer.scalars(scalars, step, rates.back(), double(in.B));
    s.context.set_step(scalars);
    optimizer.step();
    norms.push_back(optimizer.norm());
  }
  s.expect("out.losses", {steps}, losses), s.expect("out.lr", {steps}, rates);
  if (c.has("out.grad_norms")) s.expect("out.grad_norms", {steps}, norms);
  for (int i = 0; i < int(s.parameters.count()); ++i)
    s.expect("out.final." + s.parameters[i].name, s.parameters.master(i));
}

constexpr Row kRows[] = {
    {"luna_models", "lra_*", classifier},
    {"lra23_models", "lra23_*", classifier},
    {"transformer_models", "lra_*", classifier},
    {"train", "train_lra_*", training},
};

}  // namespace

std::span<const Row> classifier_rows() { return kRows; }

}  // namespace selene::golden
