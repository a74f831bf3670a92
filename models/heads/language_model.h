// A causal language model: encoder without a look ahead, output matrix (fairseq transformer_lm.py).
#pragma once
#include "models/encoder.h"

namespace selene {

class LanguageModel {
 public:
  /// Declares its parameters in `parameters` (which is not allocated yet). config.max_positions must be set. Error
  /// for a mechanism without a causal form.
  LanguageModel(const ModelConfig& config, const Symbols& symbols, Parameters& parameters, Context& context,
                DType compute);

  /// Scores of the symbol after each position, [B, N, V]; tokens i32[B, N], lengths i32[B] positions that are not
  /// padding.
  Var logits(Tape& t, const Tensor& tokens, const Tensor& lengths) const;
  /// Summed cross-entropy (f64[1]) of targets i32[B, N], those that are `ignore` left out; `sums` as in
  /// cross_entropy.
  Var loss(Tape& t, const Tensor& tokens, const Tensor& lengths, const Tensor& targets, double label_smoothing,
           int32_t ignore, const Tensor& sums) const;

  const ModelConfig& config() const { return config_; }

 private:
  ModelConfig config_;
  int64_t symbols_;
  Encoder encoder_;
  int output_ = -1;  // [V, D]; -1: the token table
};

}  // namespace selene
