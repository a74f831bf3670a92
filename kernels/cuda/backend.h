// What the host side of the device backend sees of its kernels: run() and workspace() of every operation, and which
// element types each is built for. Needs no CUDA header; the same in libselene_cuda.so and, through the shim,
// libselene_simt.so.
#pragma once
#include <string>
#include <vector>

#include "kernels/operations.h"

namespace selene::cuda {

/// A queue of launches on one device, and the switches of StreamOption.
struct Stream {
  void* queue = nullptr;   // cudaStream_t; in the shim a simt::Queue, or null: run at once
  int32_t capability = 0;  // that the kernels in use were compiled for: 70, 75, 80, 86, 89, 90, ...
  bool tf32 = false, plain_matmul = false;
  AttentionKernels attention = AttentionKernels::own;
  void* library = nullptr;  // state of the matrix library
  std::vector<Fallback> fallbacks;
};

/// Counts a call that slower kernels take than those meant for it: nothing falls back in silence.
void count_fallback(Stream& s, Operation operation, DType dtype, const std::string& shape, const std::string& reason);

/// Error with the reason where cuDNN can't be opened, or this module was built without it.
void need_cudnn();

#define X(NAME)                      \
  template <class T>                 \
  void run(Stream&, const NAME<T>&); \
  template <class T>                 \
  int64_t workspace(const NAME<T>&);
SELENE_OPERATIONS(X)
#undef X

/// Operations on fp32 state or on integers: no other element type has a kernel.
template <template <class> class Arguments>
constexpr bool float_only = false;
// clang-format off
template <> inline constexpr bool float_only<Positions> = true;
template <> inline constexpr bool float_only<PaddingMask> = true;
template <> inline constexpr bool float_only<SumSquares> = true;
template <> inline constexpr bool float_only<GradientNorm> = true;
template <> inline constexpr bool float_only<UpdateCheck> = true;
template <> inline constexpr bool float_only<Adam> = true;
// clang-format on

/// Operations that also have a kernel for double.
template <template <class> class Arguments>
constexpr bool also_double = false;
template <>
inline constexpr bool also_double<Fill> = true;

/// True for a struct with a member `workspace`: only then is there a workspace().
template <class A, class = void>
struct HasWorkspace {
  static constexpr bool value = false;
};
template <class A>
struct HasWorkspace<A, decltype(void(A::workspace))> {
  static constexpr bool value = true;
};

}  // namespace selene::cuda

// In the .cu files, inside namespace selene::cuda.
#define INSTANTIATE_DEVICE_FLOAT(NAME) template void run<float>(Stream&, const NAME<float>&);
#define INSTANTIATE_DEVICE_DOUBLE(NAME) template void run<double>(Stream&, const NAME<double>&);
#define INSTANTIATE_DEVICE(NAME)                         \
  template void run<float>(Stream&, const NAME<float>&); \
  template void run<f16>(Stream&, const NAME<f16>&);     \
  template void run<bf16>(Stream&, const NAME<bf16>&);
#define INSTANTIATE_DEVICE_WORKSPACE_FLOAT(NAME) template int64_t workspace<float>(const NAME<float>&);
#define INSTANTIATE_DEVICE_WORKSPACE(NAME)               \
  template int64_t workspace<float>(const NAME<float>&); \
  template int64_t workspace<f16>(const NAME<f16>&);     \
  template int64_t workspace<bf16>(const NAME<bf16>&);
