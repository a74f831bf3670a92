// The data of a grid's recipes: taken, made from the official files, or made up.
#pragma once
#include <functional>
#include <map>
#include <string>

#include "train/sweep/cells.h"

namespace selene::train {

/// Called with lines for a person.
using Say = std::function<void(const std::string&)>;

/// Prepares what is missing for each recipe that is asked for, by selene-prepare; nothing is done where the data is
/// there. Without the official files, data that was prepared with the same options is taken, and below scale 1 a
/// synthetic stand-in. With `look` nothing is made and only said what would be taken.
std::map<std::string, PreparedData> prepare_data(const Grid& grid, const SweepOptions& options, bool look,
                                                 const Say& say);

}  // namespace selene::train
