// golden: runs every case of the golden vectors in the folder that SELENE_GOLDEN_DIR names.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "kernels/error.h"
#include "tests/golden/run.h"

namespace selene::golden {
namespace {

struct Tally {
  int passed = 0;
  std::vector<std::string> failed, unsupported;

  void add(const Outcome& o) {
    if (!o.complaints.empty()) failed.push_back(o.name);
    else if (!o.supported) unsupported.push_back(o.name);
    else ++passed;
  }
};

void print_names(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return;
  fmt::print("  {}:", what);
  for (const std::string& name : names) fmt::print(" {}", name);
  fmt::print("\n");
}

void print_counts(const std::string& what, const Tally& t) {
  fmt::print("{:<20} {:>3} passed, {:>3} failed, {:>3} not yet supported\n", what, t.passed, t.failed.size(),
             t.unsupported.size());
}

void print_checks(const Outcome& o) {
  for (const Check& c : o.checks)
    fmt::print("{:<4} {} {}: error {:.2e}, allowed {:.2e}\n", c.complaint.empty() ? "ok" : "FAIL", o.name, c.tensor,
               c.error, c.bound);
}

int report(const std::vector<Outcome>& outcomes, bool every_tensor) {
  std::map<std::string, Tally> groups;
  Tally all;
  for (const Outcome& o : outcomes) {
    if (every_tensor) print_checks(o);
    groups[o.group].add(o), all.add(o);
    for (const std::string& line : o.complaints) fmt::print(stderr, "error: {}: {}\n", o.name, line);
  }
  for (const auto& [group, tally] : groups) {
    print_counts(group, tally);
    print_names("failed", tally.failed);
    print_names("not yet supported", tally.unsupported);
  }
  print_counts("all", all);
  return all.failed.empty() ? 0 : 1;
}

}  // namespace
}  // namespace selene::golden

int main(int argc, char** argv) {
  CLI::App app{
      "Runs the golden vectors in the folder that the environment variable SELENE_GOLDEN_DIR names.\n"
      "Example: SELENE_GOLDEN_DIR=tests/golden golden ops_mha",
      "golden"};
  std::string filter;
  app.add_option("NAME", filter, "only cases with this in their name; prints every tensor's error");
  app.set_version_flag("--version", SELENE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    const char* folder = std::getenv("SELENE_GOLDEN_DIR");
    if (!folder) throw selene::Error("SELENE_GOLDEN_DIR is not set, wanted the folder of the golden vectors");
    return selene::golden::report(selene::golden::run_folder(folder, filter), !filter.empty());
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return 1;
  }
}
