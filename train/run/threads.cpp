#include "train/run/threads.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <latch>
#include <system_error>
#include <thread>
#include <vector>

#include "data/io/machine.h"
#include "train/folder/log.h"

namespace selene::train {
namespace {

constexpr int kMostThreads = 4096;  // as train.threads

// How many threads, at most `wanted`, this one included, can compute. OpenMP's library ends the process where one
// cannot be started; where this is so, half of those that can leave room for everything else.
int64_t startable(int64_t wanted) {
  std::latch end(1);
  std::vector<std::jthread> others;
  int64_t count = wanted;
  try {
    while (int64_t(others.size()) + 1 < wanted) others.emplace_back([&] { end.wait(); });
  } catch (const std::system_error& e) {
    count = int64_t(others.size() + 2) / 2;
    log_warning(fmt::format(
        "{} of {} threads compute, no more than {} can be started: {} (ulimit -u or -v, or the container's limit)",
        count, wanted, others.size() + 1, e.code().message()));
  }
  end.count_down();
  return count;
}

// OpenMP's threads take no signal: they have no stack of their own for a handler (data/io/stop.cpp).
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&all, fault);
#pragma omp parallel
  if (omp_get_thread_num() != 0) pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

void use_threads(int64_t wanted) {
  // A value that is no number says nothing; one beyond what train.threads may be is a slip.
  const char* said = std::getenv("OMP_NUM_THREADS");
  if (wanted == 0 && said && std::atoi(said) > 0) wanted = std::min(omp_get_max_threads(), kMostThreads);
  if (wanted == 0) wanted = data::usable_cores();
  omp_set_num_threads(int(startable(wanted)));
  block_signals();
}

}  // namespace selene::train
