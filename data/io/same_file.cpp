#include "data/io/same_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "kernels/error.h"

namespace fs = std::filesystem;

namespace selene::data {
namespace {

bool is_read(const fs::path& path) {
  constexpr std::array<std::string_view, 7> names{"dataset.json",    "recipe.yaml",   "metrics.jsonl", "log.txt",
                                                  "basic_train.tsv", "basic_val.tsv", "basic_test.tsv"};
  return path.extension() == ".safetensors" ||
         std::find(names.begin(), names.end(), path.filename().string()) != names.end();
}

void need_other_file(const std::string& option, const std::string& output, const fs::path& input) {
  std::error_code ignored;
  if (fs::equivalent(output, input, ignored))
    throw Error(fmt::format("{} {}: is {}, which is read; give another name", option, output,
                            input == fs::path(output) ? "an input" : input.string()));
}

}  // namespace

void need_no_input(const std::string& option, const std::string& output, const std::vector<std::string>& inputs) {
  std::error_code ignored;
  if (!fs::exists(output, ignored)) return;
  for (const fs::path input : inputs) {
    need_other_file(option, output, input);
    for (const fs::path& folder : {input, input / "checkpoints"})
      for (const auto& entry : fs::directory_iterator(folder, ignored))
        if (is_read(entry.path())) need_other_file(option, output, entry.path());
  }
}

}  // namespace selene::data
