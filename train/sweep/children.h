// Programs that run side by side, and the signals they are sent.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace selene::train {

struct Command {
  std::vector<std::string> words;                                     // the program's name and its arguments
  std::string output;                                                 // file for what it prints
  std::vector<std::pair<std::string, std::string>> environment = {};  // changes
};

/// How a program ended.
struct Ended {
  size_t id = 0, slot = 0;
  int status = 0;  // 128 + number for a signal
};

/// Programs that lie beside this one, at most so many at a time. Each has a process group of its own, so that a
/// terminal's Ctrl-C does not reach it twice. The first signal to this process (data/io/stop.h) is passed on as
/// SIGTERM, by which each comes to a good end, and so are further ones that differ; when this process ends, whatever
/// ends it, they are sent another SIGTERM.
class Children {
 public:
  explicit Children(size_t most) : slots_(most) {}
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  ~Children();

  bool full() const;
  bool idle() const;
  /// Starts a program in a free slot. Its output file is locked (flock) while the program or this process holds it.
  /// Throws Error where that is held by another one for more than 10 s, and where the program cannot be started.
  void start(size_t id, const Command& command);
  /// Slot that the next start takes.
  size_t free_slot() const;
  /// Waits for one to end.
  Ended wait();

 private:
  struct Child {
    pid_t process = 0;  // 0: the slot is free
    size_t id = 0;
  };
  void send(int number);
  void pass_signal_on();
  std::vector<Child> slots_;
  int passed_on_ = 0;  // the latest signal that was
};

/// Runs one program; its exit status.
int run_alone(const Command& command);

/// Words as they are typed into a shell.
std::string shell_line(const std::vector<std::string>& words);

/// The error line of a program's output, why that can't be written, or its last line that says something.
std::string error_of(const std::string& file);

}  // namespace selene::train
