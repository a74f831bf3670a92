// Matrix products of the shim: there is no library to call, so our own kernel (kernels/cuda/matmul/matmul.cu) does
// them all.
#include "kernels/matmul.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/matmul/plain.h"

namespace selene::cuda {

template <class T>
void run(Stream& s, const Matmul<T>& a) {
  plain_matmul(s, a);
}
template <class T>
int64_t workspace(const Matmul<T>& a) {
  return plain_matmul_workspace(a);
}

INSTANTIATE_DEVICE(Matmul)
INSTANTIATE_DEVICE_WORKSPACE(Matmul)

}  // namespace selene::cuda
