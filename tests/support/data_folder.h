// What tests of files and of data share: a fresh folder, the content of files, rows as text, messages, a child.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <sstream>
#include <string>

#include "data/dataset.h"
#include "kernels/error.h"

namespace selene::testing {

/// For the files of one test, removed at its end.
struct Folder {
  std::filesystem::path path;
  Folder() {
    static std::atomic<int> counter{0};
    path = std::filesystem::temp_directory_path() /
           ("selene-data-" + std::to_string(getpid()) + "-" + std::to_string(counter++));
    std::filesystem::create_directory(path);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string file(const std::string& name) const { return (path / name).string(); }
};

/// The bytes of a file. Error where it can't be opened, so that a missing file is no empty one.
inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path + ": can't be opened");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// Number of files and folders directly in a folder.
inline int64_t entries_in(const std::filesystem::path& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
}

/// Content of every file below a folder, by its path there.
inline std::map<std::string, std::string> files_of(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      files[std::filesystem::relative(entry.path(), folder).string()] = read_text(entry.path().string());
  return files;
}

/// Bytes as text: g++ 12 warns falsely where it compares vectors of bytes.
inline std::string text_of(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

/// The different rows of a data set of one tower.
inline std::set<std::string> text_set(const data::Dataset& d) {
  std::set<std::string> all;
  for (int64_t i = 0; i < d.examples(); ++i) all.insert(text_of(d.row(i)));
  return all;
}

inline bool holds(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

/// The message of the Error that f throws; empty if it throws none.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

/// Runs the job in a child process; the number of the signal that ended it, 0 where it came to its end.
template <class F>
int signal_of(F&& job) {
  const pid_t child = fork();
  if (child == 0) {
    job();
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) throw Error("fork: there is no child process to wait for");
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace selene::testing
