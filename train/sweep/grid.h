// Grids: which recipes go with which models, overrides and seeds, and what is made of their results
// (recipes/sweeps/*.yaml).
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace selene::train {

/// A value of an axis: recipe files and "key=value" on top of them.
struct Choice {
  std::string name;
  std::vector<std::string> files, sets;
};

/// How the data of a recipe is made where it is missing.
struct DataSource {
  std::vector<std::string> prepare;  // words of selene-prepare; the first is the kind
  std::vector<std::string> from;     // folders of the official files, the first that is there counts; or none
  // Examples of the whole training set; of the others below scale 1. 0: this kind of data is not cut.
  int64_t train = 0, valid = 0, test = 0;
};

enum class Measure { training, steps, nothing };

struct Grid {
  std::string path;
  Measure measure = Measure::training;
  std::vector<Choice> recipes, models, variants;  // one variant without name or values where the file has none
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> instead;  // files of a recipe and a model
  std::vector<std::string> sets;                                                    // for every cell
  std::vector<int64_t> seeds;
  std::vector<int64_t> lengths;                // steps: tokens
  int64_t rounds = 1, steps = 20, batch = 32;  // steps: processes for each cell, timed steps of each, examples
  std::string precision = "fp32";              // steps
  std::string out, prepared;                   // folders, for all runs and for prepared data
  std::map<std::string, DataSource> data;      // by recipe
  std::string numbers;                         // file of the paper's; empty: none
  std::vector<std::string> write;              // table1, table2, table3, figure1
};

constexpr int64_t kMostSeeds = 1'000'000;
/// 1 to `count`.
std::vector<int64_t> first_seeds(int64_t count);

/// A value that is there twice.
std::optional<int64_t> twin_of(const std::vector<int64_t>& values);

/// Behind a model's name in folders and tables; what sets nothing is the cell of a grid without variants.
std::string suffix_of(const Choice& variant);

/// Reads a grid; files in it are relative to the file that names them. Throws Error with the place: what cannot be
/// read, unknown keys, empty lists, values of a wrong form, names that are no names, recipes that are not there.
Grid read_grid(const std::string& path);

}  // namespace selene::train
