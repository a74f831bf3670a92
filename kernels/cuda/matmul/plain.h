// The matrix product by our own kernel: what the shim runs, and on a device the second opinion beside cuBLASLt and
// its fallback where the library does not take a shape, stride or alignment. Host side of
// kernels/cuda/matmul/matmul.cu.
#pragma once
#include "kernels/cuda/backend.h"
#include "kernels/matmul.h"

namespace selene::cuda {

/// Everything that Matmul promises: all strides, both transposes, epilogues, a_sum.
template <class T>
void plain_matmul(Stream& s, const Matmul<T>& a);

/// Bytes of a.workspace that plain_matmul wants; a function of the shape and of sums_a alone.
template <class T>
int64_t plain_matmul_workspace(const Matmul<T>& a);

}  // namespace selene::cuda
