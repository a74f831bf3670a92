#include "data/stop.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace selene::data {
namespace {

std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);  // it is written by a signal handler

void on_signal(int number) {
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, number) && none == number) signal(number, SIG_DFL), raise(number);
}

}  // namespace

void listen_for_stop() {
  // oneDNN 2.6's code has the stack pointer point into the heap at times, and a handler's frame would be written
  // there.
  static std::array<char, 1 << 16> memory;
  stack_t stack{};
  stack.ss_sp = memory.data(), stack.ss_size = memory.size();
  sigaltstack(&stack, nullptr);
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
