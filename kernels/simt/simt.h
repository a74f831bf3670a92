// CUDA's names for the host compiler, so that the kernels of kernels/cuda run on the host unchanged, thread by
// thread. Semantics: CUDA C++ Programming Guide, but stricter where CUDA leaves behaviour undefined: then it is an
// error. C++17.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
// A function's own thread_local is static, and the runtime finds it in the module's symbol table to fill it with NaN.
#define __shared__ thread_local

// clang-format off
struct uint2 { unsigned x, y; } __align__(8);
struct uint3 { unsigned x, y, z; };
struct uint4 { unsigned x, y, z, w; } __align__(16);
struct int2 { int x, y; } __align__(8);
struct int4 { int x, y, z, w; } __align__(16);
struct float2 { float x, y; } __align__(8);
struct float4 { float x, y, z, w; } __align__(16);
// clang-format on
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
extern unsigned char dynamic_shared[];  // NaN at the start of a block; writes past its end are an error

namespace selene::simt {

/// A launch, its arguments frozen in `body`, which is one thread's run.
struct Kernel {
  const void* function;  // names the kernel
  dim3 grid;
  int block;
  int64_t shared_bytes;
  std::function<void()> body;
};
/// Runs it, or records it where the queue is capturing.
void submit(void* queue, Kernel kernel);
/// Bytes of dynamic shared memory a block of such a device may have.
int64_t shared_limit(int32_t capability);

/// Error that ends the launch; the scheduler adds kernel, block and thread.
[[noreturn]] void fail(const std::string& what);
inline void check_aligned(const void* p, int bytes) {
  if (reinterpret_cast<uintptr_t>(p) % unsigned(bytes))
    fail("access of " + std::to_string(bytes) + " bytes, not aligned");
}

enum class WarpOperation { sync, shuffle, ballot, collective };
/// Waits for all lanes of the mask. shuffle: the value of lane `source`; ballot: bits of the lanes with value != 0;
/// collective: `together` runs once with every lane's value taken as a pointer.
uint64_t warp(WarpOperation operation, unsigned mask, uint64_t value, int source = 0,
              void (*together)(void* const* lanes) = nullptr);
int lane();

/// A 16-byte asynchronous copy that has not landed yet.
struct PendingCopy {
  void* to;
  unsigned char bytes[16];
  int group;
};
struct AsyncCopies {
  std::vector<PendingCopy> pending;
  int group = 0;  // of the next copy
};
/// Of the calling thread.
AsyncCopies& async_copies();

template <class T>
uint64_t to_word(T x) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "warp operations take 4 or 8 bytes");
  uint64_t word = 0;
  memcpy(&word, &x, sizeof(T));
  return word;
}
template <class T>
T shuffle(unsigned mask, T x, int source) {
  const uint64_t word = warp(WarpOperation::shuffle, mask, to_word(x), source);
  T y;
  memcpy(&y, &word, sizeof(T));
  return y;
}

}  // namespace selene::simt

void __syncthreads();
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  selene::simt::warp(selene::simt::WarpOperation::sync, mask, 0);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return unsigned(selene::simt::warp(selene::simt::WarpOperation::ballot, mask, predicate != 0));
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

// Lanes form groups of `width`; a source beyond the group's edge is the caller itself, as in CUDA.
template <class T>
T __shfl_sync(unsigned mask, T x, int source, int width = 32) {
  return selene::simt::shuffle(mask, x, (selene::simt::lane() & ~(width - 1)) | (source & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32) {
  const int me = selene::simt::lane(), source = me ^ bits;
  return selene::simt::shuffle(mask, x, source < (me & ~(width - 1)) + width ? source : me);
}
template <class T>
T __shfl_up_sync(unsigned mask, T x, unsigned delta, int width = 32) {
  const int me = selene::simt::lane(), source = me - int(delta);
  return selene::simt::shuffle(mask, x, source >= (me & ~(width - 1)) ? source : me);
}
template <class T>
T __shfl_down_sync(unsigned mask, T x, unsigned delta, int width = 32) {
  const int me = selene::simt::lane(), source = me + int(delta);
  return selene::simt::shuffle(mask, x, source < (me & ~(width - 1)) + width ? source : me);
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)(x)) : 64; }
inline unsigned __float_as_uint(float x) { return unsigned(selene::simt::to_word(x)); }
inline float __uint_as_float(unsigned u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }

// CUDA's min and max of floating-point numbers drop NaN; kernels that must keep it use max_or_nan.
template <class T>
T min(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return std::fmin(a, b);
  else return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return std::fmax(a, b);
  else return a < b ? b : a;
}

inline int atomicAdd(int* p, int x) { return __atomic_fetch_add(p, x, __ATOMIC_RELAXED); }
inline unsigned atomicAdd(unsigned* p, unsigned x) { return __atomic_fetch_add(p, x, __ATOMIC_RELAXED); }
inline int atomicMax(int* p, int x) {
  int seen = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (seen < x && !__atomic_compare_exchange_n(p, &seen, x, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return seen;
}
inline int atomicOr(int* p, int x) { return __atomic_fetch_or(p, x, __ATOMIC_RELAXED); }
inline unsigned atomicOr(unsigned* p, unsigned x) { return __atomic_fetch_or(p, x, __ATOMIC_RELAXED); }
