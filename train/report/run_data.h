// What selene-report knows of a run: its folder's metrics, recipe and checkpoints, and the numbers that sum it up.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "train/folder/metrics.h"

namespace selene::train {

/// What became of one measure of the run's task.
struct HeadlineMeasure {
  std::string name, unit;
  bool higher_is_better = true;
  std::optional<double> best = {};  // of the validations
  int64_t best_update = 0;          // of that, the earliest of equals
  std::optional<double> test = {};  // of the last test row
};

/// The numbers at the head of a report; nothing where the run has none. NaN never counts as best.
struct Headline {
  std::vector<HeadlineMeasure> measures;  // the run's best_metric, then those that its task puts there
  std::optional<double> parameters;       // count: the metric of that name, else from the newest checkpoint
  int64_t updates = 0;                    // of the last row
  std::optional<double> epochs;           // of the last row that has it
  std::optional<double> wall_s;           // seconds; a wall_s that falls is a resumed run that began to count anew
  std::optional<double> examples_per_s;   // median of the training rows
};

struct RunData {
  std::string name;                                       // the folder's
  std::string path;                                       // as it was given
  std::vector<MetricsRow> rows;                           // in file order; can be empty
  std::string recipe;                                     // text of recipe.yaml; empty if there is none
  std::vector<std::pair<std::string, std::string>> keys;  // recipe by dotted key, in its order
  std::vector<std::string> checkpoints;                   // "update-00005000.safetensors (last, best)", newest first
  std::vector<std::string> problems;                      // what could not be used, one line each
  Headline headline;
};

/// Reads a run's folder. Bad lines, a missing or unreadable recipe, damaged checkpoints and values that are not
/// finite are reported in `problems`. Throws Error if the folder does not exist or has no metrics.jsonl.
RunData load_run(const std::string& folder);

/// The headline numbers of some rows; parameters only from the metric. Error for an unknown task.
Headline headline_of(const std::vector<MetricsRow>& rows, std::string_view task = "classification",
                     std::string_view best_metric = "accuracy");
/// The measure of that name; null where there is none.
const HeadlineMeasure* find_measure(const Headline& headline, std::string_view name);
/// A value of the measure: "37.50 %" of a fraction, "1.2345" of anything else, "-" where there is none.
std::string measure_text(const HeadlineMeasure& measure, std::optional<double> value);

/// Gives runs of the same name the folder they were given as, so that names differ.
void make_names_distinct(std::vector<RunData>& runs);

/// One column of the comparison, and its text for a run ("-" where the run has nothing).
struct HeadlineColumn {
  std::string title;
  std::function<std::string(const RunData&)> text;
  std::function<std::optional<double>(const RunData&)> rank;  // higher is better; empty: nothing is best
};
/// Those of the measures of all runs, then what every run has.
std::vector<HeadlineColumn> headline_columns(const std::vector<RunData>& runs);

/// The comparison as plain text: one line per run under a line of titles, columns aligned.
std::string headline_table(const std::vector<RunData>& runs);

/// "45 s", "12 min 05 s", "3 h 07 min".
std::string duration_text(double seconds);

}  // namespace selene::train
