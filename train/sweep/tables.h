// What a grid writes: tables and figures with the paper's numbers beside ours.
#pragma once
#include "train/sweep/cells.h"
#include "train/sweep/grid.h"
#include "train/sweep/prepare.h"

namespace selene::train {

/// Writes the grid's tables into the folder of all runs and shows them without their commands; a file changes only
/// where its content does. Without tables to write, the headline numbers of all runs are shown. Returns false, having
/// said why, where there is nothing to make one from and where runs are of none of the tables' tasks.
bool write_tables(const Grid& grid, const SweepOptions& options, const Say& say, const Say& show);

/// The folder of the times of steps on a device.
std::string times_folder(const SweepOptions& options);

}  // namespace selene::train
