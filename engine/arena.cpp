#include "engine/arena.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>

#include "kernels/error.h"
#include "kernels/join.h"

// In a build with AddressSanitizer: what no tensor owns is closed to kernels, on the CPU and on the shim.
extern "C" {
__attribute__((weak)) void __asan_poison_memory_region(const volatile void* address, size_t size);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* address, size_t size);
}

namespace selene {
namespace {

void close_memory(const char* p, int64_t bytes) {
  if (p && __asan_poison_memory_region) __asan_poison_memory_region(p, size_t(bytes));
}
void open_memory(const char* p, int64_t bytes) {
  if (p && __asan_unpoison_memory_region) __asan_unpoison_memory_region(p, size_t(bytes));
}

constexpr unsigned char kGuardByte = 0xA5;
constexpr double kMiB = 1 << 20;
constexpr int kShown = 8;       // kinds of tensors that a message lists
constexpr int kNaNByte = 0xFF;  // every float type reads four or two of these as NaN

int64_t padded(int64_t bytes, bool guard) {
  const int64_t wanted = std::max<int64_t>(bytes, 1) + (guard ? Arena::kAlignment : 0);
  return (wanted + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

/// Far from all memory and from each other.
uintptr_t next_dry_base() {
  static std::atomic<uintptr_t> next{uintptr_t(1) << 48};
  return next.fetch_add(uintptr_t(1) << 44);
}

}  // namespace

Arena::Arena(std::string name, char* base, int64_t capacity, bool guard)
    : name_(std::move(name)),
      base_(base),
      dry_base_(base ? 0 : next_dry_base()),
      capacity_(capacity),
      guard_(guard && base) {}

char* Arena::address(int64_t offset) const {
  return base_ ? base_ + offset : reinterpret_cast<char*>(dry_base_ + uintptr_t(offset));
}

const Storage* Arena::block_at(const void* at) const {
  for (const Storage* block = first_; block; block = block->next)
    if (at >= block->data && at < block->data + block->bytes) return block;
  return nullptr;
}

Arena::~Arena() {
  while (first_) {  // tensors that outlive their arena keep a harmless record without memory
    Storage* block = first_;
    first_ = block->next;
    block->arena = nullptr, block->data = nullptr;
  }
  open_memory(base_, peak_);
}

int64_t Arena::place(int64_t bytes) {
  auto best = holes_.end();
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole)
    if (hole->second >= bytes && (best == holes_.end() || hole->second < best->second)) best = hole;
  if (best == holes_.end()) {
    const int64_t offset = top_;
    top_ += bytes;
    return offset;
  }
  const auto [offset, size] = *best;
  holes_.erase(best);
  if (size > bytes) holes_[offset + bytes] = size - bytes;
  return offset;
}

Storage* Arena::allocate(int64_t bytes, std::string label) {
  const int64_t size = padded(bytes, guard_);
  const int64_t offset = place(size);
  if (top_ > capacity_) {
    give_back(offset, size);
    full(bytes, label);
  }
  peak_ = std::max(peak_, top_);
  used_ += size, ++count_;
  auto* block = new Storage{this, address(offset), offset, size, 1, std::move(label), nullptr, first_};
  if (first_) first_->previous = block;
  first_ = block;
  if (top_ == note_at_ && noted_.empty()) noted_ = largest(kShown);
  if (base_) open_memory(block->data, size);
  if (guard_) memset(block->data + size - kAlignment, kGuardByte, kAlignment);
  if (base_ && !stays_open_) close_memory(block->data + bytes, size - bytes);
  return block;
}

void Arena::stay_open() {
  if (!stays_open_) open_memory(base_, peak_);
  stays_open_ = true;
}

void Arena::give_back(int64_t offset, int64_t bytes) {
  auto next = holes_.lower_bound(offset);
  if (next != holes_.end() && offset + bytes == next->first) bytes += next->second, next = holes_.erase(next);
  if (next != holes_.begin()) {
    auto before = std::prev(next);
    if (before->first + before->second == offset)
      offset = before->first, bytes += before->second, holes_.erase(before);
  }
  if (offset + bytes == top_) top_ = offset;
  else holes_[offset] = bytes;
}

void Arena::release(Storage* block) {
  if (block->previous) block->previous->next = block->next;
  else first_ = block->next;
  if (block->next) block->next->previous = block->previous;
  used_ -= block->bytes, --count_;
  if (base_) open_memory(block->data, block->bytes);
  if (guard_) {
    const auto* guard = reinterpret_cast<unsigned char*>(block->data + block->bytes - kAlignment);
    for (int64_t i = 0; i < kAlignment; ++i)
      if (guard[i] != kGuardByte) {
        fmt::print(stderr, "{} arena: {} was written beyond its end\n", name_, block->label);
        std::abort();
      }
    memset(block->data, kNaNByte, size_t(block->bytes));
  }
  if (base_ && !stays_open_) close_memory(block->data, block->bytes);
  give_back(block->offset, block->bytes);
}

std::vector<std::string> Arena::largest(int count) const {
  std::map<std::pair<int64_t, std::string>, int> alike;  // layers repeat the same tensors
  for (const Storage* b = first_; b; b = b->next) ++alike[{-b->bytes, b->label}];
  std::vector<std::string> lines;
  for (const auto& [tensor, times] : alike) {
    if (int(lines.size()) == count) break;
    lines.push_back(fmt::format("{}{} {:.2f} MiB", times > 1 ? fmt::format("{} x ", times) : "", tensor.second,
                                double(-tensor.first) / kMiB));
  }
  return lines;
}

void Arena::full(int64_t bytes, const std::string& label) const {
  throw Error(fmt::format(
      "{} arena: {:.2f} MiB wanted for {}, {:.2f} of {:.2f} MiB in use; the largest tensors are {}", name_,
      double(bytes) / kMiB, label, double(used_) / kMiB, double(capacity_) / kMiB, join(largest(kShown), ", ")));
}

}  // namespace selene
