// The symbol table of the module this is linked into: names of kernels, and where their static __shared__ variables
// lie.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace selene::simt {

/// A function's name with its template arguments, without namespaces: "fwd_rows<float>"; "kernel" where the symbol
/// table was stripped.
std::string kernel_name(const void* function);
/// Of every function of the module, kernel or not, in the form of kernel_name; sorted.
std::vector<std::string> function_names();

struct Range {
  unsigned char* from;
  int64_t bytes;
};
/// Function-local thread_local variables of namespace selene::cuda that need no initialisation, in the calling
/// thread.
std::vector<Range> shared_variables();

}  // namespace selene::simt
