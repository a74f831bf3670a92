// The schema as documentation.
#include <fmt/format.h>

#include "kernels/join.h"
#include "train/recipe/schema.h"

namespace selene::train {
namespace {

constexpr const char* kIntro = R"(# Recipes

<!-- Printed by `selene-train --describe` from train/recipe/schema.cpp; a test keeps this file current. -->

A recipe is a YAML file that decides a run completely: what is not said has the default below, and every value that
was used is written to `recipe.yaml` in the run's folder. A key of a section stands below the section's name:

```yaml
extends: base.yaml        # optional: a file, or a list of files that are merged in order, relative to this one;
                          # what stands here replaces their values
model:
  attention: luna
  luna:                   # keys of the attention itself
    projection_length: 16
```

A parent that several files extend counts where it comes first. `selene-train TASK.yaml MODEL.yaml` merges several files;
later ones win over all before them and over what they extend, also where one was a parent before, and the run has their
names together. `--set model.dropout=0.2` replaces a value from the command line and may be repeated; a list is
`[1000, 2000]`. Unknown and repeated keys, keys that the chosen attention, head, task or schedule does not read (but for
their defaults), wrong types, values out of range and values that do not fit together stop the program with file, line and
column; `--print-recipe` says of every value where it is from. A run can be resumed with other values of the keys marked
"yes" under *resume*; a change of any other key is refused.

No key makes runs deterministic: they are. Two runs of one recipe, build and type of device end with the same bits, with
any `train.threads` and `data.prefetch`, resumed or not. Another type of GPU, another instruction set of the CPU
or another version of the libraries rounds differently ([gpu.md](gpu.md)).
)";

std::string type_of(const Key& key) {
  if (!key.choices.empty()) return "choice";
  std::string type = type_name(key);
  for (const std::string_view article : {"an ", "a "})
    if (type.starts_with(article)) return type.substr(article.size());
  return type;
}

std::string allowed(const Key& key) {
  return key.choices.empty() ? format_range(key.range) : join(key.choices, ", ");
}

}  // namespace

std::string describe_markdown() {
  const Recipe defaults;
  std::string out = kIntro;
  const Key* last = nullptr;
  for (const Key& key : schema()) {
    if (!last || section_of(*last) != section_of(key)) {
      const std::string_view section = section_of(key);
      out += section.empty() ? "\n## The run\n" : fmt::format("\n## {}\n", section);
      out +=
          "\n| key | type | default | unit | allowed | meaning | source | resume "
          "|\n|---|---|---|---|---|---|---|---|\n";
    }
    last = &key;
    out += fmt::format("| `{}` | {} | `{}` | {} | {} | {} | {} | {} |\n", key.name, type_of(key),
                       format_value(defaults, key), key.unit, allowed(key), key.help, key.source,
                       key.free_on_resume ? "yes" : "");
  }
  return out;
}

std::string describe_text() {
  const Recipe defaults;
  std::string out = "extends: FILE    a parent recipe or a list of them, relative to the file that says it\n";
  for (const Key& key : schema()) {
    const std::string unit = key.unit.empty() ? "" : fmt::format(" {}", key.unit);
    const std::string range = allowed(key).empty() ? "" : fmt::format(", {}", allowed(key));
    out += fmt::format("\n{} = {}{}\n    {}{}{}\n    {} [{}]\n", key.name, format_value(defaults, key), unit,
                       type_of(key), range, key.free_on_resume ? "; may change on resume" : "", key.help, key.source);
  }
  return out;
}

}  // namespace selene::train
