#include "models/heads/classifier.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace selene {

Classifier::Classifier(const ModelConfig& config, const Symbols& symbols, int64_t classes, Parameters& parameters,
                       Context& context, DType compute)
    : Classifier(Builder{parameters, config, ""}, symbols, classes, context, compute) {}

Classifier::Classifier(const Builder& b, const Symbols& symbols, int64_t classes, Context& context, DType compute)
    : config_(b.config),
      classes_(classes),
      encoder_(b.inside("encoder.encoder"), symbols, context, compute),
      drop_(b.site("head", config_.head_dropout)) {
  int64_t width = config_.dim;
  if (config_.towers == 2) width *= config_.tower_features == "four" ? 4 : 2;
  const int64_t hidden = config_.head_dim ? config_.head_dim : config_.head == "gelu" ? config_.dim : 2 * config_.dim;
  const int64_t count = config_.head == "linear" ? 0 : config_.head_layers;
  for (int64_t i = 0; i < count; ++i) {
    hidden_.emplace_back(b, (config_.head == "gelu" ? "pre_logits." : "classifier.") + std::to_string(i), width,
                         hidden);
    width = hidden;
  }
  output_ = Linear(b, "sentence_projection_layer", width, classes, false);
}

Var Classifier::pool(Tape& t, const State& encoded, const TowerInput& input) const {
  if (config_.pooling == "p") return mean_pool(t, encoded.p, {}, input.longest);
  if (config_.pooling == "mean") return mean_pool(t, encoded.x, {}, input.longest);
  if (config_.pooling == "real_mean") return mean_pool(t, encoded.x, input.lengths, {});
  return select_position(t, encoded.x, 0);
}

Wanted Classifier::wanted_by_pooling() const {
  return config_.pooling == "p" ? Wanted::p : config_.pooling == "cls" ? Wanted::first : Wanted::x;
}

// The three heads differ in their hidden layers only.
Var Classifier::head(Tape& t, Var r) const {
  const Activation f = config_.head == "gelu" ? Activation::gelu : Activation::relu;
  r = dropout(t, r, drop_(t, {}), {});
  for (const Linear& layer : hidden_) r = activate(t, layer(t, r), f, 0);
  return output_(t, r);
}

Classifier::Result Classifier::forward(Tape& t, const std::vector<TowerInput>& towers, bool everything) const {
  if (int64_t(towers.size()) != config_.towers)
    throw Error(fmt::format("classifier: the batch has {} documents an example, the model wants {}", towers.size(),
                            config_.towers));
  Result result;
  std::vector<Var> pooled;
  for (size_t i = 0; i < towers.size(); ++i) {
    const State encoded = encoder_.forward(t, towers[i], int(i), everything ? Wanted::x : wanted_by_pooling());
    pooled.push_back(pool(t, encoded, towers[i]));
    if (i == 0) result.first = encoded;
  }
  result.representation = pooled[0];
  Var r = pooled[0];
  if (config_.towers == 2 && config_.tower_features == "concat")
    r = concat(t, pooled[1], pooled[0]);  // the second document first, as in the Luna release
  else if (config_.towers == 2)
    r = concat(t, concat(t, concat(t, pooled[0], pooled[1]), multiply(t, pooled[0], pooled[1])),
               subtract(t, pooled[0], pooled[1]));
  result.logits = head(t, r);
  return result;
}

}  // namespace selene
