// Labelled examples as raw symbols: before any framing (data/vocabulary.h) and without padding. Read from prepared
// files (data/prepared.h), or collected in memory.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace selene::data {

class SafetensorsFile;

/// What every data set of one kind has in common: the column of data.task in a recipe. A row of data/kinds.cpp.
struct Kind {
  std::string name;                       // listops, text, retrieval, image, pathfinder
  std::vector<std::string> symbol_names;  // text of each raw symbol; at most 256
  std::vector<std::string> class_names;   // text of each class index
  int32_t towers = 1;                     // rows of an example: 2 for two-document tasks
  bool image = false;                     // a row is a square grey image, row-major, one byte 0 to 255 a pixel
};
/// Error, with the known names, for any other.
const Kind& kind_named(std::string_view name);
const std::vector<Kind>& kinds();

constexpr int32_t no_label = -100;  // of an example whose class is not known (somebody's own text); no loss counts it

/// Examples of a classification task. Row i of tower t is symbols[offsets[r]] to symbols[offsets[r + 1]], r = i x
/// towers + t. Copies share the memory.
struct Dataset {
  std::string name;                     // where it was read from, for messages
  const Kind* kind = nullptr;           // of the table, never null in a set that was made by a reader
  std::span<const uint8_t> symbols;     // every row behind the one before it; ids below kind->symbol_names.size()
  std::span<const int64_t> offsets;     // [examples x towers + 1] symbols before each row
  std::span<const int32_t> labels;      // [examples] class indices, or no_label
  std::shared_ptr<const void> storage;  // what the spans point into
  std::shared_ptr<const SafetensorsFile> file = {};  // the prepared file it was read from, if it was

  int64_t examples() const { return int64_t(labels.size()); }
  int32_t towers() const { return kind->towers; }
  int32_t classes() const { return int32_t(kind->class_names.size()); }
  /// Raw symbols of one row, [length]. `example` and `tower` must be in range.
  std::span<const uint8_t> row(int64_t example, int32_t tower = 0) const {
    const int64_t r = example * towers() + tower;
    return symbols.subspan(size_t(offsets[size_t(r)]), size_t(offsets[size_t(r) + 1] - offsets[size_t(r)]));
  }
  /// Symbols of the example's longest row.
  int64_t length(int64_t example) const {
    int64_t longest = 0;
    for (int32_t t = 0; t < towers(); ++t) longest = std::max(longest, int64_t(row(example, t).size()));
    return longest;
  }
  /// Error, with the file's name, where the prepared file was written into or cut since it was read.
  void need_unchanged() const;
  /// 16 hexadecimal digits, XXH64 of rows and labels: tells whether two sets of one kind have the same examples.
  std::string digest() const;
  /// The first `count` examples, at most all; shares the memory.
  Dataset first(int64_t count) const;
};

/// Collects examples in memory: for each one its rows in the order of the towers, then its label.
class DatasetBuilder {
 public:
  void add_row(std::span<const uint8_t> symbols);
  void add_label(int32_t label) { labels_.push_back(label); }
  int64_t examples() const { return int64_t(labels_.size()); }
  /// Hands everything over; the builder is empty then. Error where rows and labels do not fit the kind, for an
  /// empty row, and for a symbol or a label that the kind does not have.
  Dataset finish(const Kind& kind, const std::string& name);

 private:
  std::vector<uint8_t> symbols_;
  std::vector<int64_t> offsets_{0};
  std::vector<int32_t> labels_;
};

}  // namespace selene::data
