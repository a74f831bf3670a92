// Dropout with the residual branch and the zeroed padding rows, one pass (Srivastava et al. 2014). A thread
// takes kDeep times eight elements: all its reads are under way before the first result is needed.
#include "kernels/dropout.h"

#include "kernels/cuda/rows/dropout_row.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256, kDeep = 2, kTile = kThreads * kDeep * 8;

/// Factor 0 for what lies in a zeroed row: n elements of eight e. Fast: all of one row, which `rows` finds.
template <bool Fast>
__device__ inline void zero_rows(const uint8_t* zero_row, EightIndex<Fast> e, const Divisor& rows, int64_t C, int n,
                                 Eight& factor) {
  if constexpr (Fast) {
    if (n > 0 && zero_row[rows(e)] != 0) factor = {};
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j)
      if (j < n && zero_row[uint64_t(e * 8 + j) / uint64_t(C)] != 0) factor.v[j] = 0;
  }
}

/// rows: eights of a row.
template <class T, bool Fast>
__global__ __launch_bounds__(kThreads) void dropout_eights(Dropout<T> a, DropoutEights drop, Divisor rows) {
  const EightIndex<Fast> first = blockIdx.x * EightIndex<Fast>(kThreads * kDeep) + threadIdx.x;
  const int64_t total = a.R * a.C;
  Eight x[kDeep], residual[kDeep] = {};
#pragma unroll
  for (int k = 0; k < kDeep; ++k) {
    const EightIndex<Fast> e = first + k * kThreads;
    const int n = elements_of<Fast>(total, e);
    x[k] = load_eight<Fast>(a.x + int64_t(e) * 8, n);
    if (a.residual != nullptr) residual[k] = load_eight<Fast>(a.residual + int64_t(e) * 8, n);
  }
#pragma unroll
  for (int k = 0; k < kDeep; ++k) {
    const EightIndex<Fast> e = first + k * kThreads;
    const int n = elements_of<Fast>(total, e);
    Eight factor = dropout_factors<Fast>(a.drop, drop, e, a.rows * a.C);
    if (a.zero_row != nullptr) zero_rows<Fast>(a.zero_row, e, rows, a.C, n, factor);
#pragma unroll
    for (int j = 0; j < 8; ++j) x[k].v[j] = x[k].v[j] * factor.v[j] + residual[k].v[j];
    store_eight<Fast>(a.y + int64_t(e) * 8, x[k], n);
  }
}

}  // namespace

template <class T>
void run(Stream& s, const Dropout<T>& a) {
  const bool one_row = a.zero_row == nullptr || a.C % 8 == 0;
  const bool fast = one_row && whole_eights(a, aligned16(a.x) && aligned16(a.residual) && aligned16(a.y));
  launch(s, fast ? dropout_eights<T, true> : dropout_eights<T, false>, ceil_div(a.R * a.C, kTile), kThreads, 0, a,
         DropoutEights(a.drop, a.rows * a.C / 8), Divisor(a.zero_row && fast ? a.C / 8 : 1));
}

INSTANTIATE_DEVICE(Dropout)

}  // namespace selene::cuda
