#include "data/prepared.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "data/io/checksum.h"
#include "data/io/image.h"
#include "kernels/error.h"
#include "kernels/join.h"

namespace selene::data {
namespace {

constexpr const char* kFormat = "3";

/// The bytes of a tensor of one dimension. Error for another number of them, and where it begins at an address that
/// its type cannot have.
std::span<const uint8_t> flat_bytes(const SafetensorsFile& file, const TensorEntry& entry) {
  if (entry.shape.size() != 1)
    throw Error(
        fmt::format("{}: tensor {} is of {} dimensions, wanted one", file.path(), entry.name, entry.shape.size()));
  const std::span<const uint8_t> bytes = file.bytes(entry);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % uintptr_t(size_of(entry.dtype)) != 0)
    throw Error(fmt::format("{}: tensor {} is not aligned; this program writes offsets first, then wide types",
                            file.path(), entry.name));
  return bytes;
}

/// A column as its kind wants it.
Column read_column(const SafetensorsFile& file, const ColumnForm& form) {
  const auto tensor = [&](const std::string& name, std::span<const DType> types) -> const TensorEntry& {
    const TensorEntry& entry = file.at(name);
    if (std::find(types.begin(), types.end(), entry.dtype) == types.end())
      throw Error(fmt::format("{}: tensor {} is {}, wanted {}", file.path(), name, name_of(entry.dtype),
                              join(types, " or ", [](DType type) { return name_of(type); })));
    return entry;
  };
  const TensorEntry& entry = tensor(form.name, form.types);
  Column c{form.name, entry.dtype, flat_bytes(file, entry), {}};
  if (!form.ragged) return c;
  constexpr DType i64[] = {DType::i64};
  const TensorEntry& offsets = tensor(form.name + ".offsets", i64);
  if (offsets.numel() == 0) throw Error(fmt::format("{}: tensor {} is empty", file.path(), offsets.name));
  c.offsets = {reinterpret_cast<const int64_t*>(flat_bytes(file, offsets).data()), size_t(offsets.numel())};
  return c;
}

/// Error for an empty row, which no model reads, and for images that are no squares of one size.
void check_rows(const Dataset& d) {
  const auto offsets = d.offsets();
  const int64_t first = offsets[1], side = square_side(first);
  for (size_t r = 1; r < offsets.size(); ++r) {
    const int64_t length = offsets[r] - offsets[r - 1];
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

/// Error unless the columns fit together and hold what the kind allows, so that nobody has to look again.
void check(const Dataset& d) {
  if (d.examples() == 0) throw Error(fmt::format("{}: no examples", d.name));
  for (const Column& c : d.columns) c.check(d.name);
  if (d.kind->check) return d.kind->check(d);
  const auto labels = d.labels();
  if (const size_t rows = labels.size() * size_t(d.towers()); d.offsets().size() != rows + 1)
    throw Error(fmt::format("{}: {} offsets for {} examples, wanted {}", d.name, d.offsets().size(), labels.size(),
                            rows + 1));
  for (const int32_t label : labels)
    if (label < 0 || label >= d.classes())
      throw Error(fmt::format("{}: label {}, wanted 0 to {}", d.name, label, d.classes() - 1));
  check_rows(d);
  const size_t known = d.kind->symbol_names.size();
  const auto symbols = d.symbols();
  if (known < 256 && !symbols.empty())
    if (const uint8_t largest = *std::max_element(symbols.begin(), symbols.end()); largest >= known)
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
  std::vector<TensorBytes> tensors;
  for (const Column& c : data.columns)
    if (!c.offsets.empty())
      tensors.push_back({c.name + ".offsets", DType::i64, {int64_t(c.offsets.size())}, c.offsets.data()});
  for (const int64_t width : {4, 2, 1})  // so that each is aligned
    for (const Column& c : data.columns)
      if (size_of(c.dtype) == width) tensors.push_back({c.name, c.dtype, {c.elements()}, c.bytes.data()});
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
        fmt::format("{}: data format is version {:.40}, this program reads version {}; prepare the data again, "
                    "selene-prepare with --force",
                    path, version, kFormat));
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
  for (const ColumnForm& form : d.kind->columns) d.columns.push_back(read_column(*file, form));
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
         (kind.official_path && std::filesystem::exists(kind.official_path(folder, split)));
}

Dataset read_split(const std::string& folder, const Kind& kind, std::string_view split) {
  const std::string path = prepared_path(folder, split);
  need_folder(folder, kind);
  need_whole(folder);
  if (std::filesystem::exists(path)) {
    Dataset d = open_prepared(path, split);
    need_kind(d, kind, "the recipe's data.kind");
    return d;
  }
  if (kind.official_path) {
    const std::string official = kind.official_path(folder, split);
    if (std::filesystem::exists(official)) return kind.read_official(official);
    throw Error(fmt::format("{}: neither {}.safetensors nor {} is there; make them with selene-prepare {}", folder,
                            split, std::filesystem::path(official).filename().string(), kind.name));
  }
  throw Error(fmt::format("{}: is not there; make it with selene-prepare {}", path, kind.name));
}

}  // namespace selene::data
