// A region of the slab that hands out blocks at deterministic offsets: the same sequence of requests gives the same
// addresses, whatever the region's size, which is what a captured step needs and what makes a dry run exact.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/dtype.h"

namespace selene {

class Arena;

/// One block of an arena, counted by the tensors that look at it; given back when the last one goes. Counts are not
/// atomic: one thread computes.
struct Storage {
  Arena* arena;
  char* data;             // in a dry run an address of its own, where there is no memory
  int64_t offset, bytes;  // bytes include padding to the alignment
  int64_t references;
  std::string label;         // what it was made for: printed when memory runs out
  Storage *previous, *next;  // the arena's live blocks
};

class Arena {
 public:
  static constexpr int64_t kAlignment = 256;  // bytes
  static constexpr int64_t kUnbounded = INT64_MAX;

  /// `base` may be null: a dry run, whose blocks have addresses to be told apart by and no memory. Capacity in bytes;
  /// kUnbounded plans without a limit. With `guard`, blocks are followed by a checked pattern and freed blocks are
  /// filled with NaN. AddressSanitizer is told of every block.
  Arena(std::string name, char* base, int64_t capacity, bool guard);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// A block of at least `bytes` (0 allowed): best fit among the holes, else at the top. Error when full: names the
  /// largest live blocks, what was asked and what there is.
  Storage* allocate(int64_t bytes, std::string label);
  void release(Storage* block);
  /// The live block that this address lies in; null where there is none.
  const Storage* block_at(const void* address) const;
  /// From here on AddressSanitizer watches no block of it: a captured step writes to memory that no tensor owns any
  /// more.
  void stay_open();

  /// The largest live blocks, "label 12.25 MiB" each, "3 x label 12.25 MiB" where several are alike.
  std::vector<std::string> largest(int count) const;
  /// Keeps the largest blocks of the first moment at which the top reaches `peak`: what a plan is made of.
  void note_at(int64_t peak) { note_at_ = peak; }
  const std::vector<std::string>& noted() const { return noted_; }

  const std::string& name() const { return name_; }
  int64_t used() const { return used_; }   // bytes in live blocks
  int64_t peak() const { return peak_; }   // highest top so far, bytes: the capacity that suffices
  int64_t live() const { return count_; }  // blocks

 private:
  int64_t place(int64_t bytes);
  char* address(int64_t offset) const;
  void give_back(int64_t offset, int64_t bytes);
  [[noreturn]] void full(int64_t bytes, const std::string& label) const;

  std::string name_;
  char* base_;
  uintptr_t dry_base_;
  int64_t capacity_;
  bool guard_;
  std::map<int64_t, int64_t> holes_;  // offset -> bytes, below top_, never adjacent
  int64_t top_ = 0, used_ = 0, peak_ = 0, count_ = 0, note_at_ = -1;
  std::vector<std::string> noted_;
  bool stays_open_ = false;
  Storage* first_ = nullptr;
};

}  // namespace selene
