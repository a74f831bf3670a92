#include "train/tasks/measures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/error.h"
#include "kernels/join.h"
#include "train/recipe/schema.h"

namespace selene::train {
namespace {

struct Row {
  std::string_view task;
  bool classes, causal;
  std::vector<Measure> measures;
};

double loss(const LossSums& s) { return s.nll / s.count; }

// In the order in which a row of metrics.jsonl has them.
const std::vector<Row>& table() {
  static const Measure nats{"loss", "nats", false, everywhere | in_headline, loss};
  static const Measure smoothed{
      "smoothed_loss", "nats", false, in_training, [](const LossSums& s) { return s.loss / s.count; }, true};
  static const Measure accuracy{"accuracy", "fraction", true, everywhere | in_headline,
                                [](const LossSums& s) { return s.correct / s.count; }};
  static const Measure perplexity{"perplexity", "", false, in_evaluation,
                                  [](const LossSums& s) { return std::exp(loss(s)); }};
  static const Measure bits{"bits_per_character", "bits", false, everywhere | in_headline,
                            [](const LossSums& s) { return loss(s) / std::numbers::ln2; }};
  Measure perplexities = perplexity;  // what people ask of a language model first
  perplexities.told = everywhere;
  static const std::vector<Row> rows{
      {"classification", true, false, {nats, smoothed, accuracy, perplexity}},
      {"language_model", false, true, {nats, smoothed, bits, perplexities, accuracy}},
  };
  return rows;
}

}  // namespace

std::vector<std::string_view> task_names() {
  std::vector<std::string_view> names;
  for (const Row& row : table()) names.push_back(row.task);
  return names;
}

namespace {
const Row& row_of(std::string_view task) {
  for (const Row& row : table())
    if (row.task == task) return row;
  throw Error(fmt::format("task is '{}', wanted one of {}", std::string(task), join(task_names(), ", ")));
}
}  // namespace

bool has_classes(std::string_view task) { return row_of(task).classes; }
bool is_causal(std::string_view task) { return row_of(task).causal; }
const std::vector<Measure>& measures_of(std::string_view task) { return row_of(task).measures; }

const Measure* find_measure(std::string_view task, std::string_view name) {
  for (const Measure& m : measures_of(task))
    if (m.name == name) return &m;
  return nullptr;
}

std::vector<std::pair<const Measure*, double>> measured(const Recipe& recipe, const LossSums& sums, Told where) {
  std::vector<std::pair<const Measure*, double>> values;
  for (const Measure& m : measures_of(recipe.task))
    if ((m.told & where) && (!m.of_smoothed || recipe.train.label_smoothing > 0)) values.emplace_back(&m, m.of(sums));
  return values;
}

}  // namespace selene::train
