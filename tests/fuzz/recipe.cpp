// libFuzzer: any text is a recipe or one Error, and a recipe survives being written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kernels/error.h"
#include "train/recipe/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // The last line also serves as a --set, so that its parser sees the same material.
  const size_t line = text.rfind('\n');
  const std::string set(line == text.npos ? text : text.substr(line + 1));
  try {
    selene::train::recipe_values(text, "fuzz");
  } catch (const selene::Error&) {
  }
  for (const auto& sets : {std::vector<std::string>{}, std::vector<std::string>{set}}) {
    selene::train::Recipe recipe;
    try {
      recipe = selene::train::parse_recipe(text, "fuzz", sets);
    } catch (const selene::Error&) {
      continue;
    }
    if (!(selene::train::parse_recipe(selene::train::to_yaml(recipe), "again") == recipe)) abort();
  }
  return 0;
}
