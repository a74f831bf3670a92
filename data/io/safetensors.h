// Safetensors files (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, a JSON header,
// the tensors' bytes without gaps. Knows names, element types, shapes and bytes; no Tensor, no device.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/io/open_file.h"
#include "kernels/dtype.h"

namespace selene::data {

using Metadata = std::map<std::string, std::string>;

/// One tensor of a file.
struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;   // empty for a scalar
  uint64_t begin = 0, end = 0;  // bytes, counted from the end of the header

  int64_t numel() const { return int64_t(end - begin) / size_of(dtype); }
};

/// One tensor to be written: row-major and dense; `data` is borrowed host memory, null only if there are 0 bytes.
struct TensorBytes {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  const void* data = nullptr;
};

/// "F32", "BF16", ... as the format spells them.
const char* safetensors_name(DType dtype);

/// A validated file. Its tensors are read when they are first asked for. Copies share file and memory.
class SafetensorsFile {
 public:
  /// Opens the file and checks its header. Error (file, what was found, what was wanted) if it cannot be read or if
  /// anything in it is not as the format says: header length, JSON, element types, shapes, offsets, repeated names,
  /// missing or extra bytes; and for a byte of 0 in a text.
  explicit SafetensorsFile(const std::string& path);
  /// The same on bytes in memory, which are borrowed; `name` stands in messages.
  SafetensorsFile(std::string name, std::span<const uint8_t> content);

  const std::string& path() const { return path_; }
  /// In the order of their bytes in the file.
  const std::vector<TensorEntry>& entries() const { return entries_; }
  const Metadata& metadata() const { return metadata_; }
  /// Null if there is no such tensor.
  const TensorEntry* find(const std::string& name) const;
  /// Error if there is no such tensor.
  const TensorEntry& at(const std::string& name) const;
  /// The tensor's bytes, [end - begin]. NOT aligned to its element type in general: copy with memcpy. Error as
  /// content().
  std::span<const uint8_t> bytes(const TensorEntry& entry) const;
  /// Bytes of the whole file.
  uint64_t size() const { return file_ ? file_->size() : borrowed_.size(); }
  /// The beginning of the file: 8 bytes length and the JSON text with its padding.
  const std::string& header() const { return header_; }
  /// The whole file in memory. Error where it cannot be read any more.
  std::span<const uint8_t> content() const { return file_ ? file_->all() : borrowed_; }
  /// Error where the file was changed since content() or bytes() read it (data/io/open_file.h).
  void need_unchanged() const {
    if (file_) file_->need_unchanged();
  }

 private:
  void read();

  std::string path_;
  std::shared_ptr<OpenFile> file_;  // null for bytes in memory
  std::span<const uint8_t> borrowed_;
  std::string header_;
  std::vector<TensorEntry> entries_;
  std::unordered_map<std::string, size_t> index_;
  Metadata metadata_;
};

/// The first bytes of a file with these tensors in this order: length and JSON, padded with spaces to a multiple
/// of 8. Error for a repeated or forbidden name, a negative or overflowing shape, text that is not UTF-8.
std::string safetensors_header(std::span<const TensorBytes> tensors, const Metadata& metadata);

/// Bytes of one tensor. Error (with its name) for a negative or overflowing shape or missing data.
uint64_t byte_count(const TensorBytes& tensor);

/// Writes a file, complete or not at all (data/io/durable_file.h), streaming the tensors from where they are.
void write_safetensors(const std::string& path, std::span<const TensorBytes> tensors, const Metadata& metadata = {});

}  // namespace selene::data
