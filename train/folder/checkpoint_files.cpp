#include "train/folder/checkpoint_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "data/io/checksum.h"
#include "data/io/durable_file.h"
#include "data/prepared.h"
#include "kernels/error.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using data::SafetensorsFile;

constexpr const char* kVersion = "2";
constexpr std::string_view kPrefix = "update-", kSuffix = ".safetensors";

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<int64_t> update_of_name(const std::string& name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) || name.size() <= kPrefix.size() + kSuffix.size())
    return {};
  return whole_number(std::string_view(name).substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size()));
}

/// The caller's strings and the format's own, without the checksum.
data::Metadata with_own_keys(const std::string& path, int64_t update, const data::Metadata& metadata) {
  data::Metadata all = metadata;
  const data::Metadata own{{"format_version", kVersion}, {"update", std::to_string(update)}};
  for (const auto& [key, value] : own)
    if (!all.emplace(key, value).second)
      throw Error(fmt::format("{}: metadata \"{}\" belongs to the checkpoint format", path, key));
  return all;
}

}  // namespace

const std::string& Checkpoint::metadata(const std::string& key) const { return data::metadata_string(file, key); }

std::string checkpoint_name(int64_t update) { return fmt::format("{}{:08}{}", kPrefix, update, kSuffix); }

std::string write_checkpoint(const std::string& folder, int64_t update, std::span<const data::TensorBytes> tensors,
                             const data::Metadata& metadata) {
  const std::string name = checkpoint_name(update), path = (fs::path(folder) / name).string();
  if (update < 0) throw Error(fmt::format("{}: update is {}, wanted 0 or more", path, update));
  const data::Metadata all = with_own_keys(path, update, metadata);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(fmt::format("{}: folder cannot be created: {}", folder, error.message()));
  data::write_checked(path, tensors, all);
  return path;
}

bool is_checkpoint(const SafetensorsFile& file) {
  const data::Metadata& m = file.metadata();
  return m.count("format_version") || (m.count("checksum") && !data::is_prepared(file));
}

int64_t verify_checkpoint(const SafetensorsFile& file) {
  if (!is_checkpoint(file))
    throw Error(fmt::format("{}: is not a Selene checkpoint: no \"format_version\" in its metadata", file.path()));
  const std::string& version = data::metadata_string(file, "format_version");
  if (version != kVersion)
    throw Error(
        fmt::format("{}: checkpoint format is version {:.40}, this program reads version {} and converts none; "
                    "train again, or use the version of Selene that wrote it",
                    file.path(), version, kVersion));
  data::verify_checksum(file);
  const std::string& update = data::metadata_string(file, "update");
  const auto number = whole_number(update);
  if (!number) throw Error(fmt::format("{}: update is \"{:.40}\", wanted a number", file.path(), update));
  return *number;
}

std::string linked_file(const std::string& path) {
  const fs::path link(path);
  std::error_code none;
  if (!fs::is_regular_file(fs::symlink_status(link, none))) return path;
  const std::string target = data::link_target(link.parent_path().string(), link.filename().string());
  return update_of_name(target) ? (link.parent_path() / target).string() : path;
}

Checkpoint open_checkpoint(const std::string& path) {
  SafetensorsFile file(linked_file(path));
  const int64_t update = verify_checkpoint(file);
  return {std::move(file), update};
}

Checkpoint open_checkpoint(const CheckpointName& name) {
  Checkpoint found = open_checkpoint(name.path);
  if (found.update != name.update)
    throw Error(fmt::format("{}: holds update {}, which is not what its name says", name.path, found.update));
  return found;
}

std::vector<CheckpointName> list_checkpoints(const std::string& folder) {
  std::vector<CheckpointName> found;
  std::error_code error;
  for (const fs::directory_entry& e : fs::directory_iterator(folder, error))
    if (const auto update = update_of_name(e.path().filename().string()))
      found.push_back({*update, e.path().string()});
  if (error && error != std::errc::no_such_file_or_directory)
    throw Error(fmt::format("{}: folder cannot be read: {}", folder, error.message()));
  std::sort(found.begin(), found.end(),
            [](const CheckpointName& a, const CheckpointName& b) { return a.update > b.update; });
  return found;
}

std::optional<Checkpoint> copied_checkpoint(const std::string& folder, const char* name) {
  const fs::path path = fs::path(folder) / name;
  std::error_code none;
  if (!fs::is_regular_file(fs::symlink_status(path, none)) || !data::link_target(folder, name).empty()) return {};
  try {
    return open_checkpoint(path.string());
  } catch (const Error&) {
    return {};
  }
}

NewestCheckpoint newest_valid_checkpoint(const std::string& folder) {
  NewestCheckpoint newest;
  const std::vector<CheckpointName> all = list_checkpoints(folder);
  if (all.empty()) newest.found = copied_checkpoint(folder, "last");
  for (const CheckpointName& name : all) {
    try {
      newest.found = open_checkpoint(name);
      break;
    } catch (const Error& e) {
      std::error_code none;
      if (!fs::exists(fs::symlink_status(name.path, none))) continue;  // a run that goes on has removed it
      newest.refused.push_back({name.path, e.what()});
    }
  }
  return newest;
}

}  // namespace selene::train
