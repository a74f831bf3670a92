#include "data/prepared.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "data/io/checksum.h"
#include "data/io/image.h"
#include "data/lra/listops/listops.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr const char* kFormat = "1";

/// A tensor of the file as elements. Error for another type or number of dimensions, and where it begins at
/// an address that its type cannot have.
template <class T>
std::span<const T> tensor(const SafetensorsFile& file, const char* name, DType dtype) {
  const TensorEntry& entry = file.at(name);
  if (entry.dtype != dtype || entry.shape.size() != 1)
    throw Error(fmt::format("{}: tensor {} is {} of {} dimensions, wanted {} of one", file.path(), name,
                            name_of(entry.dtype), entry.shape.size(), name_of(dtype)));
  const std::span<const uint8_t> bytes = file.bytes(entry);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) != 0)
    throw Error(
        fmt::format("{}: tensor {} is not aligned; this program writes offsets, labels, symbols", file.path(), name));
  return {reinterpret_cast<const T*>(bytes.data()), size_t(entry.numel())};
}

/// Error for an empty row, which no model reads, and for images that are no squares of one size.
void check_rows(const Dataset& d) {
  const int64_t first = d.offsets[1], side = square_side(first);
  for (size_t r = 1; r < d.offsets.size(); ++r) {
    const int64_t length = d.offsets[r] - d.offsets[r - 1];
    const auto place = [&] { return fmt::format("{}: example {}", d.name, (int64_t(r) - 1) / d.towers() + 1); };
    if (length == 0) throw Error(fmt::format("{} has an empty row, wanted at least one symbol", place()));
    if (d.kind->image && (length != first || side * side != first))
      throw Error(fmt::format("{} has {} pixels, wanted {}", place(), length,
                              side * side == first ? fmt::format("{} as the first image", first) : "a square"));
  }
}

/// Error where the folder of a recipe's data is not there, or something else.
void need_folder(const std::string& folder, const Kind& kind) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (fs::is_directory(folder, ignored)) return;
  if (fs::exists(folder, ignored))
    throw Error(fmt::format("{}: is a file, wanted a folder of data; an archive must be unpacked", folder));
  const std::string where = fs::path(folder).is_absolute() ? "" : " in " + fs::current_path(ignored).string();
  throw Error(
      fmt::format("{}: the data's folder is not there{}; make it with selene-prepare {}, or give another "
                  "data.path",
                  folder, where, kind.name));
}

/// Throws Error unless the spans fit together and hold what the kind allows, so that nobody has to look again.
void check(const Dataset& d) {
  const auto rows = d.labels.size() * size_t(d.towers());
  if (d.labels.empty()) throw Error(fmt::format("{}: no examples", d.name));
  if (d.offsets.size() != rows + 1)
    throw Error(fmt::format("{}: {} offsets for {} examples, wanted {}", d.name, d.offsets.size(), d.labels.size(),
                            rows + 1));
  if (d.offsets.front() != 0 || d.offsets.back() != int64_t(d.symbols.size()) ||
      !std::is_sorted(d.offsets.begin(), d.offsets.end()))
    throw Error(fmt::format("{}: offsets do not ascend from 0 to the {} symbols", d.name, d.symbols.size()));
  for (const int32_t label : d.labels)
    if (label < 0 || label >= d.classes())
      throw Error(fmt::format("{}: label {}, wanted 0 to {}", d.name, label, d.classes() - 1));
  check_rows(d);
  const size_t known = d.kind->symbol_names.size();
  if (known < 256 && !d.symbols.empty())
    if (const uint8_t largest = *std::max_element(d.symbols.begin(), d.symbols.end()); largest >= known)
      throw Error(fmt::format("{}: raw symbol {}, wanted 0 to {}", d.name, largest, known - 1));
}

}  // namespace

std::string prepared_path(const std::string& folder, std::string_view split) {
  if (split != "train" && split != "valid" && split != "test")
    throw Error(fmt::format("split '{}', wanted train, valid or test", split));
  return fmt::format("{}/{}.safetensors", folder, split);
}

void write_prepared(const std::string& folder, std::string_view split, const Dataset& data,
                    const std::string& options) {
  const std::string path = prepared_path(folder, split);
  check(data);
  const std::array<TensorBytes, 3> tensors{
      {{"offsets", DType::i64, {int64_t(data.offsets.size())}, data.offsets.data()},
       {"labels", DType::i32, {int64_t(data.labels.size())}, data.labels.data()},
       {"symbols", DType::u8, {int64_t(data.symbols.size())}, data.symbols.data()}}};
  write_checked(
      path, tensors,
      {{"data_format", kFormat}, {"kind", data.kind->name}, {"split", std::string(split)}, {"options", options}});
}

bool is_prepared(const SafetensorsFile& file) { return file.metadata().count("data_format") > 0; }

Dataset open_prepared(const std::string& path, std::string_view split) {
  const auto file = std::make_shared<const SafetensorsFile>(path);
  if (!is_prepared(*file))
    throw Error(fmt::format("{}: is not prepared data: no \"data_format\" in its metadata", path));
  if (const std::string& version = metadata_string(*file, "data_format"); version != kFormat)
    throw Error(
        fmt::format("{}: data format is version {:.40}, this program reads version {}", path, version, kFormat));
  verify_checksum(*file);
  if (!split.empty() && metadata_string(*file, "split") != split)
    throw Error(fmt::format("{}: holds the split {:.20}, wanted {}", path, metadata_string(*file, "split"), split));
  Dataset d;
  d.name = path;
  try {
    d.kind = &kind_named(metadata_string(*file, "kind"));
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", path, e.what()));
  }
  d.offsets = tensor<int64_t>(*file, "offsets", DType::i64);
  d.labels = tensor<int32_t>(*file, "labels", DType::i32);
  d.symbols = tensor<uint8_t>(*file, "symbols", DType::u8);
  d.storage = d.file = file;
  check(d);
  return d;
}

int64_t split_count(const std::string& source, std::string_view split, int64_t wanted, int64_t available) {
  if (wanted > available)
    throw Error(fmt::format("{}: {} examples are wanted for {}, there are {}; 0 takes all", source, wanted, split,
                            available));
  return wanted > 0 ? wanted : available;
}

void need_kind(const Dataset& data, const Kind& kind, const char* owner) {
  if (data.kind != &kind)
    throw Error(fmt::format("{}: is data of kind {}, {} is {}", data.name, data.kind->name, owner, kind.name));
}

bool has_split(const std::string& folder, const Kind& kind, std::string_view split) {
  return std::filesystem::exists(prepared_path(folder, split)) ||
         (kind.name == "listops" && std::filesystem::exists(listops_path(folder, split)));
}

Dataset read_split(const std::string& folder, const Kind& kind, std::string_view split) {
  const std::string path = prepared_path(folder, split);
  need_folder(folder, kind);
  need_whole(folder);
  if (std::filesystem::exists(path)) {
    Dataset d = open_prepared(path, split);
    need_kind(d, kind, "the recipe's data.task");
    return d;
  }
  if (kind.name == "listops") {
    if (const std::string tsv = listops_path(folder, split); std::filesystem::exists(tsv)) return read_listops(tsv);
    throw Error(fmt::format("{}: neither {}.safetensors nor {} is there; make them with selene-prepare listops",
                            folder, split, std::filesystem::path(listops_path("", split)).filename().string()));
  }
  throw Error(fmt::format("{}: is not there; make it with selene-prepare {}", path, kind.name));
}

}  // namespace selene::data
