#include "data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <system_error>

#include "data/order.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr int64_t window_batches = 64;
constexpr uint64_t order_stream = uint64_t(0x6f726472)
                                  << 32;  // keeps the order's draws apart from other uses of the seed

/// Grey values as numbers from -1 to 1 (Luna's lra-image task, revision of 2023: mean and deviation 0.5), padded to N
/// with 0.
void fill_pixels(Tower& out, const Dataset& data, int32_t tower, std::span<const int64_t> examples,
                 int64_t max_length) {
  out.pixels.assign(examples.size() * size_t(out.N), 0.0f);
  for (size_t b = 0; b < examples.size(); ++b) {
    const auto row = data.row(examples[b], tower);
    out.lengths.push_back(int32_t(std::min(int64_t(row.size()), max_length)));
    std::transform(row.begin(), row.begin() + out.lengths[b], out.pixels.begin() + int64_t(b) * out.N,
                   [](uint8_t v) { return (float(v) / 255.0f - 0.5f) / 0.5f; });
  }
}

/// Ids in the vocabulary's frame, padded to N.
void fill_tokens(Tower& out, const Dataset& data, int32_t tower, std::span<const int64_t> examples,
                 const Vocabulary& vocabulary, int64_t max_length) {
  out.tokens.assign(examples.size() * size_t(out.N), vocabulary.pad);
  for (size_t b = 0; b < examples.size(); ++b) {
    const std::vector<int32_t> row = vocabulary.frame_row(data.row(examples[b], tower), max_length);
    out.lengths.push_back(int32_t(row.size()));
    std::copy(row.begin(), row.end(), out.tokens.begin() + int64_t(b) * out.N);
  }
}

}  // namespace

Loader::Loader(std::shared_ptr<const Dataset> data, Vocabulary vocabulary, LoaderOptions options)
    : data_(std::move(data)), vocabulary_(std::move(vocabulary)), options_(options) {
  if (data_->labels.empty()) throw Error(fmt::format("{}: no examples", data_->name));
  if (options.batch_size < 1)
    throw Error(fmt::format("batch size is {} examples, wanted at least 1", options.batch_size));
  if (options.max_length < 1)
    throw Error(fmt::format("max_length is {} tokens, wanted at least 1", options.max_length));
  if (data_->examples() > int64_t(UINT32_MAX))
    throw Error(fmt::format("{}: {} examples, wanted at most {}", data_->name, data_->examples(), UINT32_MAX));
  if (data_->kind->symbol_names != vocabulary_.symbol_names)
    throw Error(fmt::format("{}: its symbols are not those of the vocabulary", data_->name));
}

std::vector<int64_t> Loader::epoch_order(int64_t epoch) const {
  const int64_t n = data_->examples(), batch = options_.batch_size;
  std::vector<int64_t> order(size_t(n), 0);
  std::iota(order.begin(), order.end(), int64_t(0));
  if (options_.order == Order::file) return order;
  PhiloxStream stream(options_.seed, order_stream | uint32_t(epoch));
  permute(order, n, 1, stream);
  if (options_.order == Order::shuffled) return order;
  const auto shorter = [&](int64_t a, int64_t b) { return data_->length(a) < data_->length(b); };
  const int64_t window = batch < n ? std::min(n, window_batches * batch) : n;
  for (int64_t first = 0; first < n; first += window)
    std::stable_sort(order.begin() + first, order.begin() + std::min(n, first + window), shorter);
  permute(order, n / batch, batch, stream);
  return order;
}

std::shared_ptr<const std::vector<int64_t>> Loader::cached_order(int64_t epoch) const {
  const std::lock_guard lock(mutex_);
  if (cached_epoch_ != epoch) {
    cached_ = std::make_shared<const std::vector<int64_t>>(epoch_order(epoch));
    cached_epoch_ = epoch;
  }
  return cached_;
}

Batch Loader::make_batch(int64_t index) const {
  if (index < 0) throw Error(fmt::format("batch {}, wanted 0 or more", index));
  data_->need_unchanged();
  Batch batch;
  batch.epoch = index / batches_per_epoch();
  batch.position = index % batches_per_epoch() * options_.batch_size;
  batch.B = std::min(options_.batch_size, data_->examples() - batch.position);
  const auto order = cached_order(options_.order == Order::file ? 0 : batch.epoch);
  batch.examples.assign(order->begin() + batch.position, order->begin() + batch.position + batch.B);
  for (int64_t i : batch.examples) batch.labels.push_back(data_->labels[size_t(i)]);
  // One model reads all towers, so they have one width.
  int64_t longest = 0;
  for (int64_t i : batch.examples) longest = std::max(longest, data_->length(i));
  const int64_t N = std::min(options_.pixels ? longest : vocabulary_.framed_length(longest), options_.max_length);
  for (int32_t t = 0; t < data_->towers(); ++t) {
    Tower& tower = batch.towers.emplace_back();
    tower.N = N;
    if (options_.pixels) fill_pixels(tower, *data_, t, batch.examples, options_.max_length);
    else fill_tokens(tower, *data_, t, batch.examples, vocabulary_, options_.max_length);
  }
  return batch;
}

Prefetcher::Prefetcher(std::function<Batch(int64_t)> make, int64_t start, int64_t stride, int64_t capacity,
                       int64_t end)
    : make_(std::move(make)), capacity_(size_t(capacity)) {
  if (stride < 1 || capacity < 1)
    throw Error(fmt::format("prefetch: stride {} and capacity {}, wanted at least 1", stride, capacity));
  try {
    thread_ = std::thread([=, this] { run(start, stride, end); });
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

void Prefetcher::run(int64_t start, int64_t stride, int64_t end) {
  std::exception_ptr failure;
  try {
    for (int64_t index = start; index < end; index += stride) {
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
