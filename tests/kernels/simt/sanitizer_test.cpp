// What a build with ThreadSanitizer or AddressSanitizer says of sound and of broken kernels on the shim: each is a
// hidden test that this program runs in a process of its own, to read the report. Without a sanitizer nothing is
// here.
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "kernels/cuda/reduce.cuh"
#include "tests/support/catch.h"

namespace selene::cuda {
namespace {

#if defined(SELENE_TSAN) || defined(SELENE_ASAN)

/// One block of 64 threads, with 64 floats of dynamic shared memory.
template <class... P, class... A>
void block(void (*kernel)(float*, P...), A... a) {
  float y[64] = {};
  Stream s;
  CHECK_NOTHROW(launch(s, kernel, 1, 64, 256, y, a...));
}
/// What a hidden test of this program prints.
std::string output_of(const std::string& test, const std::string& schedule = "ascending") {
  char self[4096] = {};
  if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) return "no /proc";
  FILE* pipe = popen(("SELENE_SIMT_SCHEDULE=" + schedule + " '" + self + "' '" + test + "' 2>&1").c_str(), "r");
  std::string text;
  for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) text += char(c);
  pclose(pipe);
  return text;
}
bool holds(const std::string& text, const char* part) {
  CAPTURE(text, part);
  return text.find(part) != std::string::npos;
}
bool sound(const std::string& text) { return !holds(text, "Sanitizer") && holds(text, "All tests passed"); }

#endif
#ifdef SELENE_TSAN

/// Missing: the barrier that a bug leaves out, 0: none.
template <int Missing>
__global__ void reverse_twice(float* y) {
  auto* x = reinterpret_cast<float*>(dynamic_shared);
  float mine = float(threadIdx.x);
  for (int round = 0; round < 2; ++round) {
    x[threadIdx.x] = mine;
    if (Missing != 1) __syncthreads();
    mine = x[63 - threadIdx.x];
    if (Missing != 2) __syncthreads();
  }
  y[threadIdx.x] = mine;
}
template <bool Barrier>
__global__ void swap_in_warp(float* y) {
  __shared__ float x[64];
  x[threadIdx.x] = float(threadIdx.x);
  if (Barrier) __syncwarp();
  y[threadIdx.x] = x[threadIdx.x ^ 1];
}
__global__ void count_badly(float* y) { y[threadIdx.x / 32] += 1; }
/// A shuffle exchanges values but orders no memory.
__global__ void shuffle_is_no_barrier(float* y) {
  __shared__ float x[64];
  x[threadIdx.x] = warp_sum(float(threadIdx.x));
  y[threadIdx.x] = __shfl_xor_sync(kFullMask, 1.0f, 1) + x[threadIdx.x ^ 1];
}

#endif
#ifdef SELENE_ASAN

__global__ void read_shared(float* y, int at) {
  if (threadIdx.x == 3) y[0] = reinterpret_cast<float*>(dynamic_shared)[at];
}
__global__ void write_shared(float*, int at) {
  if (threadIdx.x == 3) reinterpret_cast<float*>(dynamic_shared)[at] = 1;
}
__global__ void read_global(float* y, const float* x, int at) {
  if (threadIdx.x == 3) y[0] = x[at];
}

#endif

}  // namespace

#ifdef SELENE_TSAN
TEST_CASE("sound barriers", "[.]") { block(reverse_twice<0>); }
TEST_CASE("sound in a warp", "[.]") { block(swap_in_warp<true>); }
TEST_CASE("broken: first barrier", "[.]") { block(reverse_twice<1>); }
TEST_CASE("broken: second barrier", "[.]") { block(reverse_twice<2>); }
TEST_CASE("broken: barrier of a warp", "[.]") { block(swap_in_warp<false>); }
TEST_CASE("broken: count", "[.]") { block(count_badly); }
TEST_CASE("broken: shuffle", "[.]") { block(shuffle_is_no_barrier); }

TEST_CASE("simt: ThreadSanitizer sees what no barrier orders, in every schedule, and nothing else") {
  for (const char* schedule : {"ascending", "descending", "shuffled"}) {
    for (const char* test : {"sound barriers", "sound in a warp"}) CHECK(sound(output_of(test, schedule)));
    for (const char* test : {"first barrier", "second barrier", "barrier of a warp", "count", "shuffle"})
      CHECK(holds(output_of(std::string("broken: ") + test, schedule), "ThreadSanitizer: data race"));
  }
}
#endif

#ifdef SELENE_ASAN
const std::vector<float> ten(10, 1.0f);
TEST_CASE("sound accesses", "[.]") {
  block(read_shared, 63), block(write_shared, 63), block(read_global, ten.data(), 9);
}
TEST_CASE("broken: read of shared", "[.]") { block(read_shared, 64); }
TEST_CASE("broken: write of shared", "[.]") { block(write_shared, 64); }
TEST_CASE("broken: read of global", "[.]") { block(read_global, ten.data(), 10); }

TEST_CASE("simt: AddressSanitizer sees accesses past the end of shared and of global memory") {
  CHECK(sound(output_of("sound accesses")));
  CHECK(holds(output_of("broken: read of shared"), "AddressSanitizer: use-after-poison"));
  CHECK(holds(output_of("broken: write of shared"), "AddressSanitizer: use-after-poison"));
  CHECK(holds(output_of("broken: read of global"), "AddressSanitizer: heap-buffer-overflow"));
}
#endif

}  // namespace selene::cuda
