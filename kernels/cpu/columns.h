// The second stage of a sum over rows: what blocks of rows left is added in block order, so that the sum has the same
// bits with any number of threads.
#pragma once
#include <cstdint>

namespace selene::cpu {

/// y[c] += partial[c] + partial[stride + c] + ..., over `blocks` rows, for c < columns, on all threads. A: float,
/// double.
template <class A>
void add_blocks(const A* partial, int64_t stride, int64_t blocks, int64_t columns, A* y);

}  // namespace selene::cpu
