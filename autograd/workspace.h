// Launches of operations that need scratch memory.
#pragma once
#include "autograd/tape.h"
#include "kernels/backend.h"

namespace selene {

/// Launches an operation with scratch from the step arena, as much as the stream's device wants; it is free again
/// when the launch has been made, since everything runs in one stream's order.
template <template <class> class Arguments, class T>
void run_with_workspace(Tape& t, Arguments<T> a) {
  const int64_t bytes = workspace_bytes(t.stream(), a);
  const Tensor scratch = bytes ? t.empty({bytes}, DType::u8, "workspace") : Tensor();
  a.workspace = bytes ? static_cast<Acc<T>*>(scratch.raw()) : nullptr;
  run(t.stream(), a);
}

}  // namespace selene
