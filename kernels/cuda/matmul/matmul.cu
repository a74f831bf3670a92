// The matrix product without a library: 64 x 64 tiles of C, shared-memory panels of depth 16, 4 x 4 fp32 sums a
// thread (blocked as in Goto & van de Geijn 2008). A long K over few tiles is cut into chunks that depend on the
// shape alone; their partial sums are added in ascending order. GELU: the tanh form of Hendrycks & Gimpel 2016.
#include "kernels/matmul.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/matmul/plain.h"
#include "kernels/cuda/pack.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64, kDepth = 16;
constexpr int kStride = kTile + 4;  // of a panel: float4 stays aligned, stores conflict half as much

/// How a batch of products is cut into blocks: n tiles are neighbours, then m tiles, chunks of K, matrices.
struct Cut {
  int64_t tiles_m, tiles_n, chunk, chunks, batch;
  int vector_a, vector_b;  // rows of the operand start at multiples of four elements
};

template <class T>
bool rows_aligned(const T* p, int64_t ld, int64_t outer, int64_t inner) {
  return reinterpret_cast<uintptr_t>(p) % (4 * sizeof(T)) == 0 && (ld | outer | inner) % 4 == 0;
}

template <class T>
Cut make_cut(const Matmul<T>& a) {
  constexpr int64_t few_tiles = 128, wanted_blocks = 256, least_chunk = 512;
  Cut c{ceil_div(a.M, kTile), ceil_div(a.N, kTile), a.K, 1, a.outer * a.inner, 0, 0};
  const int64_t tiles = c.tiles_m * c.tiles_n * c.batch;
  if (tiles > 0 && tiles < few_tiles && a.K >= 2 * least_chunk) {
    const int64_t most = a.K / least_chunk, wanted = ceil_div(wanted_blocks, tiles);
    c.chunk = ceil_div(ceil_div(a.K, wanted < most ? wanted : most), kDepth) * kDepth;
    c.chunks = ceil_div(a.K, c.chunk);
  }
  c.vector_a = rows_aligned(a.a, a.lda, a.outer > 1 ? a.a_outer : 0, a.inner > 1 ? a.a_inner : 0);
  c.vector_b = rows_aligned(a.b, a.ldb, a.outer > 1 ? a.b_outer : 0, a.inner > 1 ? a.b_inner : 0);
  return c;
}

/// One operand as a tile sees it: `lines` rows of A, or columns of B, and `depth` steps of K.
template <class T>
struct Operand {
  const T* p;
  int64_t ld, lines, depth;
  bool depth_contiguous, vector;

  /// This thread's four elements of the panel from step k on; 0 outside.
  __device__ void load(int64_t k, float* v) const {
    const int t = int(threadIdx.x);
    const int64_t line = depth_contiguous ? t / 4 : t % 16 * 4, step = k + (depth_contiguous ? t % 4 * 4 : t / 16);
    const bool inside = line < lines && step < depth;
    const int64_t left = !inside ? 0 : depth_contiguous ? depth - step : lines - line;
    const T* from = p + (inside ? depth_contiguous ? line * ld + step : step * ld + line : 0);
    if (vector && left >= 4) {
      const Pack<T, 4> x = load_pack<4>(from);
      for (int j = 0; j < 4; ++j) v[j] = up(x.v[j]);
    } else {
      for (int j = 0; j < 4; ++j) v[j] = j < left ? up(from[j]) : 0.0f;
    }
  }
  __device__ void store(const float* v, float (*panel)[kStride]) const {
    const int t = int(threadIdx.x);
    if (depth_contiguous) {
      for (int j = 0; j < 4; ++j) panel[t % 4 * 4 + j][t / 4] = v[j];
    } else {
      store_pack(&panel[t / 16][t % 16 * 4], Pack<float, 4>{{v[0], v[1], v[2], v[3]}});
    }
  }
};

__device__ inline void multiply(const float (*x)[kStride], const float (*y)[kStride], float (*sum)[4]) {
  const int row = int(threadIdx.x) / 16 * 4, column = int(threadIdx.x) % 16 * 4;
#pragma unroll
  for (int k = 0; k < kDepth; ++k) {
    const Pack<float, 4> left = load_pack<4>(&x[k][row]), right = load_pack<4>(&y[k][column]);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(left.v[i], right.v[j], sum[i][j]);
  }
}

struct Gelu {
  float y, slope;
};
__device__ inline Gelu gelu_tanh(float x) {  // x/2 (1 + tanh u), u = sqrt(2 / pi) (x + 0.044715 x^3)
  const float k = 0.79788456080286535588f, cubic = 0.044715f;
  const float t = tanhf(k * x * (1.0f + cubic * x * x));
  return {0.5f * x * (1.0f + t), 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * k * (1.0f + 3.0f * cubic * x * x)};
}

/// One sum on its way to C: element (m, n) of the matrix that starts at `offset`.
template <class T>
__device__ void finish(const Matmul<T>& a, int64_t offset, int64_t m, int64_t n, float sum) {
  const int64_t at = offset + m * a.ldc + n;
  if (a.bias != nullptr) sum += up(a.bias[n]);
  if (a.c_is_acc) {
    float* c = static_cast<float*>(a.c) + at;
    *c = a.accumulate ? sum + *c : sum;
    return;
  }
  T* c = static_cast<T*>(a.c) + at;
  if (a.accumulate) sum += up(*c);
  if (a.epilogue == Epilogue::gelu) {
    const T before = down<T>(sum);
    a.aux[m * a.N + n] = before;
    sum = gelu_tanh(up(before)).y;
  } else if (a.epilogue == Epilogue::gelu_gradient) {
    sum *= gelu_tanh(up(a.aux[m * a.N + n])).slope;
  }
  *c = down<T>(sum);
}

/// One tile of C over one chunk of K. Where K is cut the sums go to the workspace, [chunks, batch, M, N].
template <class T>
__global__ __launch_bounds__(kThreads) void matmul_tile(Matmul<T> a, Cut cut) {
  __shared__ __align__(16) float panels[kTile][kStride];  // two stages of A and B; then the tile of C
  static_assert(kTile == 4 * kDepth, "the four panels are as large as the tile");
  const int64_t block = blockIdx.x, chunk = block / (cut.tiles_n * cut.tiles_m) % cut.chunks;
  const int64_t n0 = block % cut.tiles_n * kTile, m0 = block / cut.tiles_n % cut.tiles_m * kTile;
  const int64_t batch = block / (cut.tiles_n * cut.tiles_m * cut.chunks), k0 = chunk * cut.chunk;
  const int64_t outer = batch / a.inner, inner = batch % a.inner, depth = min(cut.chunk, a.K - k0);
  const T* from_a = a.a + outer * a.a_outer + inner * a.a_inner + (a.trans_a ? k0 * a.lda + m0 : m0 * a.lda + k0);
  const T* from_b = a.b + outer * a.b_outer + inner * a.b_inner + (a.trans_b ? n0 * a.ldb + k0 : k0 * a.ldb + n0);
  const Operand<T> x{from_a, a.lda, a.M - m0, depth, a.trans_a == 0, cut.vector_a != 0};
  const Operand<T> y{from_b, a.ldb, a.N - n0, depth, a.trans_b != 0, cut.vector_b != 0};

  float sum[4][4] = {}, next_x[4], next_y[4];
  x.load(0, next_x), y.load(0, next_y);
  for (int64_t k = 0, stage = 0; k < depth; k += kDepth, stage ^= 2) {
    float(*xs)[kStride] = panels + stage * kDepth, (*ys)[kStride] = xs + kDepth;
    x.store(next_x, xs), y.store(next_y, ys);
    __syncthreads();  // the only one: a stage is written again after the barrier of the other
    x.load(k + kDepth, next_x), y.load(k + kDepth, next_y);
    multiply(xs, ys, sum);
  }
  __syncthreads();
  const int t = int(threadIdx.x);
  for (int i = 0; i < 4; ++i)
    store_pack(&panels[t / 16 * 4 + i][t % 16 * 4], Pack<float, 4>{{sum[i][0], sum[i][1], sum[i][2], sum[i][3]}});
  __syncthreads();
  const int64_t n = n0 + t % kTile;
  for (int row = t / kTile; row < kTile; row += kThreads / kTile) {
    const int64_t m = m0 + row;
    const float value = panels[row][t % kTile];
    if (m >= a.M || n >= a.N) continue;
    if (cut.chunks > 1) a.workspace[((chunk * cut.batch + batch) * a.M + m) * a.N + n] = value;
    else finish(a, outer * a.c_outer + inner * a.c_inner, m, n, value);
  }
}

/// C from the partial sums of the chunks: one thread an element.
template <class T>
__global__ __launch_bounds__(kThreads) void matmul_combine(Matmul<T> a, Cut cut) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x, count = cut.batch * a.M * a.N;
  if (i >= count) return;
  float sum = a.workspace[i];
  for (int64_t chunk = 1; chunk < cut.chunks; ++chunk) sum += a.workspace[chunk * count + i];
  const int64_t batch = i / (a.M * a.N), outer = batch / a.inner, inner = batch % a.inner;
  finish(a, outer * a.c_outer + inner * a.c_inner, i / a.N % a.M, i % a.N, sum);
}

/// a_sum is the sum over A's rows as they lie in memory.
template <class T>
ColumnSum<T> rows_of_a(const Matmul<T>& a) {
  return {a.a, a.a_sum, a.K, a.M, a.workspace};
}

}  // namespace

template <class T>
void plain_matmul(Stream& s, const Matmul<T>& a) {
  const Cut cut = make_cut(a);
  const int64_t tiles = cut.tiles_m * cut.tiles_n * cut.batch;
  launch(s, matmul_tile<T>, tiles * cut.chunks, kThreads, 0, a, cut);
  if (cut.chunks > 1) launch(s, matmul_combine<T>, ceil_div(cut.batch * a.M * a.N, kThreads), kThreads, 0, a, cut);
  // The partial sums are spent: the workspace is free again.
  if (a.sums_a) run(s, rows_of_a(a));
}

template <class T>
int64_t plain_matmul_workspace(const Matmul<T>& a) {
  const Cut cut = make_cut(a);
  const int64_t partial = cut.chunks > 1 ? cut.chunks * cut.batch * a.M * a.N * int64_t(sizeof(float)) : 0;
  const int64_t columns = a.sums_a ? workspace(rows_of_a(a)) : 0;
  return partial > columns ? partial : columns;
}

#define INSTANTIATE_PLAIN_MATMUL(T)                      \
  template void plain_matmul(Stream&, const Matmul<T>&); \
  template int64_t plain_matmul_workspace(const Matmul<T>&);
INSTANTIATE_PLAIN_MATMUL(float)
INSTANTIATE_PLAIN_MATMUL(f16)
INSTANTIATE_PLAIN_MATMUL(bf16)

}  // namespace selene::cuda
