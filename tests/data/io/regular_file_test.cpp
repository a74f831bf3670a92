// Whole files: what is read, and what is refused without waiting.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "data/io/regular_file.h"
#include "kernels/error.h"
#include "tests/support/catch.h"

namespace selene::testing {
namespace {

namespace fs = std::filesystem;
using data::read_regular_file;

std::string problem(const std::string& path, uint64_t largest = 10) {
  try {
    read_regular_file(path, largest, "a list");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("regular_file: content up to the limit, with every byte") {
  const fs::path file = fs::temp_directory_path() / ("selene-regular-" + std::to_string(getpid()));
  const std::string text("a\0b\xff\n", 5);
  std::ofstream(file, std::ios::binary) << text;
  CHECK(read_regular_file(file, 5, "a list") == text);
  CHECK(problem(file, 4) == file.string() + ": has 5 bytes, wanted a list of at most 4");
  std::ofstream(file, std::ios::binary | std::ios::trunc);
  CHECK(read_regular_file(file, 5, "a list").empty());
  fs::remove(file);
  CHECK(problem(file) == file.string() + ": cannot be opened: No such file or directory; wanted a list");
}

TEST_CASE("regular_file: folders, pipes and devices are refused at once") {
  const fs::path pipe = fs::temp_directory_path() / ("selene-pipe-" + std::to_string(getpid()));
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(problem(pipe) == pipe.string() + ": is a device or pipe, wanted a list");
  fs::remove(pipe);
  CHECK(problem("/dev/zero") == "/dev/zero: is a device or pipe, wanted a list");
  CHECK(problem(fs::temp_directory_path()).ends_with(": is a folder, wanted a list"));
}

TEST_CASE("regular_file: files whose size the system does not say") {  // st_size is 0 in /proc
  CHECK(read_regular_file("/proc/self/status", 1 << 20, "facts").starts_with("Name:"));
  CHECK(problem("/proc/self/status").find("wanted a list of at most 10") != std::string::npos);
}

}  // namespace selene::testing
