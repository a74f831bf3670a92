#include "data/columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernels/error.h"

namespace selene::data {

std::vector<int32_t> Column::ids(int64_t i, int64_t begin, int64_t end) const {
  const auto part = [&](const auto& all) { return std::vector<int32_t>(all.begin() + begin, all.begin() + end); };
  if (dtype == DType::u8) return part(row<uint8_t>(i));
  return dtype == DType::u16 ? part(row<uint16_t>(i)) : part(row<int32_t>(i));
}

DType id_type(int64_t count) { return count <= 256 ? DType::u8 : count <= 65536 ? DType::u16 : DType::i32; }

std::vector<uint8_t> packed(std::span<const int32_t> ids, DType type) {
  const size_t width = size_t(size_of(type));
  std::vector<uint8_t> bytes(ids.size() * width);
  for (size_t i = 0; i < ids.size(); ++i)
    std::memcpy(&bytes[i * width], &ids[i], width);  // little-endian, as the file
  return bytes;
}

Column Column::first(int64_t count) const {
  Column cut = *this;
  if (!offsets.empty()) cut.offsets = offsets.first(size_t(count) + 1);
  const int64_t kept = offsets.empty() ? count : cut.offsets.back();
  cut.bytes = bytes.first(size_t(kept * size_of(dtype)));
  return cut;
}

void Column::check(const std::string& owner) const {
  if (offsets.empty()) return;
  if (offsets.front() != 0 || offsets.back() != elements() || !std::is_sorted(offsets.begin(), offsets.end()))
    throw Error(fmt::format("{}: offsets of {} do not ascend from 0 to its {} elements", owner, name, elements()));
}

void Column::need_type(DType wanted) const {
  if (dtype != wanted)
    throw Error(fmt::format("column {}: is of {}, wanted {}", name, name_of(dtype), name_of(wanted)));
}

}  // namespace selene::data
