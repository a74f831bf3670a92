// Adam over the flat buffers with clipping (fairseq optim/adam.py, utils.clip_grad_norm_; docs/math.md), and
// the tree that adds up the gradients of micro-batches.
#pragma once
#include <string>

#include "autograd/parameters.h"
#include "kernels/optimizer.h"
#include "train/parallel/group.h"
#include "train/recipe/recipe.h"

namespace selene::train {

/// Dynamic loss scaling of fp16 training; without it the scale is 1 and the first overflow stops the run.
struct LossScaling {
  bool dynamic = false;
  double initial = 1, minimum = 0;
  int64_t window = 1;  // updates without overflow until the scale doubles
};
/// fairseq's rule for a recipe: fp16 starts at 2^7 and doubles after 2^14 / accumulation updates.
LossScaling loss_scaling(const TrainConfig& train);

/// What an optimiser keeps of every parameter from one update to the next: a flat buffer laid out as the parameters.
struct OptimizerBuffer {
  std::string name;  // the reference's: "exp_avg"
  Tensor flat;
};

class Optimizer {
 public:
  /// Allocates its state and a few scratch tensors in the persistent arena.
  Optimizer(const OptimConfig& config, const LossScaling& scaling, Parameters& parameters, Context& context);

  /// Fills the optimiser's part of the per-step scalars for the update that follows `finished` ones. sample_size:
  /// what the summed loss is divided by (examples).
  void scalars(StepScalars& s, int64_t finished, double lr, double sample_size) const;
  /// The gradient that the loss starts with, f32[1] in device memory: the loss scale.
  Tensor loss_gradient() const { return state_.slice(0, 0, 1); }
  /// Launches norm, check, clip and update from the gradient sums in the flat buffer; writes the compute copy. An
  /// update whose gradients are not finite changes nothing. Reads nothing back.
  void step();
  /// All of its state but UpdateState; what checkpoints hold.
  const std::vector<OptimizerBuffer>& buffers() const { return buffers_; }
  /// Norm of the mean gradient before clipping, of the last step; waits.
  double norm();
  /// Loss scale, skipped updates, whether and where it stopped; waits.
  UpdateState state();
  void set_state(const UpdateState& state);
  /// The first parameter with a gradient that is not finite, after a step that stopped; waits.
  std::string first_not_finite();

 private:
  struct Unit {
    int64_t begin, end, norm;
  };  // elements of the flat buffers, index of the norm that clips them
  template <class T>
  void launch();
  template <class T>
  void measure(const T* gradients, int64_t n, int64_t index);
  OptimConfig config_;
  LossScaling scaling_;
  Parameters& parameters_;
  Context& context_;
  std::vector<Unit> units_;
  std::vector<OptimizerBuffer> buffers_;
  Tensor partial_, norms_, bad_, state_;
};

/// Sums the gradients of an update's micro-batches in a binary tree over their number (Group::number), so that
/// ranks x accumulation can be split in any way (powers of two) with the same bits.
class GradientTree {
 public:
  /// Spare flat buffers that the `accumulation` leaves of a rank need: Parameters::allocate.
  static int spares(int64_t accumulation);
  /// Error for several ranks whose leaves are no subtree: `accumulation` is no power of two.
  GradientTree(Parameters& parameters, Context& context, Group group, int64_t accumulation);
  /// Zeroes the gradient buffer: every micro-batch starts from nothing.
  void begin();
  /// The gradient buffer holds this rank's leaf `index`; after the last one it holds the sum of the rank's leaves, a
  /// subtree of the tree over all ranks.
  void end(int64_t index);

 private:
  template <class T>
  void end_as(int64_t index);
  Parameters& parameters_;
  Context& context_;
  int64_t accumulation_;
};

}  // namespace selene::train
