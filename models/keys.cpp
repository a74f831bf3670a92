#include "models/keys.h"

#include <fmt/format.h>

#include "kernels/error.h"
#include "models/registry.h"

namespace selene {

OwnValues::OwnValues() {
  for (const Mechanism& m : attentions())
    for (const OwnKey& key : m.keys) values_[fmt::format("{}.{}", m.name, key.name)] = key.initial;
}

OwnValue& OwnValues::at(std::string_view key) {
  const auto found = values_.find(key);
  if (found == values_.end()) throw Error(fmt::format("model.{}: no attention mechanism has this key", key));
  return found->second;
}

}  // namespace selene
