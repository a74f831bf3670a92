// Labelled examples in memory, as raw symbols: before any framing (data/vocabulary.h) and without padding.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace selene::data {

/// Examples of a classification task. Row i of tower t is symbols[offsets[r]] to symbols[offsets[r + 1]], r = i x
/// towers + t.
struct Dataset {
  std::string name;                       // where it was read from, for messages
  std::vector<uint8_t> symbols;           // every row behind the one before it; ids below symbol_names.size()
  std::vector<int64_t> offsets{0};        // [examples x towers + 1] symbols before each row
  std::vector<int32_t> labels;            // [examples] class indices, 0 to classes - 1
  std::vector<std::string> symbol_names;  // text of each raw symbol; at most 256
  int32_t classes = 0;
  int32_t towers = 1;  // rows of an example: 2 for two-document tasks

  int64_t examples() const { return int64_t(labels.size()); }
  /// Raw symbols of one row, [length]. `example` and `tower` must be in range.
  std::span<const uint8_t> row(int64_t example, int32_t tower = 0) const {
    const int64_t r = example * towers + tower;
    return {symbols.data() + offsets[r], size_t(offsets[r + 1] - offsets[r])};
  }
};

}  // namespace selene::data
