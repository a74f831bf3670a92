// A thread that makes batches ahead of who takes them.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <thread>

#include "data/batch.h"

namespace selene::data {

/// Runs make(start), make(start + 1), ... below `end` on a thread of its own, at most `capacity` batches ahead.
class Prefetcher {
 public:
  /// capacity is at least 1. `make` is called on the background thread only.
  Prefetcher(std::function<Batch(int64_t)> make, int64_t start, int64_t capacity = 4,
             int64_t end = std::numeric_limits<int64_t>::max());
  /// Stops after the batch being made; what was not taken is dropped.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// The next batch in the sequence, waiting for it if need be. Rethrows what make threw, once the batches before are
  /// taken and from then on; throws Error after the end.
  Batch next();

 private:
  void run(int64_t start, int64_t end);

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
