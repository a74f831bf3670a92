#include "kernels/cpu/columns.h"

#include "kernels/cpu/parallel.h"

namespace selene::cpu {
namespace {

constexpr int64_t kWidth = 64;  // columns of one task

template <class A>
SELENE_CLONES void add_strip(const A* partial, int64_t stride, int64_t blocks, int64_t columns, A* y) {
  A sum[kWidth] = {};
  for (int64_t block = 0; block < blocks; ++block)
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) sum[c] += partial[block * stride + c];
  for (int64_t c = 0; c < columns; ++c) y[c] += sum[c];
}

}  // namespace

template <class A>
void add_blocks(const A* partial, int64_t stride, int64_t blocks, int64_t columns, A* y) {
  parallel_ranges(columns, kWidth, [&](int64_t begin, int64_t end) {
    add_strip(partial + begin, stride, blocks, end - begin, y + begin);
  });
}
template void add_blocks(const float*, int64_t, int64_t, int64_t, float*);
template void add_blocks(const double*, int64_t, int64_t, int64_t, double*);

}  // namespace selene::cpu
