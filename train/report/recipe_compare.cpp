#include "train/report/recipe_compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "kernels/error.h"
#include "kernels/join.h"
#include "train/recipe/schema.h"

namespace selene::train {
namespace {

// What says nothing about the setting either. Validations do choose the checkpoint that is tested, but docs/lra.md
// offers fewer of them as a way to save time.
constexpr std::string_view kBookkeeping[] = {"data.path", "train.validate_every", "train.validate_examples",
                                             "train.recompute"};
constexpr std::string_view kBatch[] = {"train.batch_size", "train.accumulation"};
// Beside the batch and some bookkeeping, what scaled_sets in train/sweep/cells.cpp sets.
constexpr std::string_view kScaled[] = {"train.updates", "schedule.warmup", "schedule.total", "schedule.cycle",
                                        "schedule.decay_steps"};

template <size_t N>
bool among(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

int64_t examples_of_update(const Recipe& r) { return r.train.batch_size * r.train.accumulation; }

std::vector<std::string> differences(const Recipe& wanted, const Recipe& own, bool below_scale_1) {
  const bool any_batch = below_scale_1 || examples_of_update(wanted) == examples_of_update(own);
  std::vector<std::string> out;
  for (const Key& key : schema()) {
    if (is_bookkeeping(key.name) || among(kBookkeeping, key.name) || (any_batch && among(kBatch, key.name)) ||
        (below_scale_1 && among(kScaled, key.name)))
      continue;
    const std::string there = format_value(wanted, key), here = format_value(own, key);
    if (there != here) out.push_back(fmt::format("{} {} -> {}", key.name, there, here));
  }
  return out;
}

}  // namespace

std::vector<std::string> lra_files(const std::string& folder, const std::string& setting, const std::string& model) {
  const std::string place = fmt::format("{}/lra/{}", folder, setting);
  const std::string pair = fmt::format("{}-{}.yaml", place, model);
  std::error_code ignored;
  if (std::filesystem::exists(pair, ignored)) return {pair};
  return {place + ".yaml", fmt::format("{}/models/{}.yaml", folder, model)};
}

std::string recipes_beside(const std::string& numbers) {
  const auto folder = (std::filesystem::path(numbers).parent_path() / "..").lexically_normal();
  return (folder.has_filename() ? folder : folder.parent_path()).string();
}

void compare_recipes(std::vector<LraRun>& runs, const std::string& folder) {
  std::error_code ignored;
  const bool there = std::filesystem::is_directory(folder, ignored);
  for (LraRun& run : runs) {
    if (run.keys.empty()) continue;
    if (!there) {
      run.not_compared = fmt::format("{} is not there, wanted the sources' root as the current folder", folder);
      continue;
    }
    const std::vector<std::string> files = lra_files(folder, "release/" + run.task, run.model);
    run.recipe = join(files, " ");
    try {
      const std::vector<std::string> sets(run.p ? 1 : 0, "model.pooling=p");
      const Recipe wanted = compose_recipe(files, sets), own = load_recipe(run.folder + "/recipe.yaml");
      run.differences = differences(wanted, own, run.scale != "1");
    } catch (const Error& error) {  // one old run should not cost the whole table
      run.not_compared = error.what();
    }
  }
}

}  // namespace selene::train
