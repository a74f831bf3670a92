// Random orders that are a pure function of a seed: of examples in an epoch, and of a data set that is cut into
// splits.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/philox.h"

namespace selene::data {

/// Shuffles the first `units` blocks of `unit` elements of v: every permutation is equally likely (Fisher and Yates,
/// from the back). units is at most 2^32 - 1.
void permute(std::vector<int64_t>& v, int64_t units, int64_t unit, PhiloxStream& random);

/// What a data set's order is for; keeps the draws of one seed apart.
enum class OrderOf : uint32_t { train, valid, test, pathfinder };

/// A random order of 0 to count - 1. Error for more than 2^32 - 1.
std::vector<int64_t> seeded_order(int64_t count, uint64_t seed, OrderOf what);

/// Examples of one batch, by number, and where in the sequence of epochs they stand.
struct Chosen {
  std::vector<int64_t> examples;
  int64_t epoch = 0, position = 0;  // position: of the first one in the epoch's order
};

/// Which examples make which batch of an endless sequence of epochs: the loader's first stage. Pure functions of
/// their arguments, safe to use from several threads.
class BatchOrder {
 public:
  virtual ~BatchOrder() = default;
  virtual int64_t batches_per_epoch() const = 0;
  /// Batch `index` >= 0; index / batches_per_epoch() is its epoch.
  virtual Chosen batch(int64_t index) const = 0;
};

/// file: as in the data set, every epoch alike, for evaluation. shuffled: a new permutation every epoch. by_length:
/// the same permutation, sorted by length within windows of 64 batches, and the full batches permuted again; wastes
/// little padding.
enum class Order { file, shuffled, by_length };

/// Batches of a fixed number of examples. Every epoch holds each example once; its last batch is smaller where
/// batch_size does not divide their number.
class FixedBatches : public BatchOrder {
 public:
  /// `length` of an example is asked for by Order::by_length alone. Error for a batch size below 1, and for no
  /// examples or more than 2^32 - 1.
  FixedBatches(int64_t examples, int64_t batch_size, Order order, uint64_t seed,
               std::function<int64_t(int64_t)> length);
  int64_t batches_per_epoch() const override { return (examples_ - 1) / batch_size_ + 1; }
  Chosen batch(int64_t index) const override;
  /// The examples of one epoch in their order.
  std::vector<int64_t> epoch_order(int64_t epoch) const;

 private:
  std::shared_ptr<const std::vector<int64_t>> cached_order(int64_t epoch) const;
  int64_t examples_, batch_size_;
  Order order_;
  uint64_t seed_;
  std::function<int64_t(int64_t)> length_;
  mutable std::mutex mutex_;  // guards the two below: the order of the epoch used last
  mutable int64_t cached_epoch_ = -1;
  mutable std::shared_ptr<const std::vector<int64_t>> cached_;
};

}  // namespace selene::data
