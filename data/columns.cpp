#include "data/columns.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"

namespace selene::data {

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
