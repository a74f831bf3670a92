// Labelled examples as raw symbols: before any framing (data/vocabulary.h) and without padding. Read from prepared
// files (data/prepared.h), or collected in memory.
#pragma once
#include <algorithm>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/columns.h"

namespace selene::data {

class SafetensorsFile;

struct Dataset;
class DatasetBuilder;

/// `symbols` u8 and one of `labels` i32 for each example.
const std::vector<ColumnForm>& labelled_columns();

/// What every data set of one kind has in common, and what can be done with it: the value of data.kind in a recipe. A
/// row of data/kinds.cpp.
struct Kind {
  std::string name;                       // listops, text, retrieval, image, pathfinder, characters
  std::vector<std::string> symbol_names;  // text of each raw symbol, at most 256; empty: each set has its own
  std::vector<std::string> class_names;   // text of each class index; empty: its examples have no labels
  int32_t towers = 1;                     // rows of an example: 2 for two-document tasks
  bool image = false;                     // a row is a square grey image, row-major, one byte 0 to 255 a pixel

  std::vector<ColumnForm> columns = labelled_columns();
  /// Error unless the columns of a set fit together and hold what the kind allows; null: labelled examples.
  void (*check)(const Dataset& data) = nullptr;

  // What else can be done with a set; null where it cannot.
  /// Adds an example that a person has written on a line. Error without a place.
  void (*add_line)(std::string_view line, const Kind& kind, DatasetBuilder& data) = nullptr;
  /// An example as a line of text for a person.
  std::string (*text)(const Dataset& data, int64_t example) = nullptr;
  /// What the first symbol of a row is called where a classifier that knows it alone is a yardstick.
  const char* first_symbol = nullptr;
  /// The form in which the kind's examples are published: its file of a split, a reader, and how its text begins.
  std::string (*official_path)(const std::string& folder, std::string_view split) = nullptr;
  Dataset (*read_official)(const std::string& path) = nullptr;
  Dataset (*parse_official)(std::istream& text, const std::string& name) = nullptr;
  const char* official_start = nullptr;
};
/// Error, with the known names, for any other.
const Kind& kind_named(std::string_view name);
const std::vector<Kind>& kinds();

constexpr int32_t kNoLabel = -100;  // of an example whose class is not known (somebody's own text); no loss counts it

/// Examples as columns, of which the last has a row for each example. Those of labelled kinds are `symbols` u8, row i
/// x towers + t for tower t of example i, and `labels` i32. Copies share the memory.
struct Dataset {
  std::string name;                                  // where it was read from, for messages
  const Kind* kind = nullptr;                        // of the table, never null in a set that was made by a reader
  std::vector<Column> columns;                       // in the order of their kind
  std::shared_ptr<const void> storage;               // what the columns point into
  std::shared_ptr<const SafetensorsFile> file = {};  // the prepared file it was read from, if it was

  /// Error where there is none of that name.
  const Column& column(std::string_view name) const;
  /// Of labelled kinds: class indices or kNoLabel; all symbols; symbols before each row.
  std::span<const int32_t> labels() const { return columns.at(1).all<int32_t>(); }
  std::span<const uint8_t> symbols() const { return columns.at(0).all<uint8_t>(); }
  std::span<const int64_t> offsets() const { return columns.at(0).offsets; }

  int64_t examples() const { return columns.empty() ? 0 : columns.back().rows(); }
  int32_t towers() const { return kind->towers; }
  int32_t classes() const { return int32_t(kind->class_names.size()); }
  /// Raw symbols of one row, [length]. `example` and `tower` must be in range.
  std::span<const uint8_t> row(int64_t example, int32_t tower = 0) const {
    const int64_t r = example * towers() + tower;
    return columns[0].row<uint8_t>(r);
  }
  /// Symbols of the example's longest row.
  int64_t length(int64_t example) const {
    int64_t longest = 0;
    for (int32_t t = 0; t < towers(); ++t) longest = std::max(longest, int64_t(row(example, t).size()));
    return longest;
  }
  /// Error, with the file's name, where the prepared file was written into or cut since it was read.
  void need_unchanged() const;
  /// 16 hexadecimal digits, XXH64 of all columns: tells whether two sets of one kind have the same examples.
  std::string digest() const;
  /// The first `count` examples, at most all; shares the memory.
  Dataset first(int64_t count) const;
};

/// A set of a labelled kind over memory that `storage` keeps.
Dataset labelled(std::string name, const Kind& kind, std::span<const uint8_t> symbols,
                 std::span<const int64_t> offsets, std::span<const int32_t> labels,
                 std::shared_ptr<const void> storage);

/// Collects labelled examples in memory: for each one its rows in the order of the towers, then its label.
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
