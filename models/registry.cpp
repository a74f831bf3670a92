#include "models/registry.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace selene {
namespace mechanisms {
Mechanism full(), luna();  // each in its file of models/attention/
}

std::span<const Mechanism> attentions() {
  static const std::vector<Mechanism> all{mechanisms::full(), mechanisms::luna()};
  return all;
}

const Mechanism& attention_named(const std::string& name) {
  std::string known;
  for (const Mechanism& m : attentions()) {
    if (name == m.name) return m;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", m.name);
  }
  throw Error(fmt::format("model.name is '{}', wanted one of {}", name, known));
}

}  // namespace selene
