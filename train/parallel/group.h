// The ranks that train one model together. One process alone is a group of one.
#pragma once
#include <cstdint>

namespace selene::train {

struct Group {
  int64_t rank = 0, size = 1;

  /// The micro-batches of an update are numbered over all ranks, rank by rank: rank x accumulation + position. Number
  /// of this rank's micro-batch `own` (counted over all updates) in the sequence of all.
  int64_t number(int64_t own, int64_t accumulation) const {
    return (own / accumulation * size + rank) * accumulation + own % accumulation;
  }
};

}  // namespace selene::train
