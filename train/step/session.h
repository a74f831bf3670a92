// A model on a device, and how a batch goes through it: what the trainer, the evaluator and the benchmark share.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "data/batch.h"
#include "kernels/softmax.h"
#include "train/parallel/group.h"
#include "train/recipe/recipe.h"
#include "train/step/optimizer.h"
#include "train/tasks/task.h"

namespace selene::train {

class Session {
 public:
  /// Builds the task's model in `context` (which may be dry) and starts its parameters from the recipe's seed. The
  /// task is borrowed. recompute false: whatever train.recompute says, nothing is computed twice.
  Session(const Task& task, std::unique_ptr<Context> context, bool training, Group group = {}, bool recompute = true);
  ~Session();

  /// Writes the per-step scalars of micro-batch `micro` (0 .. accumulation - 1) of the update after `finished` ones.
  void set_step(int64_t finished, int64_t micro, double sample_size);
  /// One micro-batch: zeroes the gradient, forward, backward, into the tree. Adds to loss_sums(). On the first call
  /// it checks that exactly the declared parameters got no gradient. Reads nothing back.
  void micro_batch(const data::Batch& batch, int64_t micro);
  /// The same from inputs that are in device memory already: what a captured step consists of.
  void micro_batch(const DeviceBatch& batch, int64_t micro);
  /// Forward in evaluation mode; adds to loss_sums(). `look` (may be empty) sees the model's outputs, which are gone
  /// afterwards.
  void evaluate(const data::Batch& batch, const std::function<void(const Tensor& outputs)>& look = {});

  /// Copies a batch into the step arena.
  DeviceBatch upload(const data::Batch& batch);

  /// Loss sums since the last reset; reading waits.
  LossSums loss_sums();
  void set_loss_sums(const LossSums& sums);

  Context& context() { return *context_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  Optimizer& optimizer() { return *optimizer_; }
  const Task& task() const { return task_; }
  const Recipe& recipe() const { return task_.recipe(); }

 private:
  void check_gradients(const Tape& tape);
  const Task& task_;
  const Group group_;
  std::unique_ptr<Context> context_;
  Parameters parameters_;
  std::unique_ptr<TaskModel> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<GradientTree> tree_;
  Tensor sums_;
  bool checked_ = false;
};

/// "fp32" -> f32, "bf16" -> bf16, "fp16" -> f16.
DType compute_type(const std::string& precision);
/// Error where a device (null: the CPU) does not compute in the recipe's precision: fp16 needs a GPU, bf16 one of
/// compute capability 8.0 or the CPU.
void need_precision(const std::string& precision, const Backend* module);
/// need_precision, and an error for a head size that the kernels of a module don't take and for attention kernels
/// that it can't have.
void need_device(const Recipe& recipe, const Backend* module);

}  // namespace selene::train
