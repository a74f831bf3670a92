#include "models/blocks/linear.h"

#include <cmath>

namespace selene {
namespace {

constexpr double kBertDeviation = 0.02;

Init weight_init(const Builder& b, int64_t in, int64_t out, Linear::Start start) {
  if (b.bert()) return {Init::normal, kBertDeviation};
  if (start == Linear::Start::plain) return {Init::uniform, 1 / std::sqrt(double(in))};
  const double gain = start == Linear::Start::projection ? std::sqrt(0.5) : 1;
  return {Init::uniform, gain * std::sqrt(6.0 / double(in + out))};
}

Init bias_init(const Builder& b, int64_t in, Linear::Start start) {
  if (b.bert() || start == Linear::Start::output) return {};
  return {Init::uniform, 1 / std::sqrt(double(in))};
}

}  // namespace

Linear projection(const Builder& b, const std::string& name) {
  const ModelConfig& c = b.config;
  const int64_t width = c.attention_dim ? c.attention_dim : c.dim;
  return Linear(b, name, c.dim, width, c.attention_bias, Linear::Start::projection);
}

Linear::Linear(const Builder& b, const std::string& name, int64_t in, int64_t out, bool with_bias, Start start)
    : weight(b.add(name + ".weight", {out, in}, weight_init(b, in, out, start))),
      bias(with_bias ? b.add(name + ".bias", {out}, bias_init(b, in, start)) : -1) {}

Var Linear::operator()(Tape& t, const Var& x) const {
  if (bias < 0) return linear(t, x, t.parameter(weight), nullptr);
  const Var b = t.parameter(bias);
  return linear(t, x, t.parameter(weight), &b);
}

void Linear::no_gradient_path(Parameters& p) const {
  p.no_gradient_path(weight);
  if (bias >= 0) p.no_gradient_path(bias);
}

void side_by_side(const Builder& b, const std::vector<const Linear*>& layers) {
  std::vector<int> order;
  for (const Linear* l : layers) order.push_back(l->weight);
  for (const Linear* l : layers)
    if (l->bias >= 0) order.push_back(l->bias);
  b.parameters.arrange(order);
}

std::vector<Var> together(Tape& t, const Var& x, const std::vector<const Linear*>& layers) {
  std::vector<int> weights, biases;
  for (const Linear* l : layers) {
    weights.push_back(l->weight);
    if (l->bias >= 0) biases.push_back(l->bias);
  }
  const Var W = t.neighbours(weights), b = biases.empty() ? Var{} : t.neighbours(biases);
  if (layers.size() > 1 && W.v && (biases.empty() || b.v))
    return t.split(linear(t, x, W, b.v ? &b : nullptr), int(layers.size()));
  std::vector<Var> results;
  for (const Linear* l : layers) results.push_back((*l)(t, x));
  return results;
}

Projections::Projections(const Builder& b)
    : q(projection(b, "q_proj")),
      k(projection(b, "k_proj")),
      v(projection(b, "v_proj")),
      out(b, "out_proj", b.config.attention_dim ? b.config.attention_dim : b.config.dim, b.config.dim,
          b.config.attention_bias, Linear::Start::output) {}

Var split_heads(Tape& t, const Var& x, int64_t heads) {
  return transpose(t, reshape(t, x, {x.dim(0), x.dim(1), heads, x.dim(2) / heads}), 1, 2);
}

Var merge_heads(Tape& t, const Var& x) {
  return reshape(t, transpose(t, x, 1, 2), {x.dim(0), x.dim(2), x.dim(1) * x.dim(3)});
}

}  // namespace selene
