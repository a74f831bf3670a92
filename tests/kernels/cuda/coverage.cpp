#include "tests/kernels/cuda/coverage.h"

#include <fmt/format.h>

#include <exception>
#include <filesystem>

#include "tests/kernels/cuda/sources.h"
#include "tests/support/device_module.h"

namespace selene::testing {
namespace {

std::string base_name(const std::string& instance) { return instance.substr(0, instance.find('<')); }

}  // namespace

std::set<std::string> kernels_not_run() {
  std::set<std::string> run, missing;
  for (const std::string& instance : kernels_run()) run.insert(base_name(instance));
  for (const SourceText& source : device_sources(SELENE_SOURCE_ROOT))
    for (const std::string& name : kernel_names(source.text))
      if (!run.count(name)) missing.insert(name + " (" + source.path + ")");
  return missing;
}

std::set<std::string> instances_not_run() {
  const std::set<std::string> run = kernels_run();
  std::set<std::string> kernels, missing;
  for (const SourceText& source : device_sources(SELENE_SOURCE_ROOT))
    for (const std::string& name : kernel_names(source.text)) kernels.insert(name);
  for (const std::string& function : module_functions())
    if (kernels.count(base_name(function)) && !run.count(function)) missing.insert(function);
  return missing;
}

}  // namespace selene::testing

// After the whole suite of unit_device: on the shim no kernel may be missing.
int after_whole_suite() try {
  using namespace selene::testing;
  const bool sources = std::filesystem::exists(SELENE_SOURCE_ROOT "/kernels/cuda");  // not beside a bundle
  if (!device_is_shim() || !sources) return 0;
  std::set<std::string> missing = kernels_not_run();
  missing.merge(instances_not_run());
  for (const std::string& kernel : missing) fmt::print("no test has run the kernel {}\n", kernel);
  return missing.empty() ? 0 : 1;
} catch (const std::exception& e) {
  fmt::print("{}\n", e.what());
  return 1;
}
