// Tiny models with a batch, for tests: everything in a few kilobytes, in any element type.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "models/heads/classifier.h"

namespace selene::testing {

/// A small Luna: 2 layers, D 12, 3 heads, F 20, l 4, dropout everywhere.
ModelConfig small_luna();
/// The same sizes as a Transformer.
ModelConfig small_transformer();

struct NamedConfig {
  std::string name;
  ModelConfig config;
};
/// One configuration for each thing that changes what a model computes: norm order, tied matrices and layers, pack
/// heads, P of its own in each layer, poolings, heads, two towers, pixels, sinusoidal and no positions.
std::vector<NamedConfig> model_variants();

/// One batch on the host; all towers of an example are padded to the same length.
struct HostBatch {
  int64_t N;                     // padded length
  std::vector<int32_t> lengths;  // of each example
  std::vector<int32_t> labels;
  uint64_t seed = 3;  // of the tokens or pixels, which do not depend on N
};

class SmallModel {
 public:
  static constexpr int64_t kClasses = 5;
  static constexpr Symbols kSymbols{9, 1};
  static constexpr uint32_t kSeed = 17;
  explicit SmallModel(const ModelConfig& config, DType dtype = DType::f64, bool guard = false);

  /// Uploads one tower of a batch.
  TowerInput tower(const HostBatch& batch, int which);
  /// Logits [B, classes] and the gradients of the summed loss (label smoothing 0.1), segments gaps included.
  struct Result {
    double loss;
    std::vector<double> logits, gradients;
  };
  Result train_step(const HostBatch& batch);
  bool everything = false;  // argument of Classifier::forward
  /// Forward only in the given mode.
  std::vector<double> logits(const HostBatch& batch, Tape::Mode mode);
  double loss(const HostBatch& batch);

  Context context;
  Parameters parameters;
  std::unique_ptr<Classifier> classifier;

 private:
  Var forward(Tape& t, const HostBatch& batch);
  Var loss_of(Tape& t, const Var& logits, const HostBatch& batch);
  DType dtype_;
};

}  // namespace selene::testing
