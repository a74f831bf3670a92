// One micro-batch on the host: what the loader hands to the trainer.
#pragma once
#include <cstdint>
#include <vector>

namespace selene::data {

/// One input of every example: a row of symbols (or of real-valued pixels), padded on the right.
struct Tower {
  int64_t N = 0;                 // padded length: the longest row of the batch, of both towers where there are two
  std::vector<int32_t> tokens;   // [B, N] symbol ids, `pad` behind the end; empty when pixels are used
  std::vector<float> pixels;     // [B, N] real-valued input; empty when tokens are used
  std::vector<int32_t> lengths;  // [B] tokens before the padding, CLS and EOS included
};

struct Batch {
  int64_t B = 0;                  // examples
  std::vector<Tower> towers;      // one, or two for two-document tasks
  std::vector<int32_t> labels;    // [B] class indices
  std::vector<int64_t> examples;  // [B] index of each row in its data set
  int64_t epoch = 0;              // epoch of the first row
  int64_t position = 0;           // place of the first row in the epoch's order
};

}  // namespace selene::data
