#include "data/dataset.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/io/safetensors.h"
#include "data/io/xxhash64.h"
#include "kernels/error.h"

namespace selene::data {

const std::vector<ColumnForm>& labelled_columns() {
  static const std::vector<ColumnForm> forms{{"symbols", {DType::u8}, true}, {"labels", {DType::i32}, false}};
  return forms;
}

const Column& Dataset::column(std::string_view wanted) const {
  for (const Column& c : columns)
    if (c.name == wanted) return c;
  throw Error(fmt::format("{}: has no column {}", name, wanted));
}

Dataset Dataset::first(int64_t count) const {
  Dataset cut = *this;
  count = std::min(count, examples());
  for (Column& c : cut.columns)
    if (c.rows() >= examples()) c = c.first(c.rows() / std::max<int64_t>(examples(), 1) * count);
  return cut;
}

void Dataset::need_unchanged() const {
  if (file) file->need_unchanged();
}

std::string Dataset::digest() const {
  XxHash64 hash;
  for (const Column& c : columns) {
    hash.update(c.bytes.data(), c.bytes.size());
    hash.update(c.offsets.data(), c.offsets.size_bytes());
  }
  return hash.text();
}

Dataset labelled(std::string name, const Kind& kind, std::span<const uint8_t> symbols,
                 std::span<const int64_t> offsets, std::span<const int32_t> labels,
                 std::shared_ptr<const void> storage) {
  return {
      std::move(name), &kind, {column("symbols", symbols, offsets), column("labels", labels)}, std::move(storage)};
}

void DatasetBuilder::add_row(std::span<const uint8_t> symbols) {
  symbols_.insert(symbols_.end(), symbols.begin(), symbols.end());
  offsets_.push_back(int64_t(symbols_.size()));
}

Dataset DatasetBuilder::finish(const Kind& kind, const std::string& name) {
  const size_t rows = offsets_.size() - 1, wanted = labels_.size() * size_t(kind.towers);
  if (rows != wanted)
    throw Error(fmt::format("{}: {} rows for {} labels, wanted {}", name, rows, labels_.size(), wanted));
  if (std::adjacent_find(offsets_.begin(), offsets_.end()) != offsets_.end())
    throw Error(fmt::format("{}: an example has an empty row, wanted at least one symbol", name));
  for (const uint8_t s : symbols_)
    if (s >= kind.symbol_names.size())
      throw Error(fmt::format("{}: raw symbol {}, wanted one of {}", name, s, kind.symbol_names.size()));
  for (const int32_t label : labels_)
    if (label != kNoLabel && (label < 0 || size_t(label) >= kind.class_names.size()))
      throw Error(fmt::format("{}: label {}, wanted 0 to {}", name, label, kind.class_names.size() - 1));
  const auto kept = std::make_shared<const DatasetBuilder>(std::move(*this));
  *this = DatasetBuilder();
  return labelled(name, kind, kept->symbols_, kept->offsets_, kept->labels_, kept);
}

}  // namespace selene::data
