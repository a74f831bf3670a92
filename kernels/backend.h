// From an argument struct to the code that runs it: run(stream, arguments). A kernel family's header declares its structs and
// names each in DECLARE_OPERATION; each backend defines run() for it. C++17; also read by device code.
#pragma once
#include "kernels/dtype.h"
#include "kernels/module_abi.h"
#include "kernels/stream.h"

namespace selene {

template <template <class> class Arguments> struct OperationOf;

/// Per-step numbers, in device memory, written by one copy before the step: kernel arguments are frozen in a graph.
struct StepScalars {
  uint64_t seed;          // key of every dropout mask
  uint64_t micro_batch;   // update x micro-batches per update + global micro-batch; part of the dropout counter
  double learning_rate;
  double correction1, correction2;  // 1 - beta1^t, 1 - beta2^t of Adam, t = 1, 2, ...
  double gradient_scale;  // 1 / (sample size x loss scale): gradients arrive as sums
  int64_t update;         // finished updates
};

/// Inverted dropout at one site of the model. Element e of example b (Where: kernels/dropout.h) is kept when its 16 random
/// bits are below `threshold`, and then multiplied by 65536 / threshold.
struct DropoutSite {
  const StepScalars* step = nullptr;  // device memory
  uint32_t site = 0;                  // id given when the model is built
  uint32_t threshold = 65536;         // 65536: dropout is off and step is not read
};

}  // namespace selene

// Declares the CPU implementation of one argument struct and ties the struct to its operation.
#define DECLARE_OPERATION(NAME)                                                                     \
  namespace cpu {                                                                                   \
  template <class T> void run(Stream&, const NAME<T>&);                                             \
  }                                                                                                 \
  template <> struct OperationOf<NAME> {                                                            \
    static constexpr Operation value = Operation::NAME;                                             \
    template <class T> static void on_cpu(Stream& s, const void* arguments) {                       \
      cpu::run(s, *static_cast<const NAME<T>*>(arguments));                                         \
    }                                                                                               \
  };

// In kernels/cpu/*.cpp: the element types a CPU kernel is built for. double is the reference of the gradient checks.
#define INSTANTIATE_CPU(NAME)                                   \
  template void cpu::run<float>(Stream&, const NAME<float>&);   \
  template void cpu::run<double>(Stream&, const NAME<double>&); \
  template void cpu::run<bf16>(Stream&, const NAME<bf16>&);     \
  template void cpu::run<f16>(Stream&, const NAME<f16>&);

namespace selene {

/// Launches an operation on the stream's device.
template <template <class> class Arguments, class T> void run(Stream& s, const Arguments<T>& a) {
  s.launch(OperationOf<Arguments>::value, dtype_of<T>, OperationOf<Arguments>::template on_cpu<T>, &a, sizeof(a));
}

}  // namespace selene
