#include "models/registry.h"

#include <fmt/format.h>

#include "kernels/error.h"
#include "kernels/join.h"

namespace selene {
namespace mechanisms {
Mechanism efficient(), full(), luna();  // each in its file of models/attention/
}

std::span<const Mechanism> attentions() {
  static const std::vector<Mechanism> all{mechanisms::full(), mechanisms::luna(), mechanisms::efficient()};
  return all;
}

const Mechanism& attention_named(const std::string& name) {
  for (const Mechanism& m : attentions())
    if (name == m.name) return m;
  throw Error(
      fmt::format("model.attention is '{}', wanted one of {}", name, join(attentions(), ", ", &Mechanism::name)));
}

std::string attention_label(const std::string& attention,
                            const std::function<std::string(const std::string&)>& value) {
  const Mechanism& m = attention_named(attention);
  const std::string label(m.label.empty() ? m.name : m.label);
  return m.sized_by.empty() ? label
                            : fmt::format("{}-{}", label, value(fmt::format("model.{}.{}", m.name, m.sized_by)));
}

}  // namespace selene
