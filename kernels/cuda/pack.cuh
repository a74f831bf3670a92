// Several neighbouring elements in one memory access: 16 bytes a thread where pointer and row stride allow it.
#pragma once
#include "kernels/cuda/device.cuh"

namespace selene::cuda {

/// N elements, N * sizeof(T) = 2, 4, 8 or a multiple of 16 bytes.
template <class T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T v[N];
};

/// Elements in 16 bytes.
template <class T>
constexpr int kPack = 16 / int(sizeof(T));

SELENE_HD bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }
/// True when every row of `stride` elements from p on starts at a multiple of 16 bytes.
template <class T>
SELENE_HD bool aligned16(const T* p, int64_t stride) {
  return aligned16(static_cast<const void*>(p)) && stride * int64_t(sizeof(T)) % 16 == 0;
}

template <int Bytes>
struct Word;
template <>
struct Word<2> {
  using type = uint16_t;
};
template <>
struct Word<4> {
  using type = uint32_t;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};

/// p is aligned to the pack's size, or to 16 bytes where that is less.
template <int N, class T>
__device__ inline Pack<T, N> load_pack(const T* p) {
  constexpr int bytes = N * int(sizeof(T)), step = bytes < 16 ? bytes : 16;
  static_assert(bytes % step == 0, "whole accesses");
#ifndef __CUDACC__
  simt::check_aligned(p, step);
#endif
  Pack<T, N> pack;
  for (int i = 0; i < bytes / step; ++i) {
    const typename Word<step>::type word = reinterpret_cast<const typename Word<step>::type*>(p)[i];
    memcpy(reinterpret_cast<unsigned char*>(&pack) + i * step, &word, step);
  }
  return pack;
}
template <class T, int N>
__device__ inline void store_pack(T* p, const Pack<T, N>& pack) {
  constexpr int bytes = N * int(sizeof(T)), step = bytes < 16 ? bytes : 16;
  static_assert(bytes % step == 0, "whole accesses");
#ifndef __CUDACC__
  simt::check_aligned(p, step);
#endif
  for (int i = 0; i < bytes / step; ++i) {
    typename Word<step>::type word;
    memcpy(&word, reinterpret_cast<const unsigned char*>(&pack) + i * step, step);
    reinterpret_cast<typename Word<step>::type*>(p)[i] = word;
  }
}

}  // namespace selene::cuda
