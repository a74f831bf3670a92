#include "train/threads.h"

#include <fmt/format.h>
#include <omp.h>

#include <cstdlib>
#include <latch>
#include <system_error>
#include <thread>
#include <vector>

#include "data/machine.h"
#include "train/log.h"

namespace selene::train {
namespace {

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

}  // namespace

void use_threads(int64_t wanted) {
  if (wanted == 0) wanted = std::getenv("OMP_NUM_THREADS") ? omp_get_max_threads() : data::usable_cores();
  omp_set_num_threads(int(startable(wanted)));
}

}  // namespace selene::train
