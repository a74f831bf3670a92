// Gradient of a table without atomics: rows are sorted by id (embedding_sort.cuh), the sorted list is cut into
// chunks of fixed length, and each chunk adds up the neighbours of one id in ascending row. An id that ends within
// its chunk is done; the pieces of one that goes on are added in order by a second pass, so that a frequent id
// keeps many blocks busy and the order of addition depends on the ids alone.
#include "kernels/embedding.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/embedding_sort.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kChunk = 64;    // sorted rows of one piece
constexpr int kMinLanesLog2 = 3;  // of a chunk, so that a block has 16 chunks at most
constexpr int kBlockRows = (kThreads >> kMinLanesLog2) * int(kChunk);
constexpr int kTile = 128;  // columns of a block of the second pass

/// Parts of the workspace.
struct Pieces {
  int32_t *rows_a, *rows_b, *counts, *totals;  // [R], [R], [256, sort chunks], [256]
  int32_t *first, *last;                       // [chunks]: key of a chunk's first and last row
  float* sums;  // [chunks, 2, D]: of the id that comes from the chunk before, of the one that starts and goes on
  const int32_t* rows;  // [R]: sorted; rows_a or rows_b
  int64_t chunks, bytes;
};
template <class T>
Pieces divide(const EmbeddingBwd<T>& a) {
  Pieces p;
  const int64_t sort = sort_chunks(a.R);
  p.chunks = ceil_div(a.R, kChunk);
  int64_t used = 0;
  const auto take = [&](int64_t n) {
    const int64_t begin = used;
    used += ceil_div(n, 4) * 4;  // each part starts at a multiple of 16 bytes
    return begin * 4 + reinterpret_cast<intptr_t>(a.workspace);
  };
  p.rows_a = reinterpret_cast<int32_t*>(take(a.R)), p.rows_b = reinterpret_cast<int32_t*>(take(a.R));
  p.counts = reinterpret_cast<int32_t*>(take(kSortThreads * sort));
  p.totals = reinterpret_cast<int32_t*>(take(kSortThreads));
  p.first = reinterpret_cast<int32_t*>(take(p.chunks)), p.last = reinterpret_cast<int32_t*>(take(p.chunks));
  p.sums = reinterpret_cast<float*>(take(p.chunks * 2 * a.D));
  p.rows = nullptr, p.bytes = used * 4;
  return p;
}

/// Grid: 2048 ids. A device can't throw: an id outside the table makes the gradient of row 0 NaN, and the run
/// stops with "not finite" as for any other NaN. Blocks that meet one write the same.
template <class T>
__global__ void check_ids(EmbeddingBwd<T> a) {
  __shared__ int32_t buf[kSortWarps];
  const int64_t begin = blockIdx.x * kSortRows, end = min(begin + kSortRows, a.R);
  int32_t bad = 0, total;
  for (int64_t i = begin + threadIdx.x; i < end; i += kSortThreads) bad += a.ids[i] < 0 || a.ids[i] >= a.V;
  block_running_sum<kSortThreads>(bad, buf, &total);
  if (total == 0) return;
  for (int64_t d = threadIdx.x; d < a.D; d += kSortThreads) a.dtable[d] = bits_float(0x7fc00000u);
}

template <int N>
__device__ inline void add_scaled(float* to, float scale, const float* sum) {
  Pack<float, N> p = load_pack<N>(to);
  for (int i = 0; i < N; ++i) p.v[i] += scale * sum[i];
  store_pack(to, p);
}
template <int N>
__device__ inline void keep(float* to, const float* sum) {
  Pack<float, N> p;
  for (int i = 0; i < N; ++i) p.v[i] = sum[i];
  store_pack(to, p);
}

/// The n sorted rows of one chunk; keys and rows are the block's own copies, keys[-1] and keys[n] exist.
/// Four rows are in flight while their predecessors are added.
template <class T, int N>
__device__ inline void sum_chunk(const EmbeddingBwd<T>& a, float* pieces, const int32_t* keys, const int32_t* rows,
                                 int n, int64_t col) {  // pieces: [2, D] of the chunk
  float sum[N] = {};
  bool goes_on = keys[-1] == keys[0];  // the id of the chunk before
  for (int begin = 0; begin < n; begin += 4) {
    Pack<T, N> dy[4] = {};
#pragma unroll
    for (int u = 0; u < 4; ++u)
      if (begin + u < n && keys[begin + u] < a.V) dy[u] = load_pack<N>(a.dy + rows[begin + u] * a.D + col);
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      const int j = begin + u;
      if (j >= n || keys[j] >= a.V) return;
      for (int i = 0; i < N; ++i) sum[i] += up(dy[u].v[i]);
      if (j + 1 < n && keys[j + 1] == keys[j]) continue;
      if (goes_on) keep<N>(pieces + col, sum);
      else if (keys[j + 1] == keys[j]) keep<N>(pieces + a.D + col, sum);
      else add_scaled<N>(a.dtable + keys[j] * a.D + col, a.scale, sum);
      goes_on = false;
      for (int i = 0; i < N; ++i) sum[i] = 0;
    }
  }
}

/// Grid: kThreads >> log2 chunks x tile of N << log2 columns. A group of lanes sums one chunk.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) sum_chunks(EmbeddingBwd<T> a, Pieces p, int64_t tiles, int log2) {
  __shared__ int32_t keys[kBlockRows + 2], rows[kBlockRows];
  const Lanes at = split_block<kThreads>(log2);
  const int64_t tile = blockIdx.x % tiles, chunk = blockIdx.x / tiles * at.groups;
  for (int i = int(threadIdx.x); i < at.groups * kChunk + 2; i += kThreads) {
    const int64_t e = chunk * kChunk - 1 + i;
    const bool exists = e >= 0 && e < a.R;
    const int32_t row = exists ? p.rows[e] : 0;
    keys[i] = exists ? sort_key(a.ids[row], a.pad, a.V) : -1;
    if (i > 0 && i <= at.groups * kChunk) rows[i - 1] = row;
  }
  __syncthreads();
  const int64_t mine = chunk + at.group, col = (tile * at.lanes + at.lane) * N;
  if (mine >= p.chunks) return;
  const int n = int(min(kChunk, a.R - mine * kChunk)), begin = at.group * int(kChunk);
  if (tile == 0 && at.lane == 0) p.first[mine] = keys[begin + 1], p.last[mine] = keys[begin + n];
  if (col < a.D) sum_chunk<T, N>(a, p.sums + mine * 2 * a.D, keys + begin + 1, rows + begin, n, col);
}

/// The last chunk that starts with the key, after chunk c, which ends with it: keys ascend.
__device__ inline int64_t last_chunk(const Pieces& p, int64_t c, int32_t key) {
  int64_t low = c, high = p.chunks - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (p.first[middle] <= key) low = middle;
    else high = middle - 1;
  }
  return low;
}

/// Grid: chunk x tile of 128 columns. The block of the chunk where an id starts adds its pieces in all later ones.
template <class T>
__global__ void __launch_bounds__(kSumThreads) add_pieces(EmbeddingBwd<T> a, Pieces p, int64_t tiles) {
  __shared__ float buf[kSumThreads * (kTile / 32)];
  const int64_t c = blockIdx.x / tiles, first = blockIdx.x % tiles * kTile;
  const int32_t key = p.last[c];
  const bool starts_here = p.first[c] != key || c == 0 || p.last[c - 1] != key;
  if (key >= a.V || !starts_here || c + 1 == p.chunks || p.first[c + 1] != key) return;
  const int64_t later = last_chunk(p, c, key) - c, stride = 2 * a.D;
  const float* pieces = p.sums + c * stride;
  const float sum = sum_rows<kTile / 32>(pieces + stride, later, stride, first, a.D, buf);
  const int64_t col = first + threadIdx.x;
  if (threadIdx.x < kTile && col < a.D) a.dtable[key * a.D + col] += a.scale * (pieces[a.D + col] + sum);
}

template <class T, int N>
void launch_sums(Stream& s, const EmbeddingBwd<T>& a, const Pieces& p) {
  int log2 = lanes_log2(ceil_div(a.D, N));
  if (log2 < kMinLanesLog2) log2 = kMinLanesLog2;
  const int64_t tiles = ceil_div(a.D, N << log2);
  launch(s, sum_chunks<T, N>, ceil_div(p.chunks, kThreads >> log2) * tiles, kThreads, 0, a, p, tiles, log2);
}

}  // namespace

template <class T>
void run(Stream& s, const EmbeddingBwd<T>& a) {
  if (a.R == 0 || a.D == 0) return;
  Pieces p = divide(a);
  SortPass sort = {a.ids, nullptr, nullptr, p.counts, p.totals, a.R, a.V, sort_chunks(a.R), a.pad, 0};
  launch(s, check_ids<T>, sort.chunks, kSortThreads, 0, a);
  p.rows = sort_rows(s, sort, p.rows_a, p.rows_b);
  if (whole_packs<T>(a.D, {a.dy, a.dtable})) launch_sums<T, kPack<T>>(s, a, p);
  else launch_sums<T, 1>(s, a, p);
  const int64_t tiles = ceil_div(a.D, kTile);
  launch(s, add_pieces<T>, p.chunks * tiles, kSumThreads, 0, a, p, tiles);
}
template <class T>
int64_t workspace(const EmbeddingBwd<T>& a) {
  EmbeddingBwd<T> nowhere = a;
  nowhere.workspace = nullptr;
  return a.R == 0 || a.D == 0 ? 0 : divide(nowhere).bytes;
}

INSTANTIATE_DEVICE(EmbeddingBwd)
INSTANTIATE_DEVICE_WORKSPACE(EmbeddingBwd)

}  // namespace selene::cuda
