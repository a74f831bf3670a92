// What a launch must cost at least, counted from its arguments: the bytes that have to move between memory and chip,
// each operand once, and the floating-point operations of its products.
#pragma once
#include <vector>

#include "kernels/module_abi.h"

namespace selene::train {

struct Cost {
  double bytes = 0, flops = 0;
  Cost& operator+=(const Cost& other) { return bytes += other.bytes, flops += other.flops, *this; }
};

/// What a launch reads or writes: from this address on so many bytes. What is added to counts twice.
struct Operand {
  const void* at;
  double bytes;
};

/// Of one launch, from its argument struct (kernels/*.h). Parameters of norms, biases, masks and lengths don't count,
/// nor what is not there.
std::vector<Operand> operands_of(Operation operation, DType dtype, const void* arguments);
/// Their bytes, and operations: products count two per multiplication; attention its two products forward and four
/// backward (the scores that are computed again don't count). Everything else is memory.
Cost cost_of(Operation operation, DType dtype, const void* arguments);

}  // namespace selene::train
