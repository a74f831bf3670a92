// What the general attention kernels share: tiles in shared memory, their products by plain FMA, and which keys
// count. Blocked softmax with recomputation: Dao 2023, "FlashAttention-2", algorithms 1 and 2.
#pragma once
#include "kernels/cuda/attention/cut.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/pack.cuh"

namespace selene::cuda {

constexpr int kTileThreads = 128;
constexpr int kSumPad =
    4;  // fp32 tiles have rows of columns + 4: float4 aligned, and neighbouring rows start 4 banks on
constexpr float kNoKey = -HUGE_VALF;

template <class E, class T>
__device__ inline E as_element(T x) {
  if constexpr (sizeof(E) == sizeof(T)) return x;
  else return up(x);
}

__device__ inline float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ inline void store4(float* p, float4 x) { *reinterpret_cast<float4*>(p) = x; }

/// Products of tiles by FMA in fp32. A tile of C columns has rows of C + kPad elements. For [M, N] sums a
/// thread keeps 4 columns of every TY-th row.
struct PlainTiles {
  using Element = float;
  static constexpr int kPad = 4;
  template <int M, int N>
  struct Shape {
    static constexpr int TX = N / 4, TY = kTileThreads / TX, kRows = (M + TY - 1) / TY;
  };

  /// s [M, N] = a [M, KD] b [N, KD]^T.
  template <int M, int N, int KD>
  static __device__ void scores(const float* a, const float* b, float* s) {
    using S = Shape<M, N>;
    constexpr int row = KD + kPad;
    const int tx = int(threadIdx.x) % S::TX, ty = int(threadIdx.x) / S::TX;
    float c[S::kRows][4] = {};
#pragma unroll 2
    for (int k = 0; k < KD; k += 4) {
      float4 y[4];
      for (int j = 0; j < 4; ++j) y[j] = load4(b + (tx + j * S::TX) * row + k);
      for (int i = 0; i < S::kRows; ++i) {
        const float4 x = load4(a + (ty + i * S::TY) % M * row + k);
        for (int j = 0; j < 4; ++j)
          c[i][j] = fmaf(x.w, y[j].w, fmaf(x.z, y[j].z, fmaf(x.y, y[j].y, fmaf(x.x, y[j].x, c[i][j]))));
      }
    }
    for (int i = 0; i < S::kRows; ++i)
      for (int j = 0; j < 4 && ty + i * S::TY < M; ++j)
        s[(ty + i * S::TY) * (N + kSumPad) + tx + j * S::TX] = c[i][j];
  }

  /// Sums [M, N] in registers.
  template <int M, int N>
  struct Sums {
    using S = Shape<M, N>;
    float4 c[S::kRows];

    static __device__ int row(int i) { return int(threadIdx.x) / S::TX + i * S::TY; }
    static __device__ int column() { return int(threadIdx.x) % S::TX * 4; }
    __device__ void clear() {
      for (int i = 0; i < S::kRows; ++i) c[i] = make_float4(0, 0, 0, 0);
    }
    __device__ void add(const Sums& other) {
      for (int i = 0; i < S::kRows; ++i)
        c[i].x += other.c[i].x, c[i].y += other.c[i].y, c[i].z += other.c[i].z, c[i].w += other.c[i].w;
    }
    __device__ void load(const float* from) {  // not a row of another thread, which may be storing it
      for (int i = 0; i < S::kRows; ++i)
        c[i] = row(i) < M ? load4(from + row(i) * (N + kSumPad) + column()) : make_float4(0, 0, 0, 0);
    }
    __device__ void store(float* to) const {
      for (int i = 0; i < S::kRows; ++i)
        if (row(i) < M) store4(to + row(i) * (N + kSumPad) + column(), c[i]);
    }
    /// += a [M, KD] b [KD, N].
    template <int KD>
    __device__ void add_product(const float* a, const float* b) {
#pragma unroll 2
      for (int k = 0; k < KD; k += 4) {
        float4 y[4];
        for (int j = 0; j < 4; ++j) y[j] = load4(b + (k + j) * (N + kPad) + column());
        for (int i = 0; i < S::kRows; ++i) {
          const float4 x = load4(a + row(i) % M * (KD + kPad) + k);
          c[i].x = fmaf(x.w, y[3].x, fmaf(x.z, y[2].x, fmaf(x.y, y[1].x, fmaf(x.x, y[0].x, c[i].x))));
          c[i].y = fmaf(x.w, y[3].y, fmaf(x.z, y[2].y, fmaf(x.y, y[1].y, fmaf(x.x, y[0].y, c[i].y))));
          c[i].z = fmaf(x.w, y[3].z, fmaf(x.z, y[2].z, fmaf(x.y, y[1].z, fmaf(x.x, y[0].z, c[i].z))));
          c[i].w = fmaf(x.w, y[3].w, fmaf(x.z, y[2].w, fmaf(x.y, y[1].w, fmaf(x.x, y[0].w, c[i].w))));
        }
      }
    }
  };
};

template <class Tiles, int Rows, int C, bool Packs, class T>
__device__ inline void load_tile_rows(const T* from, int64_t row, int64_t n, int K, typename Tiles::Element* tile) {
  using E = typename Tiles::Element;
  constexpr int width = kPack<T>;
#pragma unroll(Packs ? 4 : 1)  // single elements would fill the registers
  for (int i = int(threadIdx.x) * width; i < Rows * C; i += kTileThreads * width) {
    const int r = i / C, c = i % C;
    Pack<T, width> in{};
    if (r < n && c < K) {
      const T* x = from + r * row + c;
      if constexpr (Packs) in = load_pack<width>(x);
      else
        for (int j = 0; j < width; ++j) in.v[j] = c + j < K ? x[j] : T{};
    }
    Pack<E, width> out;
    for (int j = 0; j < width; ++j) out.v[j] = as_element<E>(in.v[j]);
    store_pack(tile + r * (C + Tiles::kPad) + c, out);
  }
}
/// tile [Rows, C] = rows [n, K] of a tensor, zero where there is nothing. packs: 16-byte accesses are possible.
template <class Tiles, int Rows, int C, class T>
__device__ inline void load_tile(const T* from, int64_t row, int64_t n, int K, bool packs,
                                 typename Tiles::Element* tile) {
  if (packs) load_tile_rows<Tiles, Rows, C, true>(from, row, n, K, tile);
  else load_tile_rows<Tiles, Rows, C, false>(from, row, n, K, tile);
}

/// to [n, K] = tile [Rows, C] of sums, row r times factor[r] (null: 1).
template <int Rows, int C, class T>
__device__ void write_tile(const float* tile, const float* factor, int64_t n, int K, T* to, int64_t row) {
  for (int i = int(threadIdx.x); i < Rows * C; i += kTileThreads) {
    const int r = i / C, c = i % C;
    if (r >= n || c >= K) continue;
    const float x = tile[r * (C + kSumPad) + c];
    to[r * row + c] = down<T>(factor ? x * factor[r] : x);
  }
}

/// bias[j] = 0 where key k + j counts, else -inf. mask: [Nk] or null.
template <int KT>
__device__ void load_bias(const uint8_t* mask, int64_t k, int64_t end, float* bias) {
  for (int j = int(threadIdx.x); j < KT; j += kTileThreads)
    bias[j] = k + j < end && !(mask && mask[k + j]) ? 0.0f : kNoKey;
}

/// False where the mask hides every key of [k, k + KT), so that they would add zeros only; the same in all
/// threads.
template <int KT>
__device__ bool any_key_counts(const uint8_t* mask, int64_t k, int64_t end) {
  if (!mask) return true;
  bool counts = false;
  for (int j = int(threadIdx.x) % 32; j < KT; j += 32) counts |= k + j < end && !mask[k + j];
  return __any_sync(0xffffffffu, counts);
}

/// True where rows of K elements can be read 16 bytes at a time.
template <class T>
bool whole_packs(const T* p, int64_t batch, int64_t row, int64_t K) {
  return K % kPack<T> == 0 && aligned16(p, batch) && aligned16(p, row);
}

}  // namespace selene::cuda
