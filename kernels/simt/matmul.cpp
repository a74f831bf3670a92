// Matrix products of the shim: there is no library to call, so our own kernel (kernels/cuda/matmul/matmul.cu) does
// them all.
#include "kernels/matmul.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host/runtime.h"
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

bool has_matmul_library() { return false; }
template <class T>
ProductPlan product_plan(Stream&, const Matmul<T>&) {
  return {};
}
template ProductPlan product_plan(Stream&, const Matmul<float>&);
template ProductPlan product_plan(Stream&, const Matmul<f16>&);
template ProductPlan product_plan(Stream&, const Matmul<bf16>&);

INSTANTIATE_DEVICE(Matmul)
INSTANTIATE_DEVICE_WORKSPACE(Matmul)

}  // namespace selene::cuda
