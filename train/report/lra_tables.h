// Tables 1 to 3 of the Luna paper as Markdown, its numbers beside ours. The same runs give the same bytes.
#pragma once
#include <string>
#include <vector>

#include "train/report/lra_runs.h"
#include "train/report/paper.h"
#include "train/report/step_times.h"

namespace selene::train {

/// Table 1: test accuracy by model and task, in percent, "paper / ours"; runs with P as the sentence vector are left
/// out. Below it what has to be known: scale, stand-ins (marked *), cells of another recipe (marked †), what is
/// missing and why, machines, and the command of each run.
std::string accuracy_table(const std::vector<LraRun>& runs, const Paper& paper);

/// Table 3: [CLS] against the mean of P on ListOps, Text and Retrieval; runs of other tasks and models are left out.
std::string pooling_table(const std::vector<LraRun>& runs, const Paper& paper);

/// Table 2: speed and memory relative to the Transformer by length, and below it the times themselves; a pair of
/// tables for each device and element type.
std::string step_table(const std::vector<StepTime>& times, const Paper& paper);

}  // namespace selene::train
