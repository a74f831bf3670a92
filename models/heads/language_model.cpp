#include "models/heads/language_model.h"

#include <cmath>

namespace selene {

LanguageModel::LanguageModel(const ModelConfig& config, const Symbols& symbols, Parameters& parameters,
                             Context& context, DType compute)
    : config_(config),
      symbols_(symbols.count),
      encoder_(Builder{parameters, config_, "decoder."}, symbols, context, compute, true) {
  if (config_.tie_output) return;
  const Builder b{parameters, config_, "decoder."};
  output_ = b.add("output_projection.weight", {symbols_, config_.dim},
                  {Init::normal, b.bert() ? 0.02 : 1 / std::sqrt(double(config_.dim))});
}

Var LanguageModel::logits(Tape& t, const Tensor& tokens, const Tensor& lengths) const {
  TowerInput input;
  input.tokens = tokens, input.lengths = lengths, input.B = tokens.dim(0), input.N = tokens.dim(1);
  const Var x = encoder_.forward(t, input, 0, Wanted::x).x;
  return linear(t, x, output_ < 0 ? encoder_.embeddings().table(t) : t.parameter(output_), nullptr);
}

Var LanguageModel::loss(Tape& t, const Tensor& tokens, const Tensor& lengths, const Tensor& targets,
                        double label_smoothing, int32_t ignore, const Tensor& sums) const {
  const int64_t R = tokens.numel();
  const Var scores = reshape(t, logits(t, tokens, lengths), {R, symbols_});
  return cross_entropy(t, scores, targets.reshape({R}), label_smoothing, ignore, sums);
}

}  // namespace selene
