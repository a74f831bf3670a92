// Every kernel family, for code that must see the whole contract (a backend module's entry, tests), and the hash of
// that contract. C++17; also read by device code.
#pragma once
#include <initializer_list>

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/matmul.h"
#include "kernels/optimizer.h"
#include "kernels/softmax.h"

namespace selene {

/// h with size and alignment of each type folded in, FNV-1a.
template <class... Types>
constexpr uint64_t hash_layout(uint64_t h) {
  for (const uint64_t x : {sizeof(Types)..., alignof(Types)...}) h = (h ^ x) * 0x100000001b3u;
  return h;
}

/// What a program and a module compare before they work together: the operations' names and order, the layout of each
/// argument struct for every element type, and of what else crosses. Two fields of one type that change places are
/// not noticed, nor is an enumerator.
constexpr uint64_t abi_hash() {
  uint64_t h = 0xcbf29ce484222325u;
#define X(NAME)                                                     \
  for (const char c : #NAME) h = (h ^ uint8_t(c)) * 0x100000001b3u; \
  h = hash_layout<NAME<float>, NAME<f16>, NAME<bf16>, NAME<double>>(h);
  SELENE_OPERATIONS(X)
#undef X
  return hash_layout<ModuleTable, DeviceInfo, Fallback, ProductPlan, StepScalars, UpdateState, LossSums>(h);
}

}  // namespace selene
