// Threads and instruction sets of the CPU backend. Work is cut by shape, never by the number of threads, so that
// every sum has the same bits with 1, 2 or more threads.
#pragma once
#include <cstdint>
#include <exception>

#include "kernels/ceil_div.h"

// A function marked so is compiled for three instruction sets and chosen at load time. Helpers it calls must be
// always_inline (SELENE_INLINE), else they stay at the base set. Off in sanitizer and clang builds (see
// meson_options.txt).
#ifdef SELENE_CLONES_ON
#define SELENE_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3"), flatten))
#else
#define SELENE_CLONES
#endif
#define SELENE_INLINE __attribute__((always_inline)) inline

namespace selene::cpu {

/// Calls f(i) for i in [0, n) on the OpenMP threads; which thread runs which i is free, so f(i) must not depend on
/// it. The first exception is rethrown after the loop.
template <class F>
void parallel_for(int64_t n, const F& f) {
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 1) if (n > 1)
  for (int64_t i = 0; i < n; ++i) {
    try {
      f(i);
    } catch (...) {
#pragma omp critical
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

/// Calls f(begin, end) on pieces of [0, n) of `grain` elements.
template <class F>
void parallel_ranges(int64_t n, int64_t grain, const F& f) {
  parallel_for(ceil_div(n, grain), [&](int64_t i) { f(i * grain, i * grain + grain < n ? i * grain + grain : n); });
}

}  // namespace selene::cpu
