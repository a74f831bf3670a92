// Safetensors files with a checksum of the whole file in their metadata: checkpoints and prepared data. The checksum,
// under `checksum`, is 16 hexadecimal digits: XXH64 (data/io/xxhash64.h) of header and tensors, read with these 16
// digits as zeros. So every changed, missing or extra byte of the file is found.
#pragma once
#include <span>
#include <string>

#include "data/io/safetensors.h"

namespace selene::data {

/// Writes a file, complete or not at all, with its checksum. The tensors must not change during the call. Error for a
/// metadata key `checksum` or one with a quote or backslash, and whatever write_safetensors refuses.
void write_checked(const std::string& path, std::span<const TensorBytes> tensors, const Metadata& metadata);
/// Error (file, checksum found, checksum wanted) unless the file is as it was written. Reads all of it.
void verify_checksum(const SafetensorsFile& file);
/// A string of the metadata. Error, with the file's name, if it has none.
const std::string& metadata_string(const SafetensorsFile& file, const std::string& key);

}  // namespace selene::data
