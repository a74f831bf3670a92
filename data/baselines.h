// What a classifier reaches that understands nothing: the yardsticks beside an accuracy.
#pragma once
#include <cstdint>

#include "data/dataset.h"

namespace selene::data {

struct Baselines {
  int32_t majority_label = 0;  // the most frequent label of the training set; the smaller one if two are
  double majority = 0;         // accuracy, 0 to 1, of always answering it
  double first_symbol = 0;  // accuracy, 0 to 1, of the training set's most frequent label given the first symbol only
};                          // (ListOps: the outermost operator); a first symbol never seen there gets majority_label

/// Learned from `train`, measured on `test`. Throws Error if either has no example.
Baselines baselines(const Dataset& train, const Dataset& test);

}  // namespace selene::data
