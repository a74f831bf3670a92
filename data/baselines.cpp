#include "data/baselines.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/error.h"

namespace selene::data {
namespace {

/// The most frequent class, the smaller one if two are; -1 if nothing was counted.
int32_t most_frequent(const std::vector<int64_t>& counts) {
  const auto best = std::max_element(counts.begin(), counts.end());
  return *best > 0 ? int32_t(best - counts.begin()) : -1;
}

/// First symbol of an example; 256 for one without symbols.
size_t first_symbol(const Dataset& data, int64_t i) {
  const auto row = data.row(i);
  return row.empty() ? 256 : row[0];
}

}  // namespace

Baselines baselines(const Dataset& train, const Dataset& test) {
  for (const Dataset* d : {&train, &test})
    if (d->examples() == 0) throw Error(fmt::format("{}: no examples", d->name));
  const auto classes = size_t(std::max(train.classes(), test.classes()));
  std::vector<int64_t> all(classes, 0);
  std::array<std::vector<int64_t>, 257> by_first;
  by_first.fill(all);
  for (int64_t i = 0; i < train.examples(); ++i) {
    ++all[size_t(train.labels()[size_t(i)])];
    ++by_first[first_symbol(train, i)][size_t(train.labels()[size_t(i)])];
  }
  Baselines result;
  result.majority_label = most_frequent(all);
  int64_t majority = 0, first = 0;
  for (int64_t i = 0; i < test.examples(); ++i) {
    const int32_t label = test.labels()[size_t(i)], known = most_frequent(by_first[first_symbol(test, i)]);
    majority += label == result.majority_label;
    first += label == (known >= 0 ? known : result.majority_label);
  }
  result.majority = double(majority) / double(test.examples());
  result.first_symbol = double(first) / double(test.examples());
  return result;
}

}  // namespace selene::data
