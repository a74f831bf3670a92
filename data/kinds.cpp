// The table of data kinds: a new task's data is a row here, a reader, and a subcommand of selene-prepare.
#include <fmt/format.h>

#include "data/dataset.h"
#include "data/lra/listops/listops.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

/// "0" to "last": bytes and grey values, and ListOps' answers.
std::vector<std::string> numbers(int last) {
  std::vector<std::string> names;
  for (int i = 0; i <= last; ++i) names.push_back(std::to_string(i));
  return names;
}

}  // namespace

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> table{
      {"listops", listops_symbol_names(), numbers(9), 1, false},
      {"text", numbers(255), {"negative", "positive"}, 1, false},
      {"retrieval", numbers(255), {"unrelated", "related"}, 2, false},
      {"image",
       numbers(255),
       {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
       1,
       true},
      {"pathfinder", numbers(255), {"apart", "connected"}, 1, true},
  };
  return table;
}

const Kind& kind_named(std::string_view name) {
  std::string known;
  for (const Kind& kind : kinds()) {
    if (kind.name == name) return kind;
    known += (known.empty() ? "" : ", ") + kind.name;
  }
  throw Error(fmt::format("data of kind '{}', wanted one of {}", name.substr(0, 40), known));
}

}  // namespace selene::data
