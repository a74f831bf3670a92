// General attention in fp16 on the tensor cores of sm_70 and 75, and on newer ones where the mma.sync kernels
// refuse: products of 16 x 16 tiles with fp32 sums. Kernels: tiles_forward.cuh, tiles_backward.cuh.
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/attention/tiles_backward.cuh"
#include "kernels/cuda/attention/tiles_forward.cuh"
#include "kernels/cuda/wmma.cuh"

namespace selene::cuda {
namespace {

// As PlainTiles, with fp16 tiles. Of [M, N] sums a warp has one row of 16 x 16 tiles, or a part of one.
struct WmmaTiles {
  using Element = f16;
  static constexpr int kPad = 8;  // rows start 4 banks on
  template <int M, int N>
  struct Shape {
    static constexpr int kWarps = kTileThreads / 32, kDown = M / 16, kAcross = kWarps / kDown;
    static constexpr int kTiles = (N / 16 + kAcross - 1) / kAcross;  // of a warp
    static_assert(kWarps % kDown == 0, "whole rows of tiles");
    static __device__ int row() { return int(threadIdx.x) / 32 % kDown * 16; }
    static __device__ int column(int i) { return (int(threadIdx.x) / 32 / kDown * kTiles + i) * 16; }
  };

  /// Sums [M, N] in registers.
  template <int M, int N>
  struct Sums {
    using S = Shape<M, N>;
    WmmaAcc c[S::kTiles];

    __device__ void clear() {
      for (int i = 0; i < S::kTiles; ++i) wmma_fill(c[i], 0.0f);
    }
    __device__ void add(const Sums& other) {
      for (int i = 0; i < S::kTiles; ++i)
        for (int e = 0; e < 8; ++e) c[i].x[e] += other.c[i].x[e];
    }
    __device__ void load(const float* from) {
      for (int i = 0; i < S::kTiles; ++i)
        if (S::column(i) < N) wmma_load_acc(c[i], from + S::row() * (N + kSumPad) + S::column(i), N + kSumPad);
    }
    __device__ void store(float* to) const {
      for (int i = 0; i < S::kTiles; ++i)
        if (S::column(i) < N) wmma_store_acc(to + S::row() * (N + kSumPad) + S::column(i), c[i], N + kSumPad);
    }
    /// += a [M, KD] b, where b is [KD, N] in row order (row) or [N, KD] (column).
    template <int KD, Major MB = Major::row>
    __device__ void add_product(const f16* a, const f16* b) {
      constexpr int a_row = KD + kPad, b_row = (MB == Major::row ? N : KD) + kPad;
#pragma unroll 2
      for (int k = 0; k < KD; k += 16) {
        WmmaA<Major::row> x;
        wmma_load_a(x, a + S::row() * a_row + k, a_row);
        for (int i = 0; i < S::kTiles; ++i) {
          if (S::column(i) >= N) continue;
          WmmaB<MB> y;
          wmma_load_b(y, MB == Major::row ? b + k * b_row + S::column(i) : b + S::column(i) * b_row + k, b_row);
          wmma_mma(c[i], x, y);
        }
      }
    }
  };

  /// s [M, N] = a [M, KD] b [N, KD]^T.
  template <int M, int N, int KD>
  static __device__ void scores(const f16* a, const f16* b, float* s) {
    Sums<M, N> sums;
    sums.clear();
    sums.template add_product<KD, Major::column>(a, b);
    sums.store(s);
  }
};

// Calls f with HeadSize<16, 32, 64 or 128>.
template <class F>
void with_head_size(int64_t K, F f) {
  if (K <= 16) f(HeadSize<16>());
  else if (K <= 32) f(HeadSize<32>());
  else if (K <= 64) f(HeadSize<64>());
  else f(HeadSize<128>());
}

// Rows of an owned axis that is longer than 16, as shared memory allows.
constexpr int own_tile(int KP) { return KP == 128 ? 32 : 64; }

}  // namespace

void wmma_forward(Stream& s, const AttentionFwd<f16>& a, const AttentionCut& cut) {
  with_head_size(a.K, [&](auto size) {
    constexpr int KP = decltype(size)::value;
    if (a.Nq <= 16) launch_forward<WmmaTiles, 16, 64, KP>(s, a, cut);
    else launch_forward<WmmaTiles, own_tile(KP), 32, KP>(s, a, cut);
  });
}

void wmma_backward(Stream& s, const AttentionBwd<f16>& a, const AttentionCut& cut) {
  with_head_size(a.K, [&](auto size) {
    constexpr int KP = decltype(size)::value;
    if (a.Nq <= 16) launch_backward_queries<WmmaTiles, 16, 64, KP>(s, a, cut);
    else launch_backward_queries<WmmaTiles, own_tile(KP), 32, KP>(s, a, cut);
    if (a.Nk <= 16) launch_backward_keys<WmmaTiles, 16, 64, KP>(s, a, cut);
    else launch_backward_keys<WmmaTiles, own_tile(KP), 32, KP>(s, a, cut);
  });
}

}  // namespace selene::cuda
