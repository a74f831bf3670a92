// Generator of ListOps examples with the sampling rule of the Long Range Arena (its data/listops.py).
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace selene::data {

struct ListopsOptions {
  int64_t min_length = 501, max_length = 1999;  // tokens, both inclusive; parentheses do not count
  int32_t max_depth = 10;                       // levels of a tree; the last level holds digits only
  int32_t max_args = 10;                        // arguments of an operator: uniform on 2 to max_args
  uint64_t seed = 1;
  bool operator==(const ListopsOptions&) const = default;
};

struct ListopsTree {
  std::vector<uint8_t> symbols;  // [tokens] raw symbols (data/lra/listops/listops.h)
  uint8_t value = 0;             // 0 to 9
};

/// Draw number `index`: a pure function of (options, index). Nothing if the tree's length is out of bounds. Draws in
/// this order: level below the last: u, a leaf if u > 0.25; leaf: a digit; operator: number of arguments, arguments
/// in order, then which operator. A tree that grows past max_length is given up at once, which leaves the others'
/// distribution unchanged.
std::optional<ListopsTree> draw_listops(const ListopsOptions& options, uint64_t index);

/// How far a generation is. Draws are counted up to the one that gave the last example.
struct ListopsProgress {
  int64_t draws = 0, accepted = 0,
          examples = 0;  // accepted: within the lengths; examples: and different from all before
};

constexpr int64_t kListopsGiveUp = 5'000'000;  // draws without a new example after which generate_listops stops

/// Throws Error, naming the option, if a value is out of range or no tree can have such a length.
void check_listops_options(const ListopsOptions& options);

/// Makes `count` different examples, in the order of the draws that gave them, on `threads` threads (at least 1); the
/// result is the same for any number of threads. `take` receives each example, `watch` (may be empty) the state now
/// and then; both run on the calling thread, and what they throw ends the generation. Throws Error for impossible
/// options, and after kListopsGiveUp draws without a new example.
ListopsProgress generate_listops(const ListopsOptions& options, int64_t count, int threads,
                                 const std::function<void(const ListopsTree&)>& take,
                                 const std::function<void(const ListopsProgress&)>& watch = {});

}  // namespace selene::data
