#include "train/checkpoint_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "data/durable_file.h"
#include "data/xxhash64.h"
#include "kernels/error.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using data::SafetensorsFile;

constexpr const char* VERSION = "1";
constexpr std::string_view NO_CHECKSUM = "0000000000000000";
// Quotes inside JSON strings are escaped and keys with quotes are refused, so this can only be the key itself.
constexpr std::string_view CHECKSUM_KEY = "\"checksum\":\"";
constexpr std::string_view PREFIX = "update-", SUFFIX = ".safetensors";

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<int64_t> update_of_name(const std::string& name) {
  if (!name.starts_with(PREFIX) || !name.ends_with(SUFFIX) || name.size() <= PREFIX.size() + SUFFIX.size()) return {};
  return whole_number(std::string_view(name).substr(PREFIX.size(), name.size() - PREFIX.size() - SUFFIX.size()));
}

const std::string& string_of(const SafetensorsFile& file, const std::string& key) {
  const auto it = file.metadata().find(key);
  if (it == file.metadata().end()) throw Error(fmt::format("{}: has no \"{}\" in its metadata", file.path(), key));
  return it->second;
}

/// Header bytes with the checksum's place filled with `digits`.
std::string with_checksum(const std::string& path, std::string header, std::string_view digits) {
  const size_t key = header.find(CHECKSUM_KEY, 8), at = key + CHECKSUM_KEY.size();
  if (key == std::string::npos || at + digits.size() > header.size())
    throw Error(fmt::format("{}: checksum is not where it was written", path));
  return header.replace(at, digits.size(), digits);
}

std::string hex(uint64_t checksum) { return fmt::format("{:016x}", checksum); }

/// The caller's strings and the format's own, the checksum still zeros.
data::Metadata with_own_keys(const std::string& path, int64_t update, const data::Metadata& metadata) {
  data::Metadata all = metadata;
  const data::Metadata own{
      {"format_version", VERSION}, {"update", std::to_string(update)}, {"checksum", std::string(NO_CHECKSUM)}};
  for (const auto& [key, value] : metadata)  // a quote in a key could pass for the checksum's key
    if (key.find_first_of("\"\\") != std::string::npos)
      throw Error(fmt::format("{}: metadata \"{}\" has a quote or backslash in its name", path, key));
  for (const auto& [key, value] : own)
    if (!all.emplace(key, value).second)
      throw Error(fmt::format("{}: metadata \"{}\" belongs to the checkpoint format", path, key));
  return all;
}

/// Name that the link folder/name points to; empty if there is none.
std::string link_target(const std::string& folder, const char* name) {
  std::error_code error;
  const fs::path target = fs::read_symlink(fs::path(folder) / name, error);
  return error ? "" : target.filename().string();
}

void remove_old(const std::string& folder, int64_t newest) {
  if (newest <= 0) return;
  const std::vector<CheckpointName> all = list_checkpoints(folder);
  const std::string last = link_target(folder, "last"), best = link_target(folder, "best");
  for (size_t i = size_t(newest); i < all.size(); ++i) {
    const std::string name = fs::path(all[i].path).filename().string();
    std::error_code error;
    if (name != last && name != best) fs::remove(all[i].path, error);
    if (error) throw Error(fmt::format("{}: old checkpoint cannot be removed: {}", all[i].path, error.message()));
  }
  data::sync_folder(folder);
}

}  // namespace

const std::string& Checkpoint::metadata(const std::string& key) const { return string_of(file, key); }

std::string checkpoint_name(int64_t update) { return fmt::format("{}{:08}{}", PREFIX, update, SUFFIX); }

std::string write_checkpoint(const std::string& folder, int64_t update, std::span<const data::TensorBytes> tensors,
                             const data::Metadata& metadata, const KeepRule& keep) {
  const std::string name = checkpoint_name(update), path = (fs::path(folder) / name).string();
  if (update < 0) throw Error(fmt::format("{}: update is {}, wanted 0 or more", path, update));
  const data::Metadata all = with_own_keys(path, update, metadata);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(fmt::format("{}: folder cannot be created: {}", folder, error.message()));

  std::string header = data::safetensors_header(tensors, all);
  data::XxHash64 hash;
  hash.update(header.data(), header.size());
  for (const data::TensorBytes& t : tensors) hash.update(t.data, data::byte_count(t));
  header = with_checksum(path, std::move(header), hex(hash.digest()));

  data::DurableFile file(path);
  file.write(header.data(), header.size());
  for (const data::TensorBytes& t : tensors) file.write(t.data, data::byte_count(t));
  file.commit();
  data::replace_link(folder, "last", name);
  if (keep.best) data::replace_link(folder, "best", name);
  remove_old(folder, keep.newest);
  return path;
}

bool is_checkpoint(const SafetensorsFile& file) {
  return file.metadata().count("format_version") + file.metadata().count("checksum") > 0;
}

int64_t verify_checkpoint(const SafetensorsFile& file) {
  if (!is_checkpoint(file))
    throw Error(fmt::format("{}: is not a Selene checkpoint: no \"format_version\" in its metadata", file.path()));
  const std::string& version = string_of(file, "format_version");
  if (version != VERSION)
    throw Error(fmt::format("{}: checkpoint format is version {:.40}, this program reads version {}", file.path(),
                            version, VERSION));
  const std::string& wanted = string_of(file, "checksum");
  const std::string header(file.header().begin(), file.header().end());
  const std::string zeroed = with_checksum(file.path(), header, NO_CHECKSUM);
  const auto tensors = file.content().subspan(header.size());
  data::XxHash64 hash;
  hash.update(zeroed.data(), zeroed.size());
  hash.update(tensors.data(), tensors.size());
  if (hex(hash.digest()) != wanted)
    throw Error(fmt::format("{}: damaged: checksum of its bytes is {}, the file says {:.40}", file.path(),
                            hex(hash.digest()), wanted));
  const std::string& update = string_of(file, "update");
  const auto number = whole_number(update);
  if (!number) throw Error(fmt::format("{}: update is \"{:.40}\", wanted a number", file.path(), update));
  return *number;
}

Checkpoint open_checkpoint(const std::string& path) {
  SafetensorsFile file(path);
  const int64_t update = verify_checkpoint(file);
  return {std::move(file), update};
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

NewestCheckpoint newest_valid_checkpoint(const std::string& folder) {
  NewestCheckpoint newest;
  for (const CheckpointName& name : list_checkpoints(folder)) {
    try {
      newest.found = open_checkpoint(name.path);
      break;
    } catch (const Error& e) {
      newest.refused.push_back({name.path, e.what()});
    }
  }
  return newest;
}

}  // namespace selene::train
