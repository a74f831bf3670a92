// The floor of a training step: the time of its matrix products alone, each shape at its best, without recomputation.
// What a step takes beyond that is what the rest of Selene costs.
#pragma once
#include <vector>

#include "train/step/session.h"

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
std::vector<Product> products_of_step(const Task& task, const data::Batch& shape);

/// Seconds of one call on a device (null: the CPU), the least of `repeats` runs after one to warm up. Of a product
/// whose operands take more than 1 GiB a part is timed.
double best_seconds(const Product& product, int repeats, const Backend* module = nullptr);

struct Floor {
  double seconds = 0, flops = 0;
};
Floor measure_floor(const std::vector<Product>& products, int repeats, const Backend* module = nullptr);

/// Logs parameters, flops and floor of an update with the longest examples of a data set: --dry-run. On a CPU a long
/// batch's floor is that of fewer examples, times its flops.
void tell_floor(const Task& task, const data::Dataset& set, const Backend* module);

}  // namespace selene::train
