// How many CPU threads compute.
#pragma once
#include <cstdint>

namespace selene::train {

/// Sets the number of OpenMP threads: `wanted`, or for 0 what OMP_NUM_THREADS says, or else every core that this
/// process may use (data/io/machine.h). Where the system does not let so many start (ulimit -u or -v, a container's
/// limit), those that it does, with a warning; no result depends on their number.
void use_threads(int64_t wanted);

}  // namespace selene::train
