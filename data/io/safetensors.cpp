#include "data/io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>

#include "data/io/durable_file.h"
#include "data/io/json.h"
#include "data/io/printable.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // bytes; the limit of the reference implementation
constexpr int kDeepestHeader = 3;             // levels: all, a tensor, a list
constexpr DType kDtypes[] = {DType::f32, DType::f16, DType::bf16, DType::f64,
                             DType::i32, DType::i64, DType::u8,   DType::u16};

std::optional<DType> dtype_named(const std::string& name) {
  for (DType t : kDtypes)
    if (name == safetensors_name(t)) return t;
  return std::nullopt;
}

/// Names stand in messages and listings of one line each.
bool has_control_character(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

/// Elements of `shape` times bytes per element, or nothing if that overflows or a dimension is negative.
std::optional<int64_t> bytes_of(const std::vector<int64_t>& shape, DType dtype) {
  int64_t n = size_of(dtype);
  for (int64_t d : shape)
    if (d < 0 || __builtin_mul_overflow(n, d, &n)) return std::nullopt;
  return n;
}

std::string brief(const Json& value) { return shown_bare(value.dump()); }

/// Error for a name that breaks a line of a listing.
void check_name(const std::string& path, const std::string& name) {
  if (has_control_character(name))
    throw Error(fmt::format("{}: name {} in the header has a control character", path, shown(name)));
}

/// The member `key` of a tensor's description as a list of integers >= 0.
std::vector<int64_t> integers(const std::string& place, const Json& value, const char* key) {
  std::vector<int64_t> values;
  const Json::List* list = value.list();
  bool good = list != nullptr;
  for (size_t i = 0; good && i < list->size(); ++i) {
    const auto number = (*list)[i].integer();
    good = number && *number >= 0;
    if (good) values.push_back(*number);
  }
  if (!good) throw Error(fmt::format("{}: {} is {}, wanted a list of integers >= 0", place, key, brief(value)));
  return values;
}

TensorEntry parse_entry(const std::string& path, const std::string& name, const Json& info) {
  const std::string place = fmt::format("{}: tensor {}", path, shown(name));
  for (const char* key : {"dtype", "shape", "data_offsets"})
    if (!info.find(key)) throw Error(fmt::format("{}: has no {}", place, key));
  if (info.members()->size() != 3) throw Error(fmt::format("{}: wanted dtype, shape and data_offsets only", place));
  const Json &type = info.at("dtype"), &offset_list = info.at("data_offsets"), &shape_list = info.at("shape");
  const auto dtype = type.text() ? dtype_named(*type.text()) : std::nullopt;
  if (!dtype)
    throw Error(fmt::format("{}: dtype is {}, wanted F32, F16, BF16, F64, I32, I64, U8 or U16", place, brief(type)));
  const std::vector<int64_t> shape = integers(place, shape_list, "shape");
  const std::vector<int64_t> offsets = integers(place, offset_list, "data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    throw Error(fmt::format("{}: data_offsets is {}, wanted [begin, end]", place, brief(offset_list)));
  const auto bytes = bytes_of(shape, *dtype);
  if (!bytes) throw Error(fmt::format("{}: shape {} is too large", place, brief(shape_list)));
  if (offsets[1] - offsets[0] != *bytes)
    throw Error(fmt::format("{}: has {} bytes in the file, wanted {} for {} {}", place, offsets[1] - offsets[0],
                            *bytes, safetensors_name(*dtype), brief(shape_list)));
  return {name, *dtype, shape, uint64_t(offsets[0]), uint64_t(offsets[1])};
}

/// Sorts by place in the file and wants every byte of the data to belong to exactly one tensor.
void check_layout(const std::string& path, std::vector<TensorEntry>& entries, uint64_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t end = 0;
  for (const TensorEntry& e : entries) {
    if (e.begin != end)
      throw Error(fmt::format("{}: tensor {} begins at byte {} of the data, wanted {} (no gaps, no overlaps)", path,
                              shown(e.name), e.begin, end));
    end = e.end;
  }
  if (end > data_bytes)
    throw Error(fmt::format("{}: truncated: {} bytes of tensors, wanted {}", path, data_bytes, end));
  if (end < data_bytes) throw Error(fmt::format("{}: {} extra bytes after the last tensor", path, data_bytes - end));
}

/// Metadata must come back as it was, so nothing in it is replaced.
std::string quote(const std::string& text) {
  for (std::string_view rest = text; !rest.empty();) {
    const Character c = first_character(rest);
    if (!c.valid) throw Error(fmt::format("safetensors: text beginning with {} is not UTF-8", shown(text)));
    rest.remove_prefix(c.bytes);
  }
  return quoted_json(text);
}

}  // namespace

const char* safetensors_name(DType dtype) {
  constexpr const char* names[] = {"F32", "F16", "BF16", "F64", "I32", "I64", "U8", "U16"};
  return names[int(dtype)];
}

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path), file_(std::make_shared<OpenFile>(path)) {
  read();
}

SafetensorsFile::SafetensorsFile(std::string name, std::span<const uint8_t> content)
    : path_(std::move(name)), borrowed_(content) {
  read();
}

void SafetensorsFile::read() {
  const auto take = [&](void* to, uint64_t count) {
    if (file_) file_->read(to, count, 0);
    else std::memcpy(to, borrowed_.data(), count);
  };
  uint64_t length = 0;
  if (size() < 8)
    throw Error(fmt::format("{}: has {} bytes, wanted at least the 8 of the header length", path_, size()));
  take(&length, 8);
  if (length < 2 || length > kMaxHeader || length > size() - 8)
    throw Error(
        fmt::format("{}: header length {} does not fit a file of {} bytes: truncated, or not a safetensors file",
                    path_, length, size()));
  header_.resize(8 + length);
  take(header_.data(), header_.size());
  if (header_[8] != '{') throw Error(fmt::format("{}: header is not a JSON object", path_));
  const Json header = parse_json(std::string_view(header_).substr(8), path_ + ": header", kDeepestHeader);
  for (const auto& [name, info] : *header.members()) {
    check_name(path_, name);
    if (name != "__metadata__") {
      entries_.push_back(parse_entry(path_, name, info));
      continue;
    }
    if (!info.members()) throw Error(fmt::format("{}: __metadata__ is {}, wanted an object", path_, brief(info)));
    for (const auto& [key, value] : *info.members()) {
      check_name(path_, key);
      if (!value.text())
        throw Error(fmt::format("{}: __metadata__ {} is {}, wanted a string", path_, shown(key), brief(value)));
      if (value.text()->find('\0') != std::string::npos)  // what stands in a message ends there
        throw Error(fmt::format("{}: __metadata__ {} is {}, wanted text without a byte of 0", path_, shown(key),
                                brief(value)));
      metadata_[key] = *value.text();
    }
  }
  check_layout(path_, entries_, size() - header_.size());
  for (size_t i = 0; i < entries_.size(); ++i) index_[entries_[i].name] = i;
}

const TensorEntry* SafetensorsFile::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &entries_[it->second];
}

const TensorEntry& SafetensorsFile::at(const std::string& name) const {
  const TensorEntry* entry = find(name);
  if (!entry) throw Error(fmt::format("{}: has no tensor \"{}\"", path_, name));
  return *entry;
}

std::span<const uint8_t> SafetensorsFile::bytes(const TensorEntry& entry) const {
  return content().subspan(header_.size() + entry.begin, entry.end - entry.begin);
}

uint64_t byte_count(const TensorBytes& tensor) {
  const auto bytes = bytes_of(tensor.shape, tensor.dtype);
  const auto fail = [&](const char* what) {
    throw Error(
        fmt::format("safetensors: tensor \"{}\" of shape {} {}", tensor.name, Json(tensor.shape).dump(), what));
  };
  if (!bytes) fail("has a negative or too large dimension");
  if (*bytes > 0 && !tensor.data) fail("has no data");
  return uint64_t(*bytes);
}

std::string safetensors_header(std::span<const TensorBytes> tensors, const Metadata& metadata) {
  std::set<std::string> names{"__metadata__"};
  uint64_t end = 0;
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) text += quote(key) + ":" + quote(value) + ",";
    text.back() = '}';
    text += ",";
  }
  for (const TensorBytes& t : tensors) {
    if (!names.insert(t.name).second || has_control_character(t.name))
      throw Error(fmt::format("safetensors: tensor name {} is repeated or not allowed", shown(t.name)));
    const uint64_t begin = end;
    end += byte_count(t);
    text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}},", quote(t.name),
                        safetensors_name(t.dtype), Json(t.shape).dump(), begin, end);
  }
  if (text.size() > 1) text.pop_back();
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + text;
}

void write_safetensors(const std::string& path, std::span<const TensorBytes> tensors, const Metadata& metadata) {
  const std::string header = safetensors_header(tensors, metadata);
  DurableFile file(path);
  file.write(header.data(), header.size());
  for (const TensorBytes& t : tensors) file.write(t.data, byte_count(t));
  file.commit();
}

}  // namespace selene::data
