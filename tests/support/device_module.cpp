#include "tests/support/device_module.h"

#include <dlfcn.h>

#include <cstdlib>
#include <sstream>
#include <vector>

#include "kernels/error.h"

namespace selene::testing {
namespace {

constexpr const char* kVariable = "SELENE_DEVICE_MODULE";

std::string module_path() {
  const char* path = std::getenv(kVariable);
  return path ? path : SELENE_SIMT_MODULE;
}

// A function of the shim that is not in the module's table.
template <class F>
F* shim_function(const char* name) {
  void* library = dlopen(module_path().c_str(), RTLD_NOW | RTLD_NOLOAD);
  const auto function = reinterpret_cast<F*>(dlsym(library, name));
  dlclose(library);  // device_module() keeps it
  if (!function) throw Error(module_path() + " has no " + name);
  return function;
}

// The lines that a function of the shim gives.
std::set<std::string> names_from(const char* function) {
  device_module();
  std::istringstream lines(shim_function<const char*()>(function)());
  std::set<std::string> names;
  for (std::string name; std::getline(lines, name);) names.insert(name);
  return names;
}

}  // namespace

const Backend& device_module() {
  static const Backend module(module_path());
  return module;
}

const Backend* module_from_environment() { return std::getenv(kVariable) ? &device_module() : nullptr; }

bool device_is_shim() { return std::string(device_module().table()->name) == "simt"; }

std::string in_all_schedules(const std::function<std::string()>& f) {
  const std::string first = f();
  if (!device_is_shim()) return f() == first ? "" : "a second run";
  const auto set = shim_function<void(int)>("selene_simt_set_schedule");
  std::string different;
#ifdef SELENE_ASAN
  const std::vector<int> others;  // which addresses a kernel uses does not depend on the schedule
#else
  const std::vector<int> others = {1, 2};
#endif
  for (const int schedule : others) {
    set(schedule);
    if (f() != first) different += schedule == 1 ? "descending " : "shuffled ";
  }
  set(0);
  return different;
}

std::set<std::string> kernels_run() { return names_from("selene_simt_kernels_run"); }
std::set<std::string> module_functions() { return names_from("selene_simt_functions"); }

}  // namespace selene::testing
