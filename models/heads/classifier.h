// A sequence classifier: encoder, pooling, head (fairseq models/luna_lra of 2021, models/lra of 2023). One or two
// documents an example.
#pragma once
#include <vector>

#include "models/encoder.h"

namespace selene {

class Classifier {
 public:
  /// Declares its parameters in `parameters` (which is not allocated yet). config.max_positions must be set.
  Classifier(const ModelConfig& config, const Symbols& symbols, int64_t classes, Parameters& parameters,
             Context& context, DType compute);

  struct Result {
    Var logits;          // [B, classes]
    Var representation;  // [B, D] of the first tower
    State first;         // last states of the first tower
  };
  /// everything: also computes what the logits don't need: x of the last layer where pooling reads P or one position.
  Result forward(Tape& t, const std::vector<TowerInput>& towers, bool everything = false) const;

  const ModelConfig& config() const { return config_; }
  int64_t classes() const { return classes_; }

 private:
  Classifier(const Builder& b, const Symbols& symbols, int64_t classes, Context& context, DType compute);
  Wanted wanted_by_pooling() const;
  Var pool(Tape& t, const State& encoded, const TowerInput& input) const;
  Var head(Tape& t, Var r) const;

  ModelConfig config_;
  int64_t classes_;
  Encoder encoder_;
  Site drop_;
  std::vector<Linear> hidden_;
  Linear output_;
};

}  // namespace selene
