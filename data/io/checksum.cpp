#include "data/io/checksum.h"

#include <fmt/format.h>

#include <string_view>

#include "data/io/durable_file.h"
#include "data/io/xxhash64.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr std::string_view kNone = "0000000000000000";
// Quotes inside JSON strings are escaped and keys with quotes are refused, so this can only be the key itself.
constexpr std::string_view kKey = "\"checksum\":\"";

/// Header bytes with the checksum's place filled with `digits`.
std::string with_checksum(const std::string& path, std::string header, std::string_view digits) {
  const size_t key = header.find(kKey, 8), at = key + kKey.size();
  if (key == std::string::npos || at + digits.size() > header.size())
    throw Error(fmt::format("{}: checksum is not where it was written", path));
  return header.replace(at, digits.size(), digits);
}

}  // namespace

void write_checked(const std::string& path, std::span<const TensorBytes> tensors, const Metadata& metadata) {
  for (const auto& [key, value] : metadata)  // a quote in a key could pass for the checksum's key
    if (key.find_first_of("\"\\") != std::string::npos)
      throw Error(fmt::format("{}: metadata \"{}\" has a quote or backslash in its name", path, key));
  Metadata all = metadata;
  if (!all.emplace("checksum", kNone).second)
    throw Error(fmt::format("{}: metadata \"checksum\" belongs to the file format", path));
  std::string header = safetensors_header(tensors, all);
  XxHash64 hash;
  hash.update(header.data(), header.size());
  for (const TensorBytes& t : tensors) hash.update(t.data, byte_count(t));
  header = with_checksum(path, std::move(header), hash.text());
  DurableFile file(path);
  file.write(header.data(), header.size());
  for (const TensorBytes& t : tensors) file.write(t.data, byte_count(t));
  file.commit();
}

void verify_checksum(const SafetensorsFile& file) {
  const std::string& wanted = metadata_string(file, "checksum");
  const std::string zeroed = with_checksum(file.path(), file.header(), kNone);
  const auto tensors = file.content().subspan(zeroed.size());
  XxHash64 hash;
  hash.update(zeroed.data(), zeroed.size());
  hash.update(tensors.data(), tensors.size());
  if (hash.text() != wanted)
    throw Error(fmt::format("{}: damaged: checksum of its bytes is {}, the file says {:.40}", file.path(),
                            hash.text(), wanted));
}

const std::string& metadata_string(const SafetensorsFile& file, const std::string& key) {
  const auto it = file.metadata().find(key);
  if (it == file.metadata().end()) throw Error(fmt::format("{}: has no \"{}\" in its metadata", file.path(), key));
  return it->second;
}

}  // namespace selene::data
