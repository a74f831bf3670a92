#include "data/lra/listops/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <string>
#include <string_view>
#include <unordered_set>

#include "data/io/stop.h"
#include "data/lra/listops/listops.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace selene::data {
namespace {

constexpr int64_t kChunk = 2048;  // draws of one task; the result does not depend on it

class Sampler {
 public:
  Sampler(const ListopsOptions& o, uint64_t index) : options_(o), stream_(o.seed, index) {}

  /// Appends a tree and returns its value, or -1 once it is longer than max_length.
  int node(int32_t depth) {
    const double u = depth < options_.max_depth ? stream_.uniform() : 1;
    if (u > 0.25) {
      const uint8_t digit = uint8_t(stream_.below(10));
      return append(digit) ? digit : -1;
    }
    const int arguments = 2 + int(stream_.below(uint32_t(options_.max_args - 1)));
    const size_t place = symbols.size();
    if (!append(listops_min)) return -1;  // which operator is drawn after the arguments
    uint8_t values[kMaxArgsLimit];
    for (int k = 0; k < arguments; ++k) {
      const int value = node(depth + 1);
      if (value < 0) return -1;
      values[k] = uint8_t(value);
    }
    symbols[place] = uint8_t(listops_min + stream_.below(4));
    if (!append(listops_close)) return -1;
    return listops_apply(symbols[place], {values, size_t(arguments)});
  }

  std::vector<uint8_t> symbols;

  static constexpr int kMaxArgsLimit = 100, kMaxDepthLimit = 100;

 private:
  bool append(uint8_t s) {
    if (int64_t(symbols.size()) == options_.max_length) return false;
    symbols.push_back(s);
    return true;
  }

  const ListopsOptions& options_;
  PhiloxStream stream_;
};

/// Tokens of the longest tree, or max_length if there is one as long.
int64_t longest_tree(const ListopsOptions& o) {
  int64_t longest = 1;
  for (int32_t level = 1; level < o.max_depth && longest < o.max_length; ++level) longest = 2 + o.max_args * longest;
  return std::min(longest, o.max_length);
}

/// Accepted trees of one chunk with their draw numbers, ascending.
using Drawn = std::vector<std::pair<int64_t, ListopsTree>>;
Drawn draw_chunk(const ListopsOptions& o, int64_t first) {
  Drawn drawn;
  for (int64_t i = first; i < first + kChunk; ++i) {
    check_stop();
    if (auto tree = draw_listops(o, uint64_t(i))) drawn.emplace_back(i, std::move(*tree));
  }
  return drawn;
}

[[noreturn]] void give_up(const ListopsOptions& o, const ListopsProgress& p, int64_t count) {
  throw Error(fmt::format(
      "listops: {} different examples after {} draws and none in the last {}, wanted {}: lengths {} to {} with "
      "depth {} and {} arguments are too rare or have too few trees",
      p.examples, p.draws, kListopsGiveUp, count, o.min_length, o.max_length, o.max_depth, o.max_args));
}

}  // namespace

std::optional<ListopsTree> draw_listops(const ListopsOptions& options, uint64_t index) {
  Sampler sampler(options, index);
  const int value = sampler.node(1);
  if (value < 0 || int64_t(sampler.symbols.size()) < options.min_length) return std::nullopt;
  return ListopsTree{std::move(sampler.symbols), uint8_t(value)};
}

void check_listops_options(const ListopsOptions& o) {
  const auto within = [](const char* name, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high)
      throw Error(fmt::format("listops: {} is {}, wanted {} to {}", name, value, low, high));
  };
  within("max_length", o.max_length, 1, 1'000'000'000);
  within("min_length", o.min_length, 1, o.max_length);
  within("max_depth", o.max_depth, 1, Sampler::kMaxDepthLimit);
  within("max_args", o.max_args, 2, Sampler::kMaxArgsLimit);
  const int64_t longest = longest_tree(o);
  if (longest < o.min_length)
    throw Error(
        fmt::format("listops: min_length is {}, but the longest tree of depth {} with {} arguments has {} tokens",
                    o.min_length, o.max_depth, o.max_args, longest));
  if (o.min_length > 1 && o.max_length < 4)
    throw Error(fmt::format("listops: no tree has {} to {} tokens: a digit has 1, the smallest operator 4",
                            o.min_length, o.max_length));
}

ListopsProgress generate_listops(const ListopsOptions& options, int64_t count, int threads,
                                 const std::function<void(const ListopsTree&)>& take,
                                 const std::function<void(const ListopsProgress&)>& watch) {
  check_listops_options(options);
  std::unordered_set<std::string> seen;  // the rendering is a function of the symbols, so these tell duplicates apart
  ListopsProgress progress;
  int64_t last_new = 0;  // draws up to the last new example
  for (int64_t first = 0; progress.examples < count; first += kChunk * std::max(threads, 1)) {
    std::vector<std::future<Drawn>> work;
    for (int t = 1; t < threads; ++t)
      work.push_back(
          std::async(std::launch::async | std::launch::deferred, draw_chunk, std::cref(options), first + t * kChunk));
    for (int t = 0; t < std::max(threads, 1) && progress.examples < count; ++t) {
      const int64_t end = first + (t + 1) * kChunk;
      for (const auto& [draw, tree] : t == 0 ? draw_chunk(options, first) : work[size_t(t - 1)].get()) {
        progress.draws = draw + 1, ++progress.accepted;
        if (seen.emplace(tree.symbols.begin(), tree.symbols.end()).second) {
          take(tree);
          last_new = draw + 1;
          if (++progress.examples == count) break;
        }
      }
      if (progress.examples < count) progress.draws = end;
      if (progress.draws - last_new >= kListopsGiveUp) give_up(options, progress, count);
    }
    if (watch) watch(progress);
  }
  return progress;
}

}  // namespace selene::data
