#include "data/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>

#include "data/durable_file.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

using nlohmann::json;

constexpr uint64_t MAX_HEADER = 100'000'000;  // bytes; the limit of the reference implementation
constexpr DType DTYPES[] = {DType::f32, DType::f16, DType::bf16, DType::f64, DType::i32, DType::i64, DType::u8};

std::optional<DType> dtype_named(const std::string& name) {
  for (DType t : DTYPES)
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

std::string brief(const json& value) {
  const std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

/// Parses the header and refuses what a plain JSON reader would let pass: repeated keys, deep nesting, names that
/// break a line.
json parse_header(const std::string& path, std::string_view text) {
  std::vector<std::set<std::string>> keys;  // of every open object
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > 3) throw Error(fmt::format("{}: header is nested deeper than safetensors has it", path));
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      const std::string& name = value.get_ref<const std::string&>();
      if (has_control_character(name))
        throw Error(fmt::format("{}: name {} in the header has a control character", path, brief(value)));
      if (!keys.back().insert(name).second)
        throw Error(fmt::format("{}: name {} stands twice in the header", path, brief(value)));
    }
    return true;
  };
  try {
    json header = json::parse(text.begin(), text.end(), check);
    if (text[0] != '{' || !header.is_object()) throw Error(fmt::format("{}: header is not a JSON object", path));
    return header;
  } catch (const json::exception& e) {
    throw Error(fmt::format("{}: header is not valid JSON: {}", path, e.what()));
  }
}

/// The member `key` of a tensor's description as a list of integers >= 0.
std::vector<int64_t> integers(const std::string& place, const json& info, const char* key) {
  std::vector<int64_t> values;
  const json& list = info.at(key);
  bool good = list.is_array();
  for (size_t i = 0; good && i < list.size(); ++i) {
    good = list[i].is_number_unsigned() && list[i].get<uint64_t>() <= uint64_t(INT64_MAX);
    if (good) values.push_back(list[i].get<int64_t>());
  }
  if (!good) throw Error(fmt::format("{}: {} is {}, wanted a list of integers >= 0", place, key, brief(list)));
  return values;
}

TensorEntry parse_entry(const std::string& path, const std::string& name, const json& info) {
  const std::string place = fmt::format("{}: tensor {}", path, brief(name));
  for (const char* key : {"dtype", "shape", "data_offsets"})
    if (!info.is_object() || !info.contains(key)) throw Error(fmt::format("{}: has no {}", place, key));
  if (info.size() != 3) throw Error(fmt::format("{}: wanted dtype, shape and data_offsets only", place));
  const json& type = info.at("dtype");
  const auto dtype = type.is_string() ? dtype_named(type.get<std::string>()) : std::nullopt;
  if (!dtype)
    throw Error(fmt::format("{}: dtype is {}, wanted F32, F16, BF16, F64, I32, I64 or U8", place, brief(type)));
  const std::vector<int64_t> shape = integers(place, info, "shape");
  const std::vector<int64_t> offsets = integers(place, info, "data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    throw Error(fmt::format("{}: data_offsets is {}, wanted [begin, end]", place, brief(info.at("data_offsets"))));
  const auto bytes = bytes_of(shape, *dtype);
  if (!bytes) throw Error(fmt::format("{}: shape {} is too large", place, brief(info.at("shape"))));
  if (offsets[1] - offsets[0] != *bytes)
    throw Error(fmt::format("{}: has {} bytes in the file, wanted {} for {} {}", place, offsets[1] - offsets[0],
                            *bytes, safetensors_name(*dtype), brief(info.at("shape"))));
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
                              brief(e.name), e.begin, end));
    end = e.end;
  }
  if (end > data_bytes)
    throw Error(fmt::format("{}: truncated: {} bytes of tensors, wanted {}", path, data_bytes, end));
  if (end < data_bytes) throw Error(fmt::format("{}: {} extra bytes behind the last tensor", path, data_bytes - end));
}

std::string quote(const std::string& text) {
  try {
    return json(text).dump();
  } catch (const json::exception&) {
    throw Error(fmt::format("safetensors: text beginning with {} is not UTF-8", brief(text.substr(0, 60))));
  }
}

}  // namespace

const char* safetensors_name(DType dtype) {
  constexpr const char* names[] = {"F32", "F16", "BF16", "F64", "I32", "I64", "U8"};
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
  if (length < 2 || length > MAX_HEADER || length > size() - 8)
    throw Error(
        fmt::format("{}: header length {} does not fit a file of {} bytes: truncated, or not a safetensors file",
                    path_, length, size()));
  header_.resize(8 + length);
  take(header_.data(), header_.size());
  const json header = parse_header(path_, std::string_view(header_).substr(8));
  for (const auto& [name, info] : header.items()) {
    if (name != "__metadata__") {
      entries_.push_back(parse_entry(path_, name, info));
      continue;
    }
    if (!info.is_object()) throw Error(fmt::format("{}: __metadata__ is {}, wanted an object", path_, brief(info)));
    for (const auto& [key, value] : info.items()) {
      if (!value.is_string())
        throw Error(fmt::format("{}: __metadata__ {} is {}, wanted a string", path_, brief(key), brief(value)));
      metadata_[key] = value.get<std::string>();
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
        fmt::format("safetensors: tensor \"{}\" of shape {} {}", tensor.name, json(tensor.shape).dump(), what));
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
      throw Error(fmt::format("safetensors: tensor name {} is repeated or not allowed", brief(t.name)));
    const uint64_t begin = end;
    end += byte_count(t);
    text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}},", quote(t.name),
                        safetensors_name(t.dtype), json(t.shape).dump(), begin, end);
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
