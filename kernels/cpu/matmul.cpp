// Matmul and ColumnSum on the CPU: how a product is cut into pieces for the threads. Every cut depends on the shape
// alone.
#include "kernels/matmul.h"

#include <algorithm>

#include "kernels/activation.h"
#include "kernels/cpu/columns.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"

namespace selene {
namespace {

struct Plan {
  int64_t tile_m, tile_n, tiles_m, tiles_n;  // of one matrix of the batch
  int64_t chunk, chunks;                     // of K
  int64_t per_task;  // tiles x chunks that one task takes, so that tiny products are not launched singly
};

constexpr int64_t kWantedTasks = 32;  // keeps the threads of a small machine evenly busy
constexpr int64_t kLeastWork =
    2 << 20;  // floating-point operations of a task, about 20 us: below it, cutting costs more

// Halves an extent, to a multiple of 16 so that no vector is cut.
int64_t half(int64_t n) { return ceil_div(ceil_div(n, 2), 16) * 16; }

// A tile of 256 x 256 has the full speed everywhere; from there a product with few tiles and a long K is cut along K
// (which reads no operand twice), one with a short K into smaller tiles.
Plan make_plan(int64_t M, int64_t N, int64_t K, int64_t batch) {
  Plan p{std::min<int64_t>(M, 512), std::min<int64_t>(N, 256), 0, 0, K, 1, 1};
  int64_t tiles = 0;
  const auto count = [&] {
    p.tiles_m = ceil_div(M, p.tile_m), p.tiles_n = ceil_div(N, p.tile_n);
    tiles = p.tiles_m * p.tiles_n * batch;
  };
  const auto work = [&] { return 2 * p.tile_m * p.tile_n * std::max<int64_t>(K, 1); };
  const auto shrink = [&](int64_t& extent, int64_t least) {
    while (tiles < kWantedTasks && half(extent) >= least && half(extent) < extent && work() >= 2 * kLeastWork)
      extent = half(extent), count();
  };
  count();
  shrink(p.tile_m, 256);
  if (tiles < 8 && K >= 4096) {
    p.chunk = ceil_div(K, std::min(ceil_div(16, tiles), K / 1024));
    p.chunks = ceil_div(K, p.chunk);
    return p;
  }
  shrink(p.tile_m, 128);
  shrink(p.tile_n, 128);
  shrink(p.tile_n, 64);
  shrink(p.tile_m, 32);
  p.per_task = std::clamp<int64_t>(kLeastWork / work(), 1, std::max<int64_t>(1, tiles / kWantedTasks));
  return p;
}

// C[n] = partial[0][n] + partial[1][n] + ... + bias[n] + C[n], partials `stride` apart.
template <class T, class Out>
SELENE_CLONES void add_partials(const Acc<T>* partial, int64_t stride, int64_t count, int64_t N, const T* bias,
                                bool accumulate, Out* c) {
  constexpr int64_t strip = 64;
  Acc<T> sum[strip];
  for (int64_t n = 0; n < N; n += strip) {
    const int64_t width = std::min(strip, N - n);
    for (int64_t j = 0; j < width; ++j) sum[j] = partial[n + j];
    for (int64_t i = 1; i < count; ++i)
      for (int64_t j = 0; j < width; ++j) sum[j] += partial[i * stride + n + j];
    if (bias)
      for (int64_t j = 0; j < width; ++j) sum[j] += up(bias[n + j]);
    if (accumulate)
      for (int64_t j = 0; j < width; ++j) sum[j] += up(c[n + j]);
    for (int64_t j = 0; j < width; ++j) c[n + j] = down<Out>(sum[j]);
  }
}

template <class T>
int64_t c_offset(const Matmul<T>& a, int64_t batch) {
  return batch / a.inner * a.c_outer + batch % a.inner * a.c_inner;
}

// The i-th tile; where K is cut, its chunk's partial sums go to the workspace, [chunks, batch, M, N].
template <class T>
void run_tile(const Matmul<T>& a, const Plan& p, int64_t i) {
  const int64_t n = i % p.tiles_n * p.tile_n, m = i / p.tiles_n % p.tiles_m * p.tile_m;
  const int64_t matrix = i / (p.tiles_n * p.tiles_m), batches = a.outer * a.inner;
  const int64_t batch = matrix % batches, k = matrix / batches * p.chunk;
  const int64_t outer = batch / a.inner, inner = batch % a.inner;
  const T* x = a.a + outer * a.a_outer + inner * a.a_inner + (a.trans_a ? k * a.lda + m : m * a.lda + k);
  const T* y = a.b + outer * a.b_outer + inner * a.b_inner + (a.trans_b ? n * a.ldb + k : k * a.ldb + n);
  cpu::Gemm g;
  g.M = std::min(p.tile_m, a.M - m), g.N = std::min(p.tile_n, a.N - n), g.K = std::min(p.chunk, a.K - k);
  g.lda = a.lda, g.ldb = a.ldb, g.ldc = a.ldc;
  g.trans_a = a.trans_a, g.trans_b = a.trans_b, g.ab = dtype_of<T>;
  if (p.chunks > 1) {
    g.ldc = a.N, g.c = dtype_of<Acc<T>>;
    return cpu::gemm(g, x, y, a.workspace + (matrix * a.M + m) * a.N + n);
  }
  g.accumulate = a.accumulate, g.c = a.c_is_acc ? dtype_of<Acc<T>> : dtype_of<T>;
  const int64_t offset = c_offset(a, batch) + m * a.ldc + n;
  cpu::gemm(g, x, y, static_cast<char*>(a.c) + offset * size_of(g.c), a.bias ? a.bias + n : nullptr);
}

template <class T, class Out>
void combine_chunks(const Matmul<T>& a, const Plan& p) {
  const int64_t rows = a.outer * a.inner * a.M;
  cpu::parallel_ranges(rows, std::max<int64_t>(1, 16384 / a.N), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      Out* c = static_cast<Out*>(a.c) + c_offset(a, r / a.M) + r % a.M * a.ldc;
      add_partials<T, Out>(a.workspace + r * a.N, rows * a.N, p.chunks, a.N, a.bias, a.accumulate, c);
    }
  });
}

constexpr int64_t kBlockRows = 128, kStripColumns = 2048;  // of one piece of a column sum

template <class T>
SELENE_CLONES void sum_block(const T* x, int64_t stride, int64_t rows, int64_t columns, Acc<T>* sum) {
  std::fill(sum, sum + columns, Acc<T>(0));
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const T *x0 = x + r * stride, *x1 = x0 + stride, *x2 = x1 + stride, *x3 = x2 + stride;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) sum[c] += (up(x0[c]) + up(x1[c])) + (up(x2[c]) + up(x3[c]));
  }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) sum[c] += up(x[r * stride + c]);
}

// What follows a product, while it is still in the last cache.
template <class T>
void finish(Stream& s, const Matmul<T>& a) {
  T* c = static_cast<T*>(a.c);
  if (a.epilogue == Epilogue::gelu)
    cpu::run(s, ActivationFwd<T>{a.aux, c, a.M, a.N, a.M, Activation::gelu_tanh, 0, {}});
  else cpu::run(s, ActivationBwd<T>{a.aux, c, c, nullptr, a.M, a.N, a.M, Activation::gelu_tanh, 0, {}});
}

// The column sums of A come after the product and use the workspace anew.
template <class T>
ColumnSum<T> a_sums(const Matmul<T>& a) {
  return {a.a, a.a_sum, a.K, a.M, a.workspace};
}

template <class T>
int64_t product_bytes(const Matmul<T>& a) {
  const int64_t batch = a.outer * a.inner;
  if (a.M == 0 || a.N == 0 || batch == 0) return 0;
  const int64_t chunks = make_plan(a.M, a.N, a.K, batch).chunks;
  return chunks > 1 ? chunks * batch * a.M * a.N * int64_t(sizeof(Acc<T>)) : 0;
}

template <class T>
void multiply(const Matmul<T>& a) {
  const int64_t batch = a.outer * a.inner;
  if (a.M == 0 || a.N == 0 || batch == 0) return;
  const Plan p = make_plan(a.M, a.N, a.K, batch);
  cpu::parallel_ranges(p.tiles_m * p.tiles_n * batch * p.chunks, p.per_task, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) run_tile(a, p, i);
  });
  if (p.chunks == 1) return;
  if (a.c_is_acc) combine_chunks<T, Acc<T>>(a, p);
  else combine_chunks<T, T>(a, p);
}

}  // namespace

template <class T>
int64_t cpu::workspace(const Matmul<T>& a) {
  return std::max(product_bytes(a), a.sums_a ? workspace(a_sums(a)) : 0);
}

template <class T>
void cpu::run(Stream& s, const Matmul<T>& a) {
  Matmul<T> product = a;
  if (a.epilogue == Epilogue::gelu) product.c = a.aux, product.ldc = a.N;
  multiply(product);
  if (a.epilogue != Epilogue::none) finish(s, a);
  if (a.sums_a) run(s, a_sums(a));
}

template <class T>
int64_t cpu::workspace(const ColumnSum<T>& a) {
  return ceil_div(a.R, kBlockRows) * a.C * int64_t(sizeof(Acc<T>));
}

template <class T>
void cpu::run(Stream&, const ColumnSum<T>& a) {
  const int64_t blocks = ceil_div(a.R, kBlockRows), strips = ceil_div(a.C, kStripColumns);
  if (blocks == 0 || strips == 0) return;
  parallel_for(blocks * strips, [&](int64_t i) {
    const int64_t r = i / strips * kBlockRows, c = i % strips * kStripColumns;
    sum_block(a.x + r * a.C + c, a.C, std::min(kBlockRows, a.R - r), std::min(kStripColumns, a.C - c),
              a.workspace + i / strips * a.C + c);
  });
  add_blocks(a.workspace, a.C, blocks, a.C, a.y);
}

INSTANTIATE_CPU(Matmul)
INSTANTIATE_CPU(ColumnSum)
INSTANTIATE_CPU_WORKSPACE(Matmul)
INSTANTIATE_CPU_WORKSPACE(ColumnSum)

}  // namespace selene
