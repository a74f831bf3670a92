#include "data/order.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr int64_t kWindowBatches = 64;
constexpr uint64_t kEpochStream = uint64_t(0x6f726472)
                                  << 32;  // keeps the order's draws apart from other uses of the seed

}  // namespace

void permute(std::vector<int64_t>& v, int64_t units, int64_t unit, PhiloxStream& random) {
  for (int64_t i = units - 1; i > 0; --i) {
    const int64_t k = random.below(uint32_t(i + 1));
    if (k != i) std::swap_ranges(v.begin() + i * unit, v.begin() + (i + 1) * unit, v.begin() + k * unit);
  }
}

std::vector<int64_t> seeded_order(int64_t count, uint64_t seed, OrderOf what) {
  if (count < 0 || count > int64_t(UINT32_MAX))
    throw Error(fmt::format("{} examples, wanted 0 to {}", count, UINT32_MAX));
  std::vector<int64_t> order(size_t(count), 0);
  std::iota(order.begin(), order.end(), int64_t(0));
  constexpr uint64_t split_stream = uint64_t(0x73706c74) << 32;  // keeps these draws apart from other uses of a seed
  PhiloxStream random(seed, split_stream | uint32_t(what));
  permute(order, count, 1, random);
  return order;
}

FixedBatches::FixedBatches(int64_t examples, int64_t batch_size, Order order, uint64_t seed,
                           std::function<int64_t(int64_t)> length)
    : examples_(examples), batch_size_(batch_size), order_(order), seed_(seed), length_(std::move(length)) {
  if (examples < 1 || examples > int64_t(UINT32_MAX))
    throw Error(fmt::format("{} examples, wanted 1 to {}", examples, UINT32_MAX));
  if (batch_size < 1) throw Error(fmt::format("batch size is {} examples, wanted at least 1", batch_size));
}

std::vector<int64_t> FixedBatches::epoch_order(int64_t epoch) const {
  const int64_t n = examples_, batch = batch_size_;
  std::vector<int64_t> order(size_t(n), 0);
  std::iota(order.begin(), order.end(), int64_t(0));
  if (order_ == Order::file) return order;
  PhiloxStream stream(seed_, kEpochStream | uint32_t(epoch));
  permute(order, n, 1, stream);
  if (order_ == Order::shuffled) return order;
  const auto shorter = [&](int64_t a, int64_t b) { return length_(a) < length_(b); };
  const int64_t window = batch < n ? std::min(n, kWindowBatches * batch) : n;
  for (int64_t first = 0; first < n; first += window)
    std::stable_sort(order.begin() + first, order.begin() + std::min(n, first + window), shorter);
  permute(order, n / batch, batch, stream);
  return order;
}

std::shared_ptr<const std::vector<int64_t>> FixedBatches::cached_order(int64_t epoch) const {
  const std::lock_guard lock(mutex_);
  if (cached_epoch_ != epoch) {
    cached_ = std::make_shared<const std::vector<int64_t>>(epoch_order(epoch));
    cached_epoch_ = epoch;
  }
  return cached_;
}

Chosen FixedBatches::batch(int64_t index) const {
  if (index < 0) throw Error(fmt::format("batch {}, wanted 0 or more", index));
  Chosen chosen;
  chosen.epoch = index / batches_per_epoch();
  chosen.position = index % batches_per_epoch() * batch_size_;
  const auto order = cached_order(order_ == Order::file ? 0 : chosen.epoch);
  const auto first = order->begin() + chosen.position;
  chosen.examples.assign(first, first + std::min(batch_size_, examples_ - chosen.position));
  return chosen;
}

}  // namespace selene::data
