// The symbol table of the module this is linked into: names of kernels, and where their static __shared__ variables
// lie.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace selene::simt {

struct KernelName {
  std::string base;  // "fwd_rows"
  std::string full;  // "fwd_rows<float>"
};
/// "kernel" twice where the symbol table was stripped.
KernelName kernel_name(const void* function);

struct Range {
  unsigned char* from;
  int64_t bytes;
};
/// Function-local thread_local variables of namespace selene::cuda that need no initialisation, in the calling
/// thread.
std::vector<Range> shared_variables();

}  // namespace selene::simt
