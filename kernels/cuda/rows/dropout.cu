// Dropout with the residual branch and the zeroed padding rows, one pass (Srivastava et al. 2014). A thread
// takes kDeep times eight elements: all its reads are under way before the first result is needed.
#include "kernels/dropout.h"

#include "kernels/cuda/rows/dropout_row.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256, kDeep = 2, kTile = kThreads * kDeep * 8;

/// Factor 0 for what lies in a zeroed row: n elements from i on. Fast: all of one row.
template <bool Fast>
__device__ inline void zero_rows(const uint8_t* zero_row, int64_t i, int64_t C, int n, Eight& factor) {
  const uint64_t row = uint64_t(i) / uint64_t(C);
  const bool zero = n > 0 && zero_row[row] != 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const bool here = Fast ? zero : j < n && zero_row[uint64_t(i + j) / uint64_t(C)] != 0;
    factor.v[j] = here ? 0.0f : factor.v[j];
  }
}

template <class T, bool Fast>
__global__ __launch_bounds__(kThreads) void dropout_eights(Dropout<T> a) {  // grid ceil(R * C / kTile)
  const int64_t total = a.R * a.C, first = blockIdx.x * int64_t(kTile) + int(threadIdx.x) * 8;
  Eight x[kDeep], residual[kDeep] = {};
#pragma unroll
  for (int k = 0; k < kDeep; ++k) {
    const int64_t i = first + k * kThreads * 8;
    x[k] = load_eight<Fast>(a.x + i, eight_or_rest(total, i));
    if (a.residual != nullptr) residual[k] = load_eight<Fast>(a.residual + i, eight_or_rest(total, i));
  }
#pragma unroll
  for (int k = 0; k < kDeep; ++k) {
    const int64_t i = first + k * kThreads * 8;
    const int n = eight_or_rest(total, i);
    Eight factor = dropout_factors_at<Fast>(a.drop, i, a.rows * a.C);
    if (a.zero_row != nullptr) zero_rows<Fast>(a.zero_row, i, a.C, n, factor);
#pragma unroll
    for (int j = 0; j < 8; ++j) x[k].v[j] = x[k].v[j] * factor.v[j] + residual[k].v[j];
    store_eight<Fast>(a.y + i, x[k], n);
  }
}

}  // namespace

template <class T>
void run(Stream& s, const Dropout<T>& a) {
  const int64_t total = a.R * a.C;
  const bool aligned = aligned16(a.x) && aligned16(a.residual) && aligned16(a.y) && total % 8 == 0;
  const bool one_block = !dropout_on(a.drop) || a.rows * a.C % 8 == 0;
  const bool one_row = a.zero_row == nullptr || a.C % 8 == 0;
  const auto kernel = aligned && one_block && one_row ? dropout_eights<T, true> : dropout_eights<T, false>;
  launch(s, kernel, ceil_div(total, kTile), kThreads, 0, a);
}

INSTANTIATE_DEVICE(Dropout)

}  // namespace selene::cuda
