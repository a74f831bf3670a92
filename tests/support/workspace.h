// Launching an operation with scratch of its own, for tests of kernels on the CPU.
#pragma once
#include <limits>
#include <vector>

#include "kernels/backend.h"

namespace selene::testing {

/// Runs a launch on the CPU with exactly the scratch it asks for, filled with NaN before.
template <template <class> class Arguments, class T>
void run_with_scratch(Stream& stream, Arguments<T> a) {
  const int64_t bytes = workspace_bytes(stream, a);
  std::vector<Acc<T>> scratch(size_t(bytes) / sizeof(Acc<T>), std::numeric_limits<Acc<T>>::quiet_NaN());
  a.workspace = scratch.empty() ? nullptr : scratch.data();
  run(stream, a);
}

}  // namespace selene::testing
