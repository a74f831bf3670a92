// What selene-report knows of a run: its folder's metrics, recipe and checkpoints, and the numbers that sum it up.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "train/folder/metrics.h"

namespace selene::train {

/// The numbers at the head of a report; nothing where the run has none. NaN never counts as best.
struct Headline {
  std::optional<double> best_accuracy;   // highest of the validations, fraction
  std::optional<double> best_loss;       // lowest of the validations
  int64_t best_update = 0;               // of best_accuracy; without accuracies of best_loss; the earliest of equals
  std::optional<double> test_accuracy;   // of the last test row, fraction
  std::optional<double> test_loss;       // of the last test row
  std::optional<double> parameters;      // count: the metric of that name, else from the newest checkpoint
  int64_t updates = 0;                   // of the last row
  std::optional<double> epochs;          // of the last row that has it
  std::optional<double> wall_s;          // seconds; a wall_s that falls is a resumed run that began to count anew
  std::optional<double> examples_per_s;  // median of the training rows
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

/// The headline numbers of some rows; parameters only from the metric.
Headline headline_of(const std::vector<MetricsRow>& rows);

/// Gives runs of the same name the folder they were given as, so that names differ.
void make_names_distinct(std::vector<RunData>& runs);

/// One column of the comparison, and its text for a run ("-" where the run has nothing).
struct HeadlineColumn {
  const char* title;
  std::string (*text)(const RunData&);
  std::optional<double> (*rank)(const RunData&);  // higher is better; null: nothing is best
};
const std::vector<HeadlineColumn>& headline_columns();

/// The comparison as plain text: one line per run under a line of titles, columns aligned.
std::string headline_table(const std::vector<RunData>& runs);

/// "45 s", "12 min 05 s", "3 h 07 min".
std::string duration_text(double seconds);

}  // namespace selene::train
