// Where a classifier errs: which class it takes for which, and at which lengths.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace selene::train {

/// Examples of a range of lengths.
struct LengthBucket {
  int64_t shortest = 0, longest = 0;  // raw symbols, of the longer row where there are two
  int64_t examples = 0, correct = 0;
};

/// Counts of one evaluation. Examples without a label are left out.
class Confusion {
 public:
  explicit Confusion(const data::Dataset& data);
  /// One example by its number in the data set, its label, and what was answered.
  void add(int64_t example, int32_t label, int32_t answer);
  int64_t examples() const { return int64_t(lengths_.size()); }

  /// [label][answer]
  const std::vector<std::vector<int64_t>>& counts() const { return counts_; }
  /// Four buckets of about equal numbers of the examples that were added, shorter ones first; fewer where lengths are
  /// equal.
  std::vector<LengthBucket> by_length() const;
  /// Both as text for a terminal.
  std::string table() const;

 private:
  data::Dataset data_;
  std::vector<std::vector<int64_t>> counts_;
  std::vector<std::pair<int64_t, bool>> lengths_;  // of each example, and whether it was right
};

/// The class with the largest logit of row b of [B, classes], the first of equals, and its probability by softmax.
struct Answer {
  int32_t label = 0;
  double probability = 0;
};
Answer answer_of(const std::vector<float>& logits, int64_t B, int64_t b);

}  // namespace selene::train
