// From an argument struct to the code that runs it: run(stream, arguments). A kernel family's header declares its
// structs and names each in DECLARE_OPERATION; each backend defines run() for it. C++17; also read by device code.
#pragma once
#include "kernels/dtype.h"
#include "kernels/module_abi.h"
#include "kernels/stream.h"

namespace selene {

template <template <class> class Arguments>
struct OperationOf;

/// Per-step numbers, in device memory, written by one copy before the step: kernel arguments are frozen in a graph.
struct StepScalars {
  uint64_t seed;         // key of every dropout mask
  uint64_t micro_batch;  // update x micro-batches per update + global micro-batch; part of the dropout counter
  double learning_rate;
  double gradient_scale;  // 1 / sample size: gradients arrive as sums (times the loss scale, which the device keeps)
  int64_t update;         // finished updates
};

/// Inverted dropout at one site of the model. An element is kept when its 16 random bits (kernels/dropout.h) are
/// below `threshold`, and then multiplied by 65536 / threshold.
struct DropoutSite {
  const StepScalars* step = nullptr;  // device memory
  uint32_t site = 0;                  // id given when the model is built
  uint32_t threshold = 65536;         // 65536: dropout is off and step is not read
};

}  // namespace selene

// Declares the CPU implementation of one argument struct and ties the struct to its operation. A struct that has a
// member `workspace` (scratch in device memory, null where none is wanted) also has cpu::workspace(): its size in
// bytes.
#define DECLARE_OPERATION(NAME)                             \
  namespace cpu {                                           \
  template <class T>                                        \
  void run(Stream&, const NAME<T>&);                        \
  template <class T>                                        \
  int64_t workspace(const NAME<T>&);                        \
  }                                                         \
  template <>                                               \
  struct OperationOf<NAME> {                                \
    static constexpr Operation value = Operation::NAME;     \
    template <class T>                                      \
    static void on_cpu(Stream& s, const void* arguments) {  \
      cpu::run(s, *static_cast<const NAME<T>*>(arguments)); \
    }                                                       \
    template <class T>                                      \
    static int64_t workspace_on_cpu(const NAME<T>& a) {     \
      return cpu::workspace(a);                             \
    }                                                       \
  };

// In kernels/cpu/*.cpp: the element types a CPU kernel is built for. double is the reference of the gradient checks.
#define INSTANTIATE_CPU(NAME)                                   \
  template void cpu::run<float>(Stream&, const NAME<float>&);   \
  template void cpu::run<double>(Stream&, const NAME<double>&); \
  template void cpu::run<bf16>(Stream&, const NAME<bf16>&);     \
  template void cpu::run<f16>(Stream&, const NAME<f16>&);
#define INSTANTIATE_CPU_WORKSPACE(NAME)                         \
  template int64_t cpu::workspace<float>(const NAME<float>&);   \
  template int64_t cpu::workspace<double>(const NAME<double>&); \
  template int64_t cpu::workspace<bf16>(const NAME<bf16>&);     \
  template int64_t cpu::workspace<f16>(const NAME<f16>&);

namespace selene {

/// Launches an operation on the stream's device.
template <template <class> class Arguments, class T>
void run(Stream& s, const Arguments<T>& a) {
  s.launch(OperationOf<Arguments>::value, dtype_of<T>, OperationOf<Arguments>::template on_cpu<T>, &a, sizeof(a));
}

/// Bytes of scratch that the operation wants in a.workspace on the stream's device; depends on shapes alone.
template <template <class> class Arguments, class T>
int64_t workspace_bytes(const Stream& s, const Arguments<T>& a) {
  if (s.device() == Device::cpu) return OperationOf<Arguments>::workspace_on_cpu(a);
  return s.workspace(OperationOf<Arguments>::value, dtype_of<T>, &a, sizeof(a));
}

}  // namespace selene
