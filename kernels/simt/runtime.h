// Runs kernels on the host: the threads of a block are fibers of one OS thread, blocks run one after another, and
// each warp runs as far as it can before the next, in one of three orders. Device code does not include this; tests
// and kernels/simt/queue.cpp do.
#pragma once
#include "kernels/simt/simt.h"

namespace selene::simt {

/// In which order warps, lanes and blocks run. Correct kernels give the same bits in all three.
enum class Schedule { ascending, descending, shuffled };
/// At first what SELENE_SIMT_SCHEDULE says (ascending, descending, shuffled), ascending where it is not set.
void set_schedule(Schedule schedule);

/// What a queue does when a kernel is submitted: runs it, or keeps it for replay. Submitting to a null queue runs it.
struct Queue {
  bool capturing = false;
  std::vector<Kernel> captured;
};

/// Runs a kernel to its end. Error names kernel, block and thread: an exception of the kernel, a barrier or warp
/// operation that not all reached, a write past the end of dynamic shared memory, an asynchronous copy that nobody
/// waited for.
void run(const Kernel& kernel);

/// Names of the kernels that have run in this process, in the form of kernel_name; sorted.
std::vector<std::string> kernels_run();
/// How many static __shared__ variables are filled with NaN before each block (0: the symbol table was stripped).
int64_t static_shared_variables();

}  // namespace selene::simt
