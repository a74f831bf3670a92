#include "train/sweep/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/io/regular_file.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "train/folder/metrics.h"
#include "train/recipe/schema.h"
#include "train/sweep/children.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr int64_t kMostTokens = 16384;  // of an update below scale 1

/// A recipe's values at the scale.
Strings scaled_sets(const Recipe& r, double scale, int64_t valid) {
  const auto part = [&](int64_t n, int64_t least) {
    return std::max(least, int64_t(std::floor(double(n) * scale + 0.5)));
  };
  const int64_t updates = part(r.train.updates, 4), warmup = std::min(part(r.schedule.warmup, 1), updates / 4);
  const int64_t tokens = r.data.max_length * r.model.towers, examples = r.train.batch_size * r.train.accumulation;
  Strings sets = {fmt::format("train.updates={}", updates), fmt::format("schedule.warmup={}", warmup)};
  const auto add = [&](const char* key, int64_t value, int64_t least) {
    if (value > 0) sets.push_back(fmt::format("{}={}", key, part(value, least)));
  };
  add("schedule.total", r.schedule.total, warmup + 1);
  add("schedule.cycle", r.schedule.cycle, 1);
  add("schedule.decay_steps", r.schedule.decay_steps, 1);
  append(sets, {fmt::format("train.batch_size={}", std::max<int64_t>(1, std::min(examples, kMostTokens / tokens))),
                "train.accumulation=1", fmt::format("train.validate_every={}", updates),
                fmt::format("train.validate_examples={}", valid),
                fmt::format("train.checkpoint_every={}", std::max<int64_t>(1, updates / 2)),
                fmt::format("train.log_every={}", std::max<int64_t>(1, updates / 10))});
  return sets;
}

/// Fills the recipe, and below scale 1 the values that are made from it.
void resolve(Cell& cell, const Grid& grid, const Choice& variant, const SweepOptions& options) {
  append(cell.sets, grid.sets), append(cell.sets, variant.sets);
  try {
    if (options.scale != 1) {
      Strings whole = cell.sets;
      append(whole, options.sets);
      const auto source = grid.data.find(cell.recipe);
      append(cell.sets, scaled_sets(compose_recipe(cell.files, whole), options.scale,
                                    source == grid.data.end() ? 100 : source->second.valid));
    }
    append(cell.sets, options.sets);
    cell.resolved = to_yaml(compose_recipe(cell.files, cell.sets));
  } catch (const Error& e) {
    cell.problem = e.what();
  }
}

Cell cell_of(const Grid& grid, const SweepOptions& options, const PreparedData& data, const Choice& recipe,
             const Choice& model, const Choice& variant, int64_t seed) {
  Cell cell{.recipe = recipe.name, .model = model.name, .seed = seed, .data = data};
  cell.files = recipe.files, append(cell.files, model.files);
  if (const auto pair = grid.instead.find({recipe.name, model.name}); pair != grid.instead.end())
    cell.files = pair->second;
  cell.sets = {fmt::format("train.seed={}", seed)};
  if (!data.folder.empty()) cell.sets.push_back("data.path=" + data.folder);
  cell.p = std::find(variant.sets.begin(), variant.sets.end(), "model.pooling=p") != variant.sets.end();
  resolve(cell, grid, variant, options);
  const std::string suffix = suffix_of(variant);
  cell.folder = fmt::format("{}/{}{}/{}{}/seed-{}", options.out, recipe.name, data.stand_in ? "-stand-in" : "",
                            model.name, suffix, seed);
  cell.title = fmt::format("{} {}{} seed {}", recipe.name, model.name,
                           variant.sets.empty() ? "" : " with " + variant.name, seed);
  if (!cell.p) cell.model += suffix;
  return cell;
}

void need_distinct(const std::vector<Cell>& cells, const Grid& grid) {
  std::map<std::string, const Cell*> seen;  // by what would be run, without the folder
  for (const Cell& cell : cells) {
    if (cell.resolved.empty()) continue;
    const std::string values = cell.resolved.substr(cell.resolved.find("\nmodel:"));
    const auto [other, is_new] = seen.emplace(values, &cell);
    if (!is_new)
      throw Error(fmt::format("{}: {} and {} are one recipe, wanted cells that differ", grid.path,
                              other->second->title, cell.title));
  }
}

/// Whether a run that is tested has nothing left to train: it has had all updates, or train.patience ends it.
bool has_ended(const std::vector<MetricsRow>& rows, const TrainConfig& wanted) {
  const double best = rows.back().find("best_update").value_or(0);
  const auto worse = std::count_if(rows.begin(), rows.end(), [&](const MetricsRow& row) {
    return row.kind == "valid" && double(row.update) > best;
  });
  return rows.back().update >= wanted.updates || (wanted.patience > 0 && worse >= wanted.patience);
}

}  // namespace

void append(Strings& list, const Strings& more) { list.insert(list.end(), more.begin(), more.end()); }

bool asked(const Strings& names, const std::string& name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

std::string scale_text(double scale) {
  const std::string text = fmt::format("{:.9f}", scale);
  const size_t last = text.find_last_not_of('0');
  return text.substr(0, text[last] == '.' ? last : last + 1);
}

std::vector<Cell> cells_of(const Grid& grid, const SweepOptions& options,
                           const std::map<std::string, PreparedData>& data) {
  std::vector<Cell> cells;
  for (const int64_t seed : grid.seeds)
    for (const Choice& recipe : grid.recipes)
      for (const Choice& model : grid.models) {
        if (!asked(options.recipes, recipe.name) || !asked(options.models, model.name)) continue;
        const auto own = data.find(recipe.name);
        for (const Choice& variant : grid.variants)
          cells.push_back(
              cell_of(grid, options, own == data.end() ? PreparedData{} : own->second, recipe, model, variant, seed));
      }
  need_distinct(cells, grid);
  return cells;
}

CellFolder look_into(const Cell& cell) {
  const std::string recipe = cell.folder + "/recipe.yaml", metrics = cell.folder + "/metrics.jsonl";
  std::error_code ignored;
  for (const std::string& file : {recipe, metrics})
    if (!fs::exists(file, ignored)) return {CellState::fresh, file + ": is not there"};
  try {
    const Recipe had = parse_recipe(data::read_regular_file(recipe, kLargestRecipe, "a recipe"), recipe);
    const Recipe wanted = parse_recipe(cell.resolved, cell.title);
    if (const Strings keys = changed_keys(had, wanted); !keys.empty())
      return {CellState::another, fmt::format("the folder has the run of another recipe ({})", join(keys, ", "))};
    const auto rows = read_metrics(metrics).rows;
    if (rows.empty() || rows.back().kind != "test") return {CellState::broken_off, "was interrupted"};
    const bool same_data = fs::weakly_canonical(had.data.path) == fs::weakly_canonical(wanted.data.path);
    return {same_data && has_ended(rows, wanted.train) ? CellState::done : CellState::tested};
  } catch (const std::exception& e) {
    return {CellState::broken_off, e.what()};
  }
}

}  // namespace selene::train
