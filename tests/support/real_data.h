// Real data sets for tests that are hidden from the suite: they run where the environment variable SELENE_DATA_DIR
// names a folder that holds the unpacked official archives.
#pragma once
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/support/catch.h"

namespace selene::testing {

/// The folder `name` in SELENE_DATA_DIR; empty, with a message, where it is not there: the test then ends.
inline std::string real_data(const std::string& name) {
  const char* folder = std::getenv("SELENE_DATA_DIR");
  const std::string path = folder ? std::string(folder) + "/" + name : "";
  if (folder && std::filesystem::is_directory(path)) return path;
  WARN("skipped: SELENE_DATA_DIR names no folder with " << name);
  return "";
}

/// Runs the job, which prepares `what`, tells how long it took and fails where that is 20 s or more.
template <class F>
void check_time(const std::string& what, F&& job) {
  const auto start = std::chrono::steady_clock::now();
  job();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  WARN(what << " prepared in " << seconds << " s");
  CHECK(seconds < 20);
}

}  // namespace selene::testing
