// Which kernels of kernels/cuda the shim has run in this process.
#pragma once
#include <set>
#include <string>

namespace selene::testing {

/// Those that no test ran, as "name (file)".
std::set<std::string> kernels_not_run();

}  // namespace selene::testing
