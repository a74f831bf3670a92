// The cells of a grid of training steps that are timed: Table 2.
#pragma once
#include <string>
#include <vector>

#include "train/sweep/cells.h"
#include "train/sweep/grid.h"
#include "train/sweep/prepare.h"

namespace selene::train {

/// The GPUs that programs may be given one each, as CUDA_VISIBLE_DEVICES names them; none for a device on the host.
std::vector<std::string> usable_gpus(const std::string& device);

/// Times what is missing, a process of selene-bench for each round, length and model, rounds outermost; a line of
/// cells.jsonl in times_folder is a cell that is measured. Throws Error where another sweep works there, and where
/// the lines are of another scale or number of steps. Returns whether every cell is there.
bool run_steps(const Grid& grid, const SweepOptions& options, const Say& say);
void list_steps(const Grid& grid, const SweepOptions& options, const Say& show);

}  // namespace selene::train
