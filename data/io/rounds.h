// Work on ranges of a long list by several threads, with a look at the progress in between.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <future>
#include <vector>

namespace selene::data {

/// Calls work(first, end) for ranges of at most `chunk` that cover 0 to count - 1, `threads` (at least 1) at a
/// time, one of them on the calling thread. `between` (may be empty) runs on the calling thread while nobody
/// works, with how many are done. Of several exceptions of one round the one of the lowest range goes on.
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
