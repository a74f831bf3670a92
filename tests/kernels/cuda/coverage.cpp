#include "tests/kernels/cuda/coverage.h"

#include <fmt/format.h>

#include <exception>
#include <filesystem>
#include <sstream>

#include "tests/kernels/cuda/sources.h"
#include "tests/support/device_module.h"

namespace selene::testing {

std::set<std::string> kernels_not_run() {
  std::istringstream names(kernels_run());
  std::set<std::string> run, missing;
  for (std::string name; std::getline(names, name);) run.insert(name);
  for (const SourceText& source : device_sources(SELENE_SOURCE_ROOT))
    for (const std::string& name : kernel_names(source.text))
      if (!run.count(name)) missing.insert(name + " (" + source.path + ")");
  return missing;
}

}  // namespace selene::testing

// After the whole suite of unit_device: on the shim no kernel may be missing.
int after_whole_suite() try {
  using namespace selene::testing;
  const bool sources = std::filesystem::exists(SELENE_SOURCE_ROOT "/kernels/cuda");  // not beside a bundle
  if (!device_is_shim() || !sources) return 0;
  const std::set<std::string> missing = kernels_not_run();
  for (const std::string& kernel : missing) fmt::print("no test has run the kernel {}\n", kernel);
  return missing.empty() ? 0 : 1;
} catch (const std::exception& e) {
  fmt::print("{}\n", e.what());
  return 1;
}
