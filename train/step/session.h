// A model on a device, and how a batch goes through it: what the trainer, the evaluator and the benchmark share.
#pragma once
#include <memory>
#include <vector>

#include "data/batch.h"
#include "models/heads/classifier.h"
#include "train/recipe/recipe.h"
#include "train/step/optimizer.h"

namespace selene::train {

/// What must be known besides the recipe to build the model.
struct ModelSize {
  Symbols symbols;
  int64_t classes = 0;
  int64_t max_positions = 0;  // rows of the position table where the recipe leaves it open
};

/// A batch without contents, for planning: B rows of N tokens.
data::Batch shape_batch(int64_t B, int64_t N, const ModelConfig& model);

class Session {
 public:
  /// Builds the model in `context` (which may be dry) and starts its parameters from the recipe's seed.
  Session(const Recipe& recipe, const ModelSize& size, std::unique_ptr<Context> context, bool training);
  ~Session();

  /// Exact bytes that training (or only evaluating) with batches of these shapes needs on a device (null: the CPU),
  /// found by running them dry. With `largest`: the largest tensors of the moment that needs most.
  static MemoryPlan plan(const Recipe& recipe, const ModelSize& size, const std::vector<data::Batch>& shapes,
                         bool training, const Backend* module = nullptr, std::vector<std::string>* largest = nullptr);

  /// Writes the per-step scalars of micro-batch `micro` (0 .. accumulation - 1) of the update after `finished` ones.
  void set_step(int64_t finished, int64_t micro, double sample_size);
  /// One micro-batch: zeroes the gradient, forward, backward, into the tree. Adds to loss_sums(). On the first call
  /// it checks that exactly the declared parameters got no gradient. Reads nothing back.
  void micro_batch(const data::Batch& batch, int64_t micro);
  /// The same from inputs that are in device memory already: what a captured step consists of.
  void micro_batch(const std::vector<TowerInput>& towers, const Tensor& labels, int64_t micro);
  /// Forward in evaluation mode; returns the logits [B, classes] in host memory and adds to loss_sums().
  std::vector<float> evaluate(const data::Batch& batch);

  /// Copies a batch into the step arena.
  std::vector<TowerInput> upload(const data::Batch& batch);
  Tensor upload_labels(const data::Batch& batch);

  /// Loss sums since the last reset; reading waits.
  LossSums loss_sums();
  void set_loss_sums(const LossSums& sums);

  Context& context() { return *context_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  Optimizer& optimizer() { return *optimizer_; }
  const Classifier& classifier() const { return *classifier_; }
  const Recipe& recipe() const { return recipe_; }

 private:
  void check_gradients(const Tape& tape);
  void run_dry(const std::vector<data::Batch>& shapes, bool training);
  Recipe recipe_;
  std::unique_ptr<Context> context_;
  Parameters parameters_;
  std::unique_ptr<Classifier> classifier_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<GradientTree> tree_;
  Tensor sums_;
  bool checked_ = false;
};

/// A plan with an eighth more for a step: batches of lengths between the planned ones have blocks of other sizes,
/// which may leave larger gaps.
MemoryPlan with_room(MemoryPlan plan);

/// "fp32" -> f32, "bf16" -> bf16, "fp16" -> f16.
DType compute_type(const std::string& precision);
/// Error where a device (null: the CPU) does not compute in the recipe's precision: fp16 needs a GPU, bf16 one of
/// compute capability 8.0 or the CPU.
void need_precision(const std::string& precision, const Backend* module);
/// need_precision, and an error for a head size that the kernels of a module don't take.
void need_device(const Recipe& recipe, const Backend* module);

}  // namespace selene::train
