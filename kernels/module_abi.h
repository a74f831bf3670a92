// What the program and a backend module (libselene_cuda.so, libselene_simt.so) agree on: the list of operations and one
// table of C functions each way. No exception crosses: functions return null or a message that lives until the next call of
// the same thread. C++17; also read by device code.
#pragma once
#include <cstdint>

#include "kernels/dtype.h"

// Every operation; each has an argument struct of this name in kernels/*.h and an implementation in every backend.
#define SELENE_OPERATIONS(X)                                                                                            \
  X(Matmul) X(ColumnSum)                                                                                                \
  X(ActivationFwd) X(ActivationBwd) X(Dropout)                                                                          \
  X(LayerNormFwd) X(LayerNormBwd)                                                                                       \
  X(SoftmaxFwd) X(SoftmaxBwd) X(CrossEntropyFwd) X(CrossEntropyBwd)                                                     \
  X(AttentionFwd) X(AttentionBwd)                                                                                       \
  X(Positions) X(EmbeddingFwd) X(EmbeddingBwd) X(PixelFwd) X(PixelBwd)                                                  \
  X(MeanPoolFwd) X(MeanPoolBwd) X(PaddingMask)                                                                          \
  X(Elementwise) X(CumulativeSum) X(CopyStrided) X(Cast) X(Fill)                                                        \
  X(SumSquares) X(GradientNorm) X(Adam)

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

/// Changes with the list of operations (their names and order) and with kAbiVersion, which is raised by hand when an
/// argument struct changes. FNV-1a.
constexpr uint32_t kAbiVersion = 1;
constexpr uint64_t abi_hash() {
  uint64_t h = 0xcbf29ce484222325u ^ kAbiVersion;
  for (int op = 0; op < int(Operation::count); ++op)
    for (const char* c = name_of(Operation(op)); ; ++c) {
      h = (h ^ uint8_t(*c)) * 0x100000001b3u;
      if (!*c) break;
    }
  return h;
}

/// What a module offers. A function that can fail returns null on success, else one line that says what failed.
struct ModuleTable {
  uint64_t abi;        // abi_hash() of the module's build; anything else is refused
  const char* name;    // "cuda", "simt"
  const char* (*describe)(char* text, int64_t size);               // the device in words
  const char* (*allocate)(int64_t bytes, void** memory);           // the slab: one per process
  const char* (*release)(void* memory);
  const char* (*stream_create)(void** stream);
  const char* (*stream_destroy)(void* stream);
  const char* (*stream_synchronize)(void* stream);
  const char* (*copy_in)(void* stream, void* to, const void* from_host, int64_t bytes);
  const char* (*copy_out)(void* stream, void* to_host, const void* from, int64_t bytes);
  const char* (*run)(int32_t operation, int32_t dtype, void* stream, const void* arguments, int64_t size);
};

/// The one symbol of a module: `extern "C" const ModuleTable* selene_module(const char** why)`; null with a reason where
/// the backend can't work on this machine (no driver, no device).
using ModuleEntry = const ModuleTable* (*)(const char** why);
constexpr const char* kModuleEntry = "selene_module";

}  // namespace selene
