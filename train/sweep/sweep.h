// A grid's cells, run one after another or side by side, and the tables made of them.
#pragma once
#include <functional>
#include <string>

#include "train/sweep/cells.h"
#include "train/sweep/grid.h"
#include "train/sweep/prepare.h"

namespace selene::train {

/// Runs every cell that is not done and goes on with those that were broken off, then writes the grid's tables. `say`
/// is told what happens, `show` gets the tables. Returns whether every cell is there. Throws data::Interrupted after
/// a signal, once the programs that ran have come to their end; Error where nothing can be run at all.
bool run_sweep(const Grid& grid, const SweepOptions& options, const Say& say, const Say& show);

/// One line for each cell: what is done and what would be run. Returns whether every cell can be run.
bool list_sweep(const Grid& grid, const SweepOptions& options, const Say& show);

}  // namespace selene::train
