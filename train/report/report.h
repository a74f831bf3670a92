// selene-report's page: one self-contained HTML file with inline CSS and SVG and no scripts, for light and dark
// screens.
#pragma once
#include <string>
#include <vector>

#include "train/report/plot.h"
#include "train/report/run_data.h"

namespace selene::train {

/// The charts of some runs over updates: loss, accuracy (train and valid), learning rate, gradient norm, speed, then
/// every further metric of the training and validation rows. A run's colour is its place in `runs`.
std::vector<Plot> plots_of(const std::vector<RunData>& runs);

/// The whole page. An empty title becomes the run's name, or the number of runs. The same runs give the same bytes.
/// Throws Error if no run has a row.
std::string html_report(const std::vector<RunData>& runs, const std::string& title = "");

}  // namespace selene::train
