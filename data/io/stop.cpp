#include "data/io/stop.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>

namespace selene::data {
namespace {

// timeout(1) and some launchers send one signal twice, to the process and to its group.
constexpr int64_t kSameSignal = 20;  // ms

std::atomic<int> first_signal{0}, last_signal{0};
std::atomic<int64_t> first_at{0};  // ms
bool watched = false;              // by somebody at a terminal, who wants to see that the key was noticed
// Written by a signal handler.
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free);

void on_signal(int number) {
  last_signal = number;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t at = now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
  int64_t never = 0;
  first_at.compare_exchange_strong(never, at);
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, number)) {
    if (none == number && at - first_at > kSameSignal) signal(number, SIG_DFL), raise(number);
    return;
  }
  constexpr std::string_view text =
      "\nends as soon as what is under way is finished; the same once more ends at once\n";
  if (watched) [[maybe_unused]]
    const ssize_t n = write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

void listen_for_stop() {
  // oneDNN 2.6's code has the stack pointer point into the heap at times, and a handler's frame would be written
  // there.
  static std::array<char, 1 << 16> memory;
  stack_t stack{};
  stack.ss_sp = memory.data(), stack.ss_size = memory.size();
  sigaltstack(&stack, nullptr);
  watched = isatty(STDERR_FILENO);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU}) {
    struct sigaction now {};
    sigaction(number, nullptr, &now);
    if (now.sa_handler == SIG_IGN) continue;
    now = {};
    now.sa_handler = on_signal;
    now.sa_flags = SA_RESTART | SA_ONSTACK;
    sigaction(number, &now, nullptr);
  }
}

int stop_signal() { return first_signal; }

int latest_signal() { return last_signal; }

Interrupted::Interrupted() : Error("interrupted by " + signal_name(stop_signal()) + "; nothing was kept") {}

void check_stop() {
  if (stop_signal()) throw Interrupted();
}

void end_by_signal(int number) {
  signal(number, SIG_DFL);
  raise(number);
  _Exit(128 + number);  // the signal is blocked
}

std::string signal_name(int number) {
  const char* name = sigabbrev_np(number);
  return name ? std::string("SIG") + name : "signal " + std::to_string(number);
}

}  // namespace selene::data
