#include "train/sweep/children.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "data/io/stop.h"
#include "kernels/error.h"

namespace selene::train {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds pause(10), longest_wait(10'000);

std::string program_path(const std::string& name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

// The file, empty and locked. A killed sweep's program may need a moment to come to its end.
int open_output(const std::string& path) {
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0) throw Error(fmt::format("{}: cannot be opened: {}", path, strerror(errno)));
  for (milliseconds waited(0); flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; waited += pause) {
    if (waited >= longest_wait) {
      close(file);
      throw Error(fmt::format("{}: another selene-sweep works here", path));
    }
    std::this_thread::sleep_for(pause);
    data::check_stop();
  }
  if (ftruncate(file, 0) != 0) {
  }  // a device, say
  return file;
}

// Signals wait while this lives.
class SignalsWait {
 public:
  SignalsWait() {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
  }
  SignalsWait(const SignalsWait&) = delete;
  SignalsWait& operator=(const SignalsWait&) = delete;
  ~SignalsWait() { sigprocmask(SIG_SETMASK, &before, nullptr); }
  sigset_t before{};
};

// This process's handlers would swallow a signal that comes before exec. What is ignored stays so.
void let_signals_end_it(const sigset_t& mask) {
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction now {};
    if (sigaction(number, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) signal(number, SIG_DFL);
  }
  sigprocmask(SIG_SETMASK, &mask, nullptr);
}

// In the new process, where signals wait; only calls that are allowed between fork and exec.
[[noreturn]] void become(const char* program, char* const* words, char* const* environment, int output, pid_t parent,
                         const sigset_t& mask) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(1);
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  dup2(output, STDOUT_FILENO), dup2(output, STDERR_FILENO);
  let_signals_end_it(mask);
  execve(program, words, environment);
  _exit(127);
}

std::vector<std::string> environment_of(const Command& command) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) {
    const std::string text = *entry;
    const bool changed = std::any_of(command.environment.begin(), command.environment.end(),
                                     [&](const auto& change) { return text.starts_with(change.first + "="); });
    if (!changed) all.push_back(text);
  }
  for (const auto& [name, value] : command.environment) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Children::~Children() {
  if (data::stop_signal()) pass_signal_on();
  else send(SIGTERM);
  while (!idle()) wait();
}

bool Children::full() const { return free_slot() == slots_.size(); }

bool Children::idle() const {
  return std::all_of(slots_.begin(), slots_.end(), [](const Child& c) { return c.process == 0; });
}

size_t Children::free_slot() const {
  return size_t(std::find_if(slots_.begin(), slots_.end(), [](const Child& c) { return c.process == 0; }) -
                slots_.begin());
}

void Children::start(size_t id, const Command& command) {
  const std::string program = program_path(command.words[0]);
  if (access(program.c_str(), X_OK) != 0)
    throw Error(fmt::format("{}: {}; wanted the program beside selene-sweep", program, strerror(errno)));
  std::vector<std::string> words = command.words, environment = environment_of(command);
  const std::vector<char*> word_list = pointers(words), environment_list = pointers(environment);
  const int output = open_output(command.output);
  const SignalsWait waiting;
  const pid_t parent = getpid(), process = fork();
  if (process == 0)
    become(program.c_str(), word_list.data(), environment_list.data(), output, parent, waiting.before);
  const int problem = errno;
  close(output);
  if (process < 0) throw Error(fmt::format("{}: cannot be started: {}", program, strerror(problem)));
  slots_[free_slot()] = {process, id};
}

void Children::send(int number) {
  for (const Child& child : slots_)
    if (child.process) kill(child.process, number);
}

// As SIGTERM stands for the first signal, that one stands for SIGTERM: no program gets one twice that came once.
void Children::pass_signal_on() {
  const int latest = data::latest_signal(), first = data::stop_signal();
  if (latest == passed_on_) return;
  send(latest == first ? SIGTERM : latest == SIGTERM ? first : latest);
  passed_on_ = latest;
}

Ended Children::wait() {
  while (true) {
    pass_signal_on();
    for (size_t slot = 0; slot < slots_.size(); ++slot) {
      Child& child = slots_[slot];
      int status = 0;
      if (!child.process || waitpid(child.process, &status, WNOHANG) == 0) continue;
      child.process = 0;
      return {child.id, slot, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status)};
    }
    std::this_thread::sleep_for(pause);
  }
}

int run_alone(const Command& command) {
  Children children(1);
  children.start(0, command);
  const int status = children.wait().status;
  data::check_stop();
  return status;
}

std::string shell_line(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) {
    const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
      return isalnum(static_cast<unsigned char>(c)) || std::strchr("_./=,:@%+-", c);
    });
    std::string quoted;
    for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
    line += fmt::format("{}{}", line.empty() ? "" : " ", plain ? word : "'" + quoted + "'");
  }
  return line;
}

std::string error_of(const std::string& file) {
  std::ifstream in(file);
  std::string error, last;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("error: ")) error = line.substr(7);
    if (!line.empty() && !line.starts_with("Run with --help")) last = line;
  }
  if (!error.empty()) return error;
  // What it said last is lost where a line more cannot be written: a full disk, a quota.
  const int out = open(file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  const int problem = out >= 0 && write(out, "\n", 1) != 1 ? errno : 0;
  close(out);
  if (problem) return fmt::format("{}: cannot be written: {}", file, strerror(problem));
  return !last.empty() ? last : "ended without a word";
}

}  // namespace selene::train
