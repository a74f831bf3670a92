// Files that are read whole. Only regular ones: a pipe would wait for its writer, a device may never end.
#pragma once
#include <cstdint>
#include <string>

namespace selene::data {

/// The content of a file. Error (path, what was found, `wanted`: "a recipe") where it cannot be opened or read, with
/// the system's reason; where it is a folder, a pipe or a device; where it has more than `largest` bytes.
std::string read_regular_file(const std::string& path, uint64_t largest, const char* wanted);

}  // namespace selene::data
