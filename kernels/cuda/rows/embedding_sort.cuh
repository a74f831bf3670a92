// Rows in the order of their ids, equal ids in ascending row: a stable radix sort from the lowest digit up, as in
// Merrill and Grimshaw 2011, "High Performance and Scalable Radix Sorting", section 3, with 8-bit digits. Only
// row numbers move; an id is looked up again when it is needed.
#pragma once
#include "kernels/cuda/rows/rows.cuh"

namespace selene::cuda {

constexpr int kSortThreads = 256;  // as many as a digit has values
constexpr int kSortItems = 8;      // rows of one thread
constexpr int kDigitBits = 8;
constexpr int kSortWarps = kSortThreads / 32;
constexpr int64_t kSortRows = kSortThreads * kSortItems;

struct SortPass {
  const int32_t *ids, *from;  // [R], [R]: the order so far, null: 0, 1, ...
  int32_t* to;                // [R]: the order after this digit
  int32_t *counts, *totals;   // [256, chunks], [256]
  int64_t R, V, chunks;       // chunks of kSortRows rows
  int32_t pad;
  int shift;  // lowest bit of the digit
};

/// Where the id sorts: padding and ids outside the table after all others, as V.
__device__ inline int32_t sort_key(int32_t id, int32_t pad, int64_t V) {
  return id == pad || id < 0 || id >= V ? int32_t(V) : id;
}
__device__ inline int32_t sort_row(const SortPass& p, int64_t i) {
  return p.from != nullptr ? p.from[i] : int32_t(i);
}
__device__ inline int sort_digit(const SortPass& p, int32_t row) {
  return (sort_key(p.ids[row], p.pad, p.V) >> p.shift) & (kSortThreads - 1);
}

/// Grid: chunk. How often each digit occurs in the chunk.
static __global__ void count_digits(SortPass p) {
  __shared__ int32_t count[kSortThreads];
  count[threadIdx.x] = 0;
  __syncthreads();
  const int64_t begin = blockIdx.x * kSortRows, end = min(begin + kSortRows, p.R);
  for (int64_t i = begin + threadIdx.x; i < end; i += kSortThreads)
    atomicAdd(&count[sort_digit(p, sort_row(p, i))], 1);
  __syncthreads();
  p.counts[threadIdx.x * p.chunks + blockIdx.x] = count[threadIdx.x];
}

/// Grid: digit. Its counts become sums over the chunks before; its total is kept.
static __global__ void scan_digits(SortPass p) {
  __shared__ int32_t buf[kSortWarps];
  int32_t* counts = p.counts + blockIdx.x * p.chunks;
  int32_t before = 0;
  for (int64_t first = 0; first < p.chunks; first += kSortThreads) {
    const int64_t i = first + threadIdx.x;
    int32_t total;
    const int32_t sum = block_running_sum<kSortThreads>(i < p.chunks ? counts[i] : 0, buf, &total);
    if (i < p.chunks) counts[i] = before + sum;
    before += total;
  }
  if (threadIdx.x == 0) p.totals[blockIdx.x] = before;
}

/// Lanes of the warp that count and have this lane's digit.
__device__ inline unsigned same_digit(int digit, bool counts) {
  unsigned peers = __ballot_sync(kFullMask, counts);
  for (int bit = 0; bit < kDigitBits; ++bit) {
    const unsigned set = __ballot_sync(kFullMask, (digit >> bit) & 1);
    peers &= (digit >> bit) & 1 ? set : ~set;
  }
  return peers;
}

/// Grid: chunk. A warp takes 256 neighbouring rows, 32 at a time, and counts how many of a digit came before.
static __global__ void __launch_bounds__(kSortThreads) scatter_rows(SortPass p) {
  __shared__ int32_t met[kSortWarps][kSortThreads];  // rows of a digit that the warp met; then where they go
  __shared__ int32_t buf[kSortWarps];
  const int t = int(threadIdx.x), warp = t / 32, lane = t % 32;
  for (int w = 0; w < kSortWarps; ++w) met[w][t] = 0;
  __syncthreads();
  const int64_t begin = blockIdx.x * kSortRows + warp * 32 * kSortItems + lane;
  int32_t row[kSortItems], rank[kSortItems];
  int digit[kSortItems];
#pragma unroll
  for (int k = 0; k < kSortItems; ++k) {
    const bool counts = begin + k * 32 < p.R;
    row[k] = counts ? sort_row(p, begin + k * 32) : 0;
    digit[k] = counts ? sort_digit(p, row[k]) : 0;
  }
#pragma unroll
  for (int k = 0; k < kSortItems; ++k) {
    const unsigned peers = same_digit(digit[k], begin + k * 32 < p.R), before = peers & ((1u << lane) - 1);
    const int32_t earlier = met[warp][digit[k]];
    rank[k] = earlier + __popc(before);
    __syncwarp(kFullMask);
    if (peers != 0 && before == 0 && begin + k * 32 < p.R) met[warp][digit[k]] = earlier + __popc(peers);
    __syncwarp(kFullMask);
  }
  int32_t total;  // the running sum's barriers stand between the counts of all warps and their readers
  int32_t start = block_running_sum<kSortThreads>(p.totals[t], buf, &total) + p.counts[t * p.chunks + blockIdx.x];
  for (int w = 0; w < kSortWarps; ++w) {
    const int32_t n = met[w][t];
    met[w][t] = start;
    start += n;
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kSortItems; ++k)
    if (begin + k * 32 < p.R) p.to[met[warp][digit[k]] + rank[k]] = row[k];
}

inline int64_t sort_chunks(int64_t R) { return ceil_div(R, kSortRows); }

/// Orders p.R rows by p.ids; the result is in one of the two buffers and is returned.
inline const int32_t* sort_rows(Stream& s, SortPass p, int32_t* a, int32_t* b) {  // a, b: [R]
  p.from = nullptr;
  for (p.shift = 0; p.shift == 0 || (p.V >> p.shift) > 0; p.shift += kDigitBits) {
    p.to = p.from == a ? b : a;
    launch(s, count_digits, p.chunks, kSortThreads, 0, p);
    launch(s, scan_digits, int64_t(kSortThreads), kSortThreads, 0, p);
    launch(s, scatter_rows, p.chunks, kSortThreads, 0, p);
    p.from = p.to;
  }
  return p.from;
}

}  // namespace selene::cuda
