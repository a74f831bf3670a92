// Pieces of a length: how many cover it, and how far they reach. C++17; also read by device code.
#pragma once
#include "kernels/dtype.h"

namespace selene {

SELENE_HD constexpr int64_t ceil_div(int64_t n, int64_t step) { return (n + step - 1) / step; }
SELENE_HD constexpr int64_t round_up(int64_t n, int64_t step) { return ceil_div(n, step) * step; }

}  // namespace selene
