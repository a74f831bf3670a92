// What recipes and reports know of each task, by name: whether its data have classes and it is causal, and what it
// measures: the columns of metrics.jsonl, what train.best_metric may be, what selene-evaluate prints.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/softmax.h"
#include "train/recipe/recipe.h"

namespace selene::train {

/// Where a measure is told; a sum of these. The headline of a report has the run's best_metric too.
enum Told : unsigned { in_training = 1, in_validation = 2, in_evaluation = 4, everywhere = 7, in_headline = 8 };

struct Measure {
  std::string_view name, unit;  // unit: "nats"; of a "fraction" people read per cent
  bool higher_is_better;
  unsigned told;
  double (*of)(const LossSums&);  // of sums with a count above 0
  bool of_smoothed = false;       // told only where train.label_smoothing is not 0
};

/// Whether a task's data have classes, and whether its positions may see none after them: what a recipe's data.kind
/// and model.attention must then be. Error for an unknown name.
bool has_classes(std::string_view task);
bool is_causal(std::string_view task);

/// Names of all tasks.
std::vector<std::string_view> task_names();
/// The measures of a task. Error, with the known ones, for an unknown name.
const std::vector<Measure>& measures_of(std::string_view task);
/// One of them; null where the task has none of that name.
const Measure* find_measure(std::string_view task, std::string_view name);
/// Those that are told there, as name and value, in the order of the table.
std::vector<std::pair<const Measure*, double>> measured(const Recipe& recipe, const LossSums& sums, Told where);

}  // namespace selene::train
