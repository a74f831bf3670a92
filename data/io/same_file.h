// Whether a file that is to be written is one of those that are read.
#pragma once
#include <string>
#include <vector>

namespace selene::data {

/// Error where `output` is the same file as one of `inputs`, whatever its name: hard and symbolic links count. A
/// folder among the inputs stands for the files in it, and in its folder checkpoints, that these programs read:
/// prepared data, checkpoints, recipe, metrics. `option` names the output in the message: "--predictions".
void need_no_input(const std::string& option, const std::string& output, const std::vector<std::string>& inputs);

}  // namespace selene::data
