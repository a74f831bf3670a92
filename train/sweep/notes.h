// RUN.json beside a run's folder RUN: what selene-report cannot know from the folder (train/report/lra_runs.h).
#pragma once
#include <string>
#include <vector>

#include "train/sweep/cells.h"

namespace selene::train {

/// Where and when something is measured.
struct Place {
  std::string machine, commit, date;
};
Place this_place(const std::string& source_folder);

/// Writes a cell's notes. `words`: its command.
void write_notes(const Cell& cell, const SweepOptions& options, const Place& place,
                 const std::vector<std::string>& words, const std::string& status, const std::string& why);

/// What the notes beside a run's folder say; nothing where there are none.
struct Noted {
  std::string status = {}, why = {};
  std::string data = {};  // a digest of what stood beside its data, dataset.json
};
Noted noted(const std::string& folder);

/// Whether nothing is to do for a cell: it was done, with the data that are there now, and asks for no more.
bool done_before(const Cell& cell);

}  // namespace selene::train
