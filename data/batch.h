// One micro-batch on the host: what a loader hands to the trainer.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace selene::data {

/// A dense array, row-major: symbols, lengths and labels are integers, pixels are reals.
struct Array {
  std::string name;                    // what the task calls it
  std::vector<int64_t> shape;          // its first axis is the examples, unless it is one number for all
  std::vector<int32_t> integers = {};  // one of the two has every number of the shape, the other is empty
  std::vector<float> reals = {};
};

struct Batch {
  int64_t B = 0;                       // examples
  std::vector<Array> inputs, targets;  // what the model reads, what its loss compares with; all names differ
  double sample_size = 0;              // what the summed loss is divided by: examples, or symbols to be predicted
  int64_t tokens = 0;                  // of the inputs, without the padding
  std::vector<int64_t> examples;       // [B] number of each example in its data set
  int64_t epoch = 0;                   // epoch of the first one
  int64_t position = 0;                // its place in the epoch's order

  /// The input or target of that name. Error where there is none.
  const Array& at(std::string_view name) const;
  Array& at(std::string_view name);
};

}  // namespace selene::data
