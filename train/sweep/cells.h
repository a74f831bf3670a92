// The cells of a grid of trainings: the recipe of each, and what has become of it.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/sweep/grid.h"

namespace selene::train {

/// The data of a recipe.
struct PreparedData {
  std::string folder = {};  // empty: that of the recipe
  std::string why = {};     // there is none, one line
  bool stand_in = false;    // synthetic, in the form of the official files
};

struct Cell {
  std::string title = {};               // "listops luna-16 with p seed 1"
  std::string recipe = {}, model = {};  // of the grid; the model with its variant, as in tables
  int64_t seed = 1;
  std::vector<std::string> files = {}, sets = {};  // after selene-train
  PreparedData data = {};
  std::string folder = {};    // of the run
  bool p = false;             // the variant has the mean of P as the sentence vector
  std::string resolved = {};  // the recipe, as to_yaml writes it; empty where it has an error
  std::string problem = {};   // the error
};

/// What a call asks for, beside the grid.
struct SweepOptions {
  std::vector<std::string> recipes, models, sets;  // names of the grid, all where empty; "key=value" for every cell
  std::string out, prepared, raw = "data-raw";     // folders
  double scale = 1;                                // share of updates and training examples
  std::string device = "auto";
  int64_t jobs = 1;
};

/// Whether a name of the grid is to be run: it is among `names`, or there are none.
bool asked(const std::vector<std::string>& names, const std::string& name);
void append(std::vector<std::string>& list, const std::vector<std::string>& more);

/// The scale as it is written: "0.001".
std::string scale_text(double scale);

/// All cells, seeds outermost, in the grid's order. Below scale 1 updates, warmup and the lengths of schedules are
/// that share, an update has at most 16K tokens, and few examples are evaluated. Throws Error for two cells of one
/// recipe.
std::vector<Cell> cells_of(const Grid& grid, const SweepOptions& options,
                           const std::map<std::string, PreparedData>& data);

/// What a cell's folder holds: no run; a run of another recipe, which nothing goes on with; a run; the test of the
/// cell's recipe but for keys that may change on resume, though they may ask for more training; the same, and nothing
/// is left to train.
enum class CellState { fresh, another, broken_off, tested, done };

struct CellFolder {
  CellState state = CellState::fresh;
  std::string why = {};  // it has no test of the recipe, one line
};

/// Looks into the run's folder. What cannot be read is broken off.
CellFolder look_into(const Cell& cell);

}  // namespace selene::train
