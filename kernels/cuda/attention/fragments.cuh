// What the tensor-core attention kernels share: tiles of rows in shared memory, fragments of m16n8k16 products out
// of them (PTX ISA, "Matrix fragments for mma.m16n8k16"), dropout decisions for a 16 x 16 piece of the scores, and
// the way of a tile of sums to memory.
#pragma once
#include "kernels/cuda/async.cuh"
#include "kernels/cuda/attention/cut.h"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"

namespace selene::cuda {

constexpr int kMmaThreads = 128, kMmaWarps = 4;
constexpr float kLog2e = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

/// Where 8 channels (16 bytes) of a row lie in a tile [rows, K]. The 16-byte pieces are exchanged within each 128
/// bytes so that the same piece of 8 neighbouring rows lies in 32 different banks.
template <int K>
__device__ inline int tile_at(int row, int piece) {
  constexpr int pieces = K / 8, rows_a_line = pieces < 8 ? 8 / pieces : 1, mask = pieces < 8 ? pieces - 1 : 7;
  return row * K + (piece ^ ((row / rows_a_line) & mask)) * 8;
}

/// A thread's way through rows [first, ...) of a head, tile by tile.
template <class T>
struct TileSource {
  const T* from;   // the thread's 16 bytes of the next tile's first rows
  int64_t stride;  // elements
};
template <int K, class T>
__device__ inline TileSource<T> tile_source(const T* head, int64_t stride, int first) {
  constexpr int pieces = K / 8;
  return {head + (first + int(threadIdx.x) / pieces) * stride + int(threadIdx.x) % pieces * 8, stride};
}
/// Starts copying the next tile of Rows rows, of which `rows` exist; the others become 0.
template <int K, int Rows, class T>
__device__ inline void fetch_tile(T* tile, TileSource<T>& source, int rows) {
  constexpr int pieces = K / 8, step = kMmaThreads / pieces;
  const int piece = int(threadIdx.x) % pieces, begin = int(threadIdx.x) / pieces;
  const T* from = source.from;
#pragma unroll
  for (int i = 0; i < (Rows + step - 1) / step; ++i) {
    const int r = begin + i * step;
    if (Rows % step != 0 && r >= Rows) break;
    cp_async_16(tile + tile_at<K>(r, piece), from, r < rows);
    from += step * source.stride;
  }
  source.from += Rows * source.stride;
}

/// True where the values are the keys (tied projections): one tile serves as both.
template <class A>
__device__ inline bool keys_are_values(const A& a) {
  return a.k == a.v && a.k_row == a.v_row && a.k_batch == a.v_batch;
}

/// Fragment A of a product: 16 rows of a tile from `row` on, 16 channels from 16 * step on.
template <int K, class T>
__device__ inline void load_a(uint32_t (&f)[4], const T* tile, int row, int step) {
  const int lane = int(threadIdx.x) % 32;
  ldmatrix_x4(f, tile + tile_at<K>(row + lane % 16, 2 * step + lane / 16));
}
/// Fragments B of two n8 products whose columns are 16 rows of a tile and whose sum runs over 16 channels.
template <int K, class T>
__device__ inline void load_b_rows(uint32_t (&f)[2][2], const T* tile, int row, int step) {
  const int lane = int(threadIdx.x) % 32;
  uint32_t r[4];
  ldmatrix_x4(r, tile + tile_at<K>(row + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
  f[0][0] = r[0], f[0][1] = r[1], f[1][0] = r[2], f[1][1] = r[3];
}
/// The same where the sum runs over 16 rows of the tile and the columns are 16 channels.
template <int K, class T>
__device__ inline void load_b_channels(uint32_t (&f)[2][2], const T* tile, int row, int step) {
  const int lane = int(threadIdx.x) % 32;
  uint32_t r[4];
  ldmatrix_x4_trans(r, tile + tile_at<K>(row + lane % 16, 2 * step + lane / 16));
  f[0][0] = r[0], f[0][1] = r[1], f[1][0] = r[2], f[1][1] = r[3];
}
/// The accumulators of two n8 products, 16 x 16 numbers, as fragment A of the next product.
template <class T>
__device__ inline void pack_a(uint32_t (&f)[4], const float (&c0)[4], const float (&c1)[4]) {
  f[0] = pack_pair<T>(c0[0], c0[1]), f[1] = pack_pair<T>(c0[2], c0[3]);
  f[2] = pack_pair<T>(c1[0], c1[1]), f[3] = pack_pair<T>(c1[2], c1[3]);
}

/// A dropout site and the step's numbers, in registers.
struct DropoutKey {
  uint64_t bh, seed = 0;  // b * H + h
  uint32_t site, threshold, micro_batch = 0;

  __device__ DropoutKey(const DropoutSite& d, int64_t head)
      : bh(uint64_t(head)), site(d.site), threshold(d.threshold) {
    if (on()) seed = d.step->seed, micro_batch = uint32_t(d.step->micro_batch);
  }
  __device__ bool on() const { return threshold < 65536; }
  /// Bit j: key k + j survives in query q; k is a multiple of 8.
  __device__ uint32_t keeps(int q, int k) const {
    const uint64_t block = dropout_attention_block(bh, uint64_t(q), uint64_t(k));
    const Philox bits = philox<kDropoutRounds>(uint32_t(block), uint32_t(block >> 32), site, micro_batch,
                                               uint32_t(seed), uint32_t(seed >> 32));
    uint32_t mask = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) mask |= uint32_t(dropout_keeps(bits, j, threshold)) << j;
    return mask;
  }
};

/// Decisions for the 16 x 16 scores of queries from q and keys from k on, one Philox block a lane. KeyRows: rows
/// of the fragment are keys and columns are queries, else the other way round. Bit kept_bit(i) of word n belongs
/// to accumulator i of the n-th of two n8 products.
template <bool KeyRows>
__device__ inline void kept_words(uint32_t (&word)[2], const DropoutKey& key, int q, int k) {
  const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  uint32_t all = KeyRows ? key.keeps(q + lane / 2, k + lane % 2 * 8) : key.keeps(q + g + t % 2 * 8, k + t / 2 * 8);
  all <<= 8 * t;
  all |= __shfl_xor_sync(kFullMask, all, 1);
  all |= __shfl_xor_sync(kFullMask, all, 2);
#pragma unroll
  for (int n = 0; n < 2; ++n)
    if (KeyRows) word[n] = __shfl_sync(kFullMask, all, 16 * n + 4 * t);
    else word[n] = all >> (16 * n);
}
template <bool KeyRows>
__device__ inline int kept_bit(int i) {
  const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  return KeyRows ? (i % 2 * 2 + i / 2) * 8 + g : i / 2 * 8 + 2 * t + i % 2;
}

/// 0, or minus infinity where a key doesn't count. mask: of the example, or null.
__device__ inline float key_bias(const uint8_t* mask, int key, int Nk) {
  return key < Nk && !(mask && mask[key]) ? 0.0f : -INFINITY;
}

/// Where a block's tile of sums goes: T to `to`, or fp32 to `partial` where that isn't null.
template <class T>
struct TileOutput {
  T* to;           // first row of the tile
  int64_t stride;  // of to
  float* partial;  // [rows, K]
  int rows;        // that exist
};

/// Bytes of shared memory for write_tile.
template <int K, bool Split>
constexpr int write_tile_bytes() {
  return Split ? kMmaWarps * 16 * (K + 8) * 4 : kMmaWarps * 16 * K * 2;
}

/// 16 rows of a warp: row 0 of the accumulators is row `row` of the tile.
template <class T, int K>
__device__ inline void write_rows(const float (&x)[K / 8][4], T* scratch, int row, const TileOutput<T>& out) {
  const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  if (out.partial) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      if (row + g + half * 8 < out.rows)
#pragma unroll
        for (int n = 0; n < K / 8; ++n)
          *reinterpret_cast<float2*>(out.partial + int64_t(row + g + half * 8) * K + n * 8 + 2 * t) =
              make_float2(x[n][half * 2], x[n][half * 2 + 1]);
    return;
  }
#pragma unroll
  for (int n = 0; n < K / 8; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<uint32_t*>(scratch + tile_at<K>(g + half * 8, n) + 2 * t) =
          pack_pair<T>(x[n][half * 2], x[n][half * 2 + 1]);
  __syncwarp();
  for (int i = lane; i < 2 * K; i += 32) {
    const int r = i / (K / 8), piece = i % (K / 8);
    if (row + r < out.rows)
      store_pack(out.to + (row + r) * out.stride + piece * 8, load_pack<8>(scratch + tile_at<K>(r, piece)));
  }
  __syncwarp();
}

/// The same 16 rows in all four warps, added in warp order.
template <class T, int K>
__device__ inline void add_and_write_rows(const float (&x)[K / 8][4], float* scratch, const TileOutput<T>& out) {
  constexpr int row_size = K + 8;  // eight rows start in different banks
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < K / 8; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<float2*>(scratch + (warp * 16 + g + half * 8) * row_size + n * 8 + 2 * t) =
          make_float2(x[n][half * 2], x[n][half * 2 + 1]);
  __syncthreads();
  for (int i = int(threadIdx.x); i < 2 * K; i += kMmaThreads) {
    const int r = i / (K / 8), c = i % (K / 8) * 8;
    if (r >= out.rows) continue;
    Pack<float, 8> sum = load_pack<8>(scratch + r * row_size + c);
    for (int w = 1; w < kMmaWarps; ++w) {
      const Pack<float, 8> more = load_pack<8>(scratch + (w * 16 + r) * row_size + c);
      for (int j = 0; j < 8; ++j) sum.v[j] += more.v[j];
    }
    Pack<T, 8> y;
    for (int j = 0; j < 8; ++j) y.v[j] = down<T>(sum.v[j]);
    if (out.partial) store_pack(out.partial + int64_t(r) * K + c, sum);
    else store_pack(out.to + r * out.stride + c, y);
  }
  __syncthreads();
}

/// All threads of a block write a tile: four times 16 rows, or (Split) four summands of the same 16. Shared memory
/// `scratch` is free for it after a barrier.
template <class T, int K, bool Split>
__device__ inline void write_tile(const float (&x)[K / 8][4], void* scratch, const TileOutput<T>& out) {
  if constexpr (Split) {
    add_and_write_rows<T, K>(x, static_cast<float*>(scratch), out);
  } else {
    const int row = int(threadIdx.x) / 32 * 16;
    write_rows<T, K>(x, static_cast<T*>(scratch) + row * K, row, out);
  }
}

}  // namespace selene::cuda
