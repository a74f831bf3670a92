// The backend that the tests of a device run on: the file that the environment variable SELENE_DEVICE_MODULE names,
// or else the host shim of the CUDA kernels, built beside the tests.
#pragma once
#include <functional>
#include <set>
#include <string>

#include "engine/backend.h"

namespace selene::testing {

/// Loaded once for the whole program.
const Backend& device_module();
/// The module that SELENE_DEVICE_MODULE names; null, which means the CPU, where it is not set.
const Backend* module_from_environment();
/// True for the shim, whose memory is the host's and which can run in other schedules.
bool device_is_shim();
/// Runs f in each of the shim's three schedules (once on a real device). Everything f returns must be the same bits.
/// Empty, or which schedule differs.
std::string in_all_schedules(const std::function<std::string()>& f);
/// Kernels that have run on the shim, and all functions of its module, kernels among them: names with template
/// arguments.
std::set<std::string> kernels_run();
std::set<std::string> module_functions();

}  // namespace selene::testing
