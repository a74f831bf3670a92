// The table of tasks, and what they have in common.
#include "train/tasks/task.h"

#include <fmt/format.h>

#include "data/io/checksum.h"
#include "data/prepared.h"
#include "kernels/error.h"
#include "train/folder/log.h"
#include "train/tasks/classification.h"
#include "train/tasks/language_model.h"
#include "train/tasks/measures.h"

namespace selene::train {
namespace {

constexpr struct {
  std::string_view name;
  std::unique_ptr<Task> (*open)(const Recipe&);
  std::unique_ptr<Task> (*reopen)(const Recipe&, const data::Metadata& facts, const std::string& path);
  std::unique_ptr<Task> (*imagine)(const Recipe&, int64_t symbols, int64_t longest);
} kTasks[] = {
    {"classification", Classification::open, Classification::reopen, Classification::imagine},
    {"language_model", LanguageModelling::open, LanguageModelling::reopen, LanguageModelling::imagine},
};

const auto& row_of(const std::string& name) {
  for (const auto& row : kTasks)
    if (row.name == name) return row;
  measures_of(name);  // Error with the known names
  throw Error(fmt::format("task {}: has measures and no row in the table of tasks", name));
}

}  // namespace

std::vector<const data::Dataset*> Splits::all() const {
  std::vector<const data::Dataset*> sets;
  for (const auto& split : {train, valid, test})
    if (split) sets.push_back(split.get());
  return sets;
}

Splits read_splits(const Recipe& recipe) {
  const data::Kind& kind = data::kind_named(recipe.data.kind);
  const auto read = [&](const char* split) {
    return std::make_shared<const data::Dataset>(data::read_split(recipe.data.path, kind, split));
  };
  Splits splits{read("train"), read("valid"), nullptr};
  if (data::has_split(recipe.data.path, kind, "test")) splits.test = read("test");
  else log_warning(fmt::format("{}: has no test split; the run will end without a test", recipe.data.path));
  return splits;
}

Tensor DeviceBatch::at(std::string_view name) const {
  if (const Tensor tensor = find(name)) return tensor;
  throw Error(fmt::format("batch: has no tensor '{}'", name));
}

Tensor DeviceBatch::find(std::string_view name) const {
  for (const auto& [known, tensor] : tensors)
    if (known == name) return tensor;
  return {};
}

data::Dataset Task::read_own(const std::string&) const {
  throw Error(fmt::format("task {}: reads no examples of your own", recipe_.task));
}

std::unique_ptr<Findings> Task::findings(std::shared_ptr<const data::Dataset>, const FindingsWanted& wanted) const {
  if (!wanted.predictions.empty() || wanted.confusion)
    throw Error(fmt::format("task {}: has no {}", recipe_.task,
                            wanted.confusion ? "classes for --confusion" : "answers for --predictions"));
  return nullptr;
}

void tell_other_options(const data::Dataset& split, const data::Dataset& train) {
  if (!split.file || !train.file) return;
  const std::string found = data::metadata_string(*split.file, "options"),
                    wanted = data::metadata_string(*train.file, "options");
  if (found != wanted)
    log_warning(fmt::format("{}: was made with other options than {}, so they may share examples ({:.200}; {:.200})",
                            split.name, train.name, found, wanted));
}

std::unique_ptr<Task> open_task(const Recipe& recipe) { return row_of(recipe.task).open(recipe); }

std::unique_ptr<Task> reopen_task(const Recipe& recipe, const data::Metadata& facts, const std::string& path) {
  return row_of(recipe.task).reopen(recipe, facts, path);
}

std::unique_ptr<Task> imagine_task(const Recipe& recipe, int64_t symbols, int64_t longest) {
  return row_of(recipe.task).imagine(recipe, symbols, longest);
}

}  // namespace selene::train
