// What the program and a backend module (libselene_cuda.so, libselene_simt.so) agree on: the list of operations, and
// the table of C functions that a module offers. No exception crosses: a function returns null, or a message that
// lives until the next call of the same thread. C++17; also read by device code.
#pragma once
#include <cstdint>

#include "kernels/dtype.h"

// Every operation; each has an argument struct of this name in kernels/*.h and an implementation in every backend.
// clang-format off
#define SELENE_OPERATIONS(X)                                           \
  X(Matmul) X(ColumnSum)                                               \
  X(ActivationFwd) X(ActivationBwd) X(Dropout)                         \
  X(LayerNormFwd) X(LayerNormBwd)                                      \
  X(SoftmaxFwd) X(SoftmaxBwd) X(CrossEntropyFwd) X(CrossEntropyBwd)    \
  X(AttentionFwd) X(AttentionBwd)                                      \
  X(Positions) X(EmbeddingFwd) X(EmbeddingBwd) X(PixelFwd) X(PixelBwd) \
  X(MeanPoolFwd) X(MeanPoolBwd) X(PaddingMask)                         \
  X(Elementwise) X(CumulativeSum) X(CopyStrided) X(Cast) X(Fill)       \
  X(SumSquares) X(GradientNorm) X(UpdateCheck) X(Adam)
// clang-format on

namespace selene {

enum class Operation : int32_t {
#define X(NAME) NAME,
  SELENE_OPERATIONS(X)
#undef X
      count
};

constexpr const char* name_of(Operation op) {
  constexpr const char* names[] = {
#define X(NAME) #NAME,
      SELENE_OPERATIONS(X)
#undef X
  };
  return names[int(op)];
}

/// What a module says of its device.
struct DeviceInfo {
  char name[128];                         // "NVIDIA H100 80GB HBM3"
  char software[128];                     // versions of driver, run-time library and libraries
  int64_t memory, free;                   // bytes
  int32_t multiprocessors, major, minor;  // compute capability major.minor; 0.0 for a host
};

/// A kind of call that slower kernels took than those meant for it, and how often it was launched or captured.
struct Fallback {
  Operation operation;
  DType dtype;
  int64_t calls;
  char shape[96], reason[160];
};

/// How the matrix library runs a product: the first choice of its heuristic.
struct ProductPlan {
  int32_t found;      // 0: the library has nothing for it, and the other members mean nothing
  int32_t algorithm;  // its number in the library
  int32_t stages, split_k;
  char tile[16];      // "128x256", or the library's number
  double waves;       // blocks over those that the device runs at once
  int64_t workspace;  // bytes
};

enum class StreamOption : int32_t {
  tf32,          // 1: fp32 matrix products may round their operands to TF32
  plain_matmul,  // 1: our own kernel instead of the library's, as a second opinion
  attention      // an AttentionKernels; an error for those with cuDNN where there is none
};
/// Whose attention: `plain` are the own ones without tensor cores, as a second opinion; `cudnn` is an error for a
/// call that it does not take; `automatic` is cuDNN's where it takes the call and both axes are long.
enum class AttentionKernels : int32_t { own, plain, cudnn, automatic };
/// What is reduced is summed; broadcast is from rank 0.
enum class Collective : int32_t { all_reduce, reduce_scatter, all_gather, broadcast };

/// What a module offers. A function that can fail returns null on success, else one line that says what failed.
struct ModuleTable {
  uint64_t abi;      // abi_hash() (kernels/operations.h) of the module's build; anything else is refused
  const char* name;  // "cuda", "simt"
  const char* (*device_info)(DeviceInfo* info);
  const char* (*allocate)(int64_t bytes, void** memory);  // the slab: one per process
  const char* (*release)(void* memory);
  const char* (*stream_create)(void** stream);
  const char* (*stream_destroy)(void* stream);
  const char* (*stream_synchronize)(void* stream);
  const char* (*stream_option)(void* stream, int32_t option, int64_t value);
  /// In stream order, through pinned staging memory: returns when from_host may change.
  const char* (*copy_in)(void* stream, void* to, const void* from_host, int64_t bytes);
  const char* (*copy_out)(void* stream, void* to_host, const void* from, int64_t bytes);  // waits
  /// Bytes of scratch that run() with these arguments wants in their member `workspace`; depends on numbers
  /// alone, no pointer is looked at: a dry run has none.
  const char* (*workspace)(int32_t operation, int32_t dtype, const void* arguments, int64_t size, int64_t* bytes);
  /// Number `index` of the stream's fallbacks, in the order in which they were met first; calls is 0 past the last.
  const char* (*fallback)(void* stream, int64_t index, Fallback* one);
  const char* (*run)(int32_t operation, int32_t dtype, void* stream, const void* arguments, int64_t size);
  /// The plan of a Matmul with these arguments; null in a module without a matrix library.
  const char* (*product_plan)(void* stream, int32_t dtype, const void* arguments, int64_t size, ProductPlan* plan);
  /// From capture_begin to capture_end what run() launches is recorded, not executed.
  const char* (*capture_begin)(void* stream);
  const char* (*capture_end)(void* stream, void** graph);
  const char* (*graph_launch)(void* stream, void* graph);
  const char* (*graph_destroy)(void* graph);
  const char* (*event_create)(void** event);
  const char* (*event_record)(void* event, void* stream);
  const char* (*event_seconds)(void* from, void* to, double* seconds);  // waits for `to`
  const char* (*event_destroy)(void* event);
  /// Communication between processes, one device each; all null in a module built without it. id: 128 bytes.
  const char* (*communicator_id)(void* id);
  const char* (*communicator_create)(const void* id, int32_t rank, int32_t ranks, void** communicator);
  const char* (*communicator_run)(void* communicator, int32_t collective, void* stream, const void* from, void* to,
                                  int64_t count, int32_t dtype);  // count: elements of one rank's part
  const char* (*communicator_destroy)(void* communicator);
};

/// The one symbol of a module: `extern "C" const ModuleTable* selene_module(const char** why)`; null with a reason
/// where the backend can't work on this machine (no driver, no device).
using ModuleEntry = const ModuleTable* (*)(const char** why);
constexpr const char* kModuleEntry = "selene_module";

}  // namespace selene
