// Batches of a data set, in an order that is a pure function of (seed, epoch, position), and a thread that makes them
// ahead.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/vocabulary.h"

namespace selene::data {

/// file: as in the data set, every epoch alike, for evaluation. shuffled: a new permutation every epoch. by_length:
/// the same permutation, sorted by length within windows of 64 batches, and the full batches permuted again; wastes
/// little padding.
enum class Order { file, shuffled, by_length };

struct LoaderOptions {
  int64_t batch_size = 32;                                   // examples
  int64_t max_length = std::numeric_limits<int64_t>::max();  // tokens; longer rows are cut
  Order order = Order::shuffled;
  uint64_t seed = 1;
  bool pixels = false;  // rows as real numbers, unframed, instead of symbols
};

/// Makes batch number `index` of an endless sequence of epochs. Every epoch holds each example once; its last batch
/// is smaller where batch_size does not divide the number of examples. Safe to use from several threads.
class Loader {
 public:
  /// Throws Error for a data set without examples, a batch size or max_length below 1, or a data set whose symbols
  /// the vocabulary does not have. The data set is shared, not copied.
  Loader(std::shared_ptr<const Dataset> data, Vocabulary vocabulary, LoaderOptions options);

  int64_t batches_per_epoch() const { return (data_->examples() - 1) / options_.batch_size + 1; }
  const Dataset& data() const { return *data_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  const LoaderOptions& options() const { return options_; }

  /// Batch `index` >= 0 of the sequence; index / batches_per_epoch() is its epoch. A pure function of its argument.
  /// Error where the data's file was changed since it was read.
  Batch make_batch(int64_t index) const;
  /// The examples of one epoch in their order, [examples]. A pure function of its argument.
  std::vector<int64_t> epoch_order(int64_t epoch) const;

 private:
  std::shared_ptr<const std::vector<int64_t>> cached_order(int64_t epoch) const;

  std::shared_ptr<const Dataset> data_;
  Vocabulary vocabulary_;
  LoaderOptions options_;
  mutable std::mutex mutex_;  // guards the two below: the order of the epoch used last
  mutable int64_t cached_epoch_ = -1;
  mutable std::shared_ptr<const std::vector<int64_t>> cached_;
};

/// Runs make(start), make(start + stride), ... below `end` on a thread of its own, at most `capacity` batches ahead.
class Prefetcher {
 public:
  /// stride and capacity are at least 1. `make` is called on the background thread only.
  Prefetcher(std::function<Batch(int64_t)> make, int64_t start, int64_t stride, int64_t capacity = 4,
             int64_t end = std::numeric_limits<int64_t>::max());
  /// Stops after the batch being made; what was not taken is dropped.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// The next batch in the sequence, waiting for it if need be. Rethrows what make threw, once the batches before are
  /// taken and from then on; throws Error behind the end.
  Batch next();

 private:
  void run(int64_t start, int64_t stride, int64_t end);

  std::function<Batch(int64_t)> make_;
  size_t capacity_;
  std::mutex mutex_;  // guards the four below
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  std::exception_ptr failure_;
  bool stop_ = false, finished_ = false;
  std::thread thread_;  // last: starts when all else exists
};

}  // namespace selene::data
