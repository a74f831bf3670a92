// All cases of a folder of golden vectors, and what came of them.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "tests/golden/session.h"

namespace selene::golden {

/// One case: what was compared, and everything that is wrong with it.
struct Outcome {
  std::string name, group;
  bool supported = false;
  std::vector<Check> checks;
  std::vector<std::string> complaints;
};

/// Runs every case of folder/manifest.json with `filter` in its name. A case that no runner takes fails unless it
/// is on the list of those to come (golden_run.cpp); then it needs no file, but one that is there must be readable.
/// Error when the manifest cannot be read or names no such case.
std::vector<Outcome> run_folder(const std::string& folder, const std::string& filter);

}  // namespace selene::golden
