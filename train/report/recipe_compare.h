// Runs beside the recipes of their places in Tables 1 and 3: what another one made must not stand there unmarked.
#pragma once
#include <string>
#include <vector>

#include "train/report/lra_runs.h"

namespace selene::train {

/// The files of a setting ("release/listops", below FOLDER/lra) with a model: SETTING-MODEL.yaml where a pair has
/// values of its own, else SETTING.yaml and FOLDER/models/MODEL.yaml.
std::vector<std::string> lra_files(const std::string& folder, const std::string& setting, const std::string& model);

/// The folder of all recipes, by a file of a paper's numbers in its subfolder.
std::string recipes_beside(const std::string& numbers);

/// Compares the recipe.yaml of each run with lra_files of release/TASK, in a cell of P with model.pooling=p, and
/// fills the run's `recipe` and `differences`: keys in the schema's order, without those that say nothing about the
/// setting (seed, paths, intervals, threads), and batches by the examples of an update. Below scale 1 what
/// selene-sweep scales may differ. Where a file can't be read `not_compared` says why. A run without a recipe
/// is left alone.
void compare_recipes(std::vector<LraRun>& runs, const std::string& folder);

}  // namespace selene::train
