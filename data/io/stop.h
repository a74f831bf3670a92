// Whether a signal asked the program to end: one place for every loop that may run long.
#pragma once
#include <string>

#include "kernels/error.h"

namespace selene::data {

/// From now on SIGINT, SIGTERM, SIGHUP (the terminal is gone), SIGUSR1, SIGUSR2 and SIGXCPU (schedulers' warnings)
/// are noted instead of ending the process; the same one again ends it at once (another one does not: schedulers and
/// terminals send several; nor does one within 20 ms, which is the same sent twice). A signal that was ignored when
/// the program started stays ignored: nohup and a shell's background jobs rely on that.
void listen_for_stop();

/// Number of the first signal that came since listen_for_stop(); 0: none did. Callable from any thread.
int stop_signal();

/// Number of the latest of those signals; 0: none came.
int latest_signal();

/// What a loop throws that a signal ends. run_program() prints it and ends the process by that very signal, as shells
/// and schedulers expect, once everything on the way has been cleaned up.
struct Interrupted : Error {
  Interrupted();
};

/// Throws Interrupted if a signal came. For the inside of loops; costs a read of one variable.
void check_stop();

/// Ends the process by the signal's default action.
[[noreturn]] void end_by_signal(int number);

/// "SIGTERM" for 15.
std::string signal_name(int number);

}  // namespace selene::data
