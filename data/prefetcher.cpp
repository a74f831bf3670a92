#include "data/prefetcher.h"

#include <fmt/format.h>

#include <system_error>

#include "kernels/error.h"

namespace selene::data {

Prefetcher::Prefetcher(std::function<Batch(int64_t)> make, int64_t start, int64_t capacity, int64_t end)
    : make_(std::move(make)), capacity_(size_t(capacity)) {
  if (capacity < 1) throw Error(fmt::format("prefetch: capacity {}, wanted at least 1", capacity));
  try {
    thread_ = std::thread([=, this] { run(start, end); });
  } catch (const std::system_error& e) {
    throw Error(fmt::format("prefetch: its thread cannot be started: {} (ulimit -u or -v, or the container's limit)",
                            e.code().message()));
  }
}

Prefetcher::~Prefetcher() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Prefetcher::run(int64_t start, int64_t end) {
  std::exception_ptr failure;
  try {
    for (int64_t index = start; index < end; ++index) {
      Batch batch = make_(index);
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || ready_.size() < capacity_; });
      if (stop_) return;
      ready_.push_back(std::move(batch));
      changed_.notify_all();
    }
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  failure_ = failure;
  finished_ = true;
  changed_.notify_all();
}

Batch Prefetcher::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return finished_ || !ready_.empty(); });
  if (!ready_.empty()) {
    Batch batch = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    return batch;
  }
  if (failure_) std::rethrow_exception(failure_);
  throw Error("prefetch: no more batches");
}

}  // namespace selene::data
