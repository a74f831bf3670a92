// Which kernels of kernels/cuda the shim has run in this process.
#pragma once
#include <set>
#include <string>

namespace selene::testing {

/// Kernels of which no test ran any instance, as "name (file)".
std::set<std::string> kernels_not_run();
/// Instances of kernel templates that the module has and that no test ran.
std::set<std::string> instances_not_run();

}  // namespace selene::testing
