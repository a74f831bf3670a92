#include "data/batch.h"

#include <fmt/format.h>

#include <utility>

#include "kernels/error.h"

namespace selene::data {

const Array& Batch::at(std::string_view name) const {
  for (const std::vector<Array>* list : {&inputs, &targets})
    for (const Array& array : *list)
      if (array.name == name) return array;
  throw Error(fmt::format("batch: has no array '{}'", name));
}

Array& Batch::at(std::string_view name) { return const_cast<Array&>(std::as_const(*this).at(name)); }

}  // namespace selene::data
