// The floor of a training step: the time of its matrix products alone, each shape at its best, without recomputation.
// What a step takes beyond that is what the rest of Selene costs.
#pragma once
#include <vector>

#include "train/session.h"
#include "train/trainer.h"

namespace selene::train {

/// One shape of matrix product in a step. C[M, N] = op(A) op(B), `batch` times, `calls` times a step.
struct Product {
  DType dtype;
  int64_t M, N, K, batch, calls;
  bool trans_a, trans_b, c_is_acc;
  double flops() const { return 2.0 * double(M) * double(N) * double(K) * double(batch); }  // of one call
};

/// The products of one micro-batch of this shape: those of Matmul, and of attention the two of the forward and the
/// four of the backward pass (the recomputed scores don't count). From a dry run.
std::vector<Product> products_of_step(const Recipe& recipe, const ModelSize& size, const data::Batch& shape);

/// Seconds of one call, the least of `repeats` runs after one to warm up.
double best_seconds(const Product& product, int repeats);

struct Floor {
  double seconds = 0, flops = 0;
};
Floor measure_floor(const std::vector<Product>& products, int repeats);

/// Logs the memory plan; Error when the machine has less memory than that.
void tell_plan(const MemoryPlan& plan);
/// Logs parameters, flops and floor of an update at this shape: --dry-run.
void tell_floor(const Recipe& recipe, const ModelSize& size, const data::Batch& shape);

}  // namespace selene::train
