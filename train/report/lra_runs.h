// Run folders as cells of the Long Range Arena tables: which task, model and seed a run is, and what became of it.
// selene-sweep leaves RUN.json beside each run folder RUN: what the folder cannot say by itself (a run that
// failed or had no data, the command, the machine). Without it the run's recipe says enough.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "train/report/paper.h"

namespace selene::train {

enum class RunStatus { done, failed, no_data, unfinished };
const char* name_of(RunStatus status);  // "no data"

/// Whether a key of a recipe says nothing about what is trained: the runs of a cell may differ in it.
bool is_bookkeeping(std::string_view key);

struct LraRun {
  std::string folder;
  std::string task;   // listops, text, retrieval, image, pathfinder, pathx
  std::string model;  // transformer, luna-16, ...
  bool p = false;     // the sentence vector is the mean of P (model.pooling: p)
  int64_t seed = 1;
  RunStatus status = RunStatus::unfinished;
  std::optional<double> accuracy;  // on the test data, fraction; there if status is done
  bool stand_in = false;           // trained and tested on synthetic data in the form of the real one
  std::string scale = "1";         // share of steps and data
  std::string why;                 // it failed or has no data, one line
  std::string command;             // that makes the run; the rest is empty for a run without RUN.json
  std::string device, machine, commit, date;
  std::vector<std::pair<std::string, std::string>> keys;  // of the recipe, as in RunData
  // From compare_recipes (train/report/recipe_compare.h):
  std::string recipe;                    // files with the recipe of its place in the tables
  std::vector<std::string> differences;  // from that: "model.layers 1 -> 2"
  std::string not_compared;              // why, one line
};

/// Reads a run folder and RUN.json. Tasks that the paper does not have are known by the first part of the recipe's
/// name (Path-X is "pathx-luna-16", on data of Pathfinder's kind), the others by the kind of their data. A run with
/// RUN.json need not have begun. Throws Error (file, what was found, what was wanted) for a folder that is neither,
/// for a RUN.json that is no JSON object or lacks a value, and for a run of another task or without a recipe.
LraRun load_lra_run(const std::string& folder, const Paper& paper);

/// All runs of one task, model and sentence vector: one place in a table.
struct LraCell {
  std::vector<const LraRun*> runs;  // into what cell_of was given
  int64_t seeds = 0;                // runs that are done
  double mean = 0, deviation = 0;   // of their accuracies, fractions; the deviation (n - 1) is 0 for one seed
  bool stand_in = false;            // of any
  bool other_recipe = false;        // any run has differences
  int64_t count(RunStatus status) const;
};

/// Collects the runs of a cell; a cell can be empty. Throws Error for two runs with the same seed, and for runs whose
/// recipes differ in more than the seed and what no result depends on: their mean would say nothing.
LraCell cell_of(const std::vector<LraRun>& runs, const std::string& task, const std::string& model, bool p);

}  // namespace selene::train
