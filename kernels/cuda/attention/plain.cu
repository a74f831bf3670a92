// General attention by plain FMA: fp32 training, head sizes and devices that the tensor-core kernels don't take,
// and their second opinion. Kernels: tiles_forward.cuh, tiles_backward.cuh.
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/attention/tiles_backward.cuh"
#include "kernels/cuda/attention/tiles_forward.cuh"

namespace selene::cuda {
namespace {

// Calls f with HeadSize<16, 32, 64 or 128>; two-byte types, a second opinion only, have 32 and 128.
template <class T, class F>
void with_head_size(int64_t K, F f) {
  if constexpr (sizeof(T) == 4) {
    if (K <= 16) return f(HeadSize<16>());
    if (K > 32 && K <= 64) return f(HeadSize<64>());
  }
  if (K <= 32) f(HeadSize<32>());
  else f(HeadSize<128>());
}

// True where the owned axis is as short as Luna's smallest: tiles of 16 rows then.
template <class T>
constexpr bool has_short_tiles = sizeof(T) == 4;

// Rows of the axis that is looped over in the backward pass beside 16 owned rows, as shared memory allows; half
// beside 32.
constexpr int long_tile(int KP) { return KP == 128 ? 32 : 64; }

}  // namespace

template <class T>
void plain_forward(Stream& s, const AttentionFwd<T>& a, const AttentionCut& cut) {
  with_head_size<T>(a.K, [&](auto size) {
    constexpr int KP = decltype(size)::value;
    if constexpr (has_short_tiles<T>)
      if (a.Nq <= 16) return launch_forward<PlainTiles, 16, 64, KP>(s, a, cut);
    launch_forward<PlainTiles, 32, 32, KP>(s, a, cut);
  });
}

template <class T>
void plain_backward(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  with_head_size<T>(a.K, [&](auto size) {
    constexpr int KP = decltype(size)::value;
    if constexpr (has_short_tiles<T>)
      if (a.Nq <= 16) return launch_backward_queries<PlainTiles, 16, long_tile(KP), KP>(s, a, cut);
    launch_backward_queries<PlainTiles, 32, long_tile(KP) / 2, KP>(s, a, cut);
  });
  with_head_size<T>(a.K, [&](auto size) {
    constexpr int KP = decltype(size)::value;
    if constexpr (has_short_tiles<T>)
      if (a.Nk <= 16) return launch_backward_keys<PlainTiles, 16, long_tile(KP), KP>(s, a, cut);
    launch_backward_keys<PlainTiles, 32, long_tile(KP) / 2, KP>(s, a, cut);
  });
}

#define INSTANTIATE_PLAIN_ATTENTION(T)                                               \
  template void plain_forward(Stream&, const AttentionFwd<T>&, const AttentionCut&); \
  template void plain_backward(Stream&, const AttentionBwd<T>&, const AttentionCut&);
INSTANTIATE_PLAIN_ATTENTION(float)
INSTANTIATE_PLAIN_ATTENTION(f16)
INSTANTIATE_PLAIN_ATTENTION(bf16)

}  // namespace selene::cuda
