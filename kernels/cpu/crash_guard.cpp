#include "kernels/cpu/crash_guard.h"

#include <unistd.h>

#include <csignal>
#include <string_view>

namespace selene::cpu {
namespace {

thread_local bool guarded = false;
struct sigaction before;

void on_fault(int number, siginfo_t*, void*) {
  if (!guarded) {
    sigaction(number, &before, nullptr);  // the fault comes again, and finds it
    return;
  }
  constexpr std::string_view text =
      "error: oneDNN crashed where it makes its code, as it does when the system refuses it memory; look at ulimit "
      "-v and "
      "the container's limit\n";
  [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, text.data(), text.size());
  _exit(1);
}

bool listen() {
  struct sigaction now {};
  now.sa_sigaction = on_fault;
  now.sa_flags = SA_SIGINFO | SA_ONSTACK;
  return sigaction(SIGSEGV, &now, &before) == 0;
}

}  // namespace

CrashGuard::CrashGuard() {
  [[maybe_unused]] static const bool listens = listen();
  guarded = true;
}

CrashGuard::~CrashGuard() { guarded = false; }

}  // namespace selene::cpu
