// Several neighbouring elements in one memory access: 16 bytes a thread where pointer and row stride allow it.
#pragma once
#include <type_traits>

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

/// What one access of 2, 4, 8 or 16 bytes moves.
template <int Bytes>
using Word =
    std::conditional_t<Bytes == 16, uint4,
                       std::conditional_t<Bytes == 8, uint2, std::conditional_t<Bytes == 4, uint32_t, uint16_t>>>;

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
    const Word<step> word = reinterpret_cast<const Word<step>*>(p)[i];
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
    Word<step> word;
    memcpy(&word, reinterpret_cast<const unsigned char*>(&pack) + i * step, step);
    reinterpret_cast<Word<step>*>(p)[i] = word;
  }
}

}  // namespace selene::cuda
