// Work on ranges of a long list by several threads, with a look at the progress in between.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <future>
#include <vector>

namespace selene::data {

/// Calls work(first, end) for ranges of at most `chunk` numbers that together cover 0 to count - 1. A round is one
/// call on each of `threads` threads (1 where it is less), the calling one among them. After each round `between`,
/// which may be empty, runs on the calling thread with the count of numbers that are done. Where calls throw, the
/// exception of the lowest range leaves when its round is over.
inline void work_in_rounds(int64_t count, int64_t chunk, int threads,
                           const std::function<void(int64_t, int64_t)>& work,
                           const std::function<void(int64_t)>& between) {
  const int64_t side_by_side = std::max(threads, 1);
  for (int64_t first = 0; first < count; first += chunk * side_by_side) {
    const auto begin = [&](int64_t t) { return std::min(count, first + t * chunk); };
    std::vector<std::future<void>> others;
    for (int64_t t = 1; t < side_by_side && begin(t) < count; ++t)
      others.push_back(std::async(std::launch::async | std::launch::deferred, work, begin(t), begin(t + 1)));
    work(first, begin(1));
    for (auto& other : others) other.get();
    if (between) between(begin(side_by_side));
  }
}

}  // namespace selene::data
