// Rules of device code that no compiler checks, checked on the text: kernels/cuda and the headers it includes.
#pragma once
#include <string>
#include <vector>

namespace selene::testing {

struct SourceText {
  std::string path, text;  // from the root
};

/// Every .cu and .cuh of kernels/cuda, and the headers of kernels/. Error when the folder is not there.
std::vector<SourceText> device_sources(const std::string& root);

/// Names of the kernels that a text defines, in its order; "" for a __global__ whose name cannot be read.
std::vector<std::string> kernel_names(const std::string& text);

/// One line for each fault: a launch by <<<, an atomic on anything but an int in shared memory, inline PTX whose
/// function is empty or missing where neither __CUDACC__ nor __CUDA_ARCH__ is defined, a kernel without a name.
std::vector<std::string> device_faults(const SourceText& source);

}  // namespace selene::testing
