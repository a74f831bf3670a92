// The shim itself: small kernels, right ones and broken ones. What must be found is found in one schedule at least.
#include "kernels/simt/runtime.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "kernels/cuda/async.cuh"
#include "kernels/cuda/host/runtime.h"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"
#include "tests/support/catch.h"

extern "C" const char* selene_simt_kernels_run();

// Data races and accesses out of bounds stop a sanitizer's build: tests/kernels/simt/sanitizer_test.cpp has them
// there.
#ifdef SELENE_TSAN
#define RACE "[.race]"
#else
#define RACE "[race]"
#endif
#ifdef SELENE_ASAN
#define BOUNDS "[.bounds]"
#else
#define BOUNDS "[bounds]"
#endif

namespace selene::cuda {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
using Floats = std::vector<float>;

/// What f() gives in each schedule.
template <class F>
std::vector<Floats> in_all_schedules(F f) {
  std::vector<Floats> results;
  for (auto s : {simt::Schedule::descending, simt::Schedule::shuffled, simt::Schedule::ascending}) {
    simt::set_schedule(s);
    results.push_back(f());
  }
  return results;
}
template <class F>
void always(F f, const Floats& wanted) {
  for (const Floats& result : in_all_schedules(f)) CHECK(result == wanted);
}
/// Wrong (or NaN) in one schedule at least.
template <class F>
void found(F f, const Floats& wanted) {
  bool differs = false;
  for (const Floats& result : in_all_schedules(f)) differs |= !(result == wanted);
  CHECK(differs);
}
/// One block of a kernel that writes n floats.
template <class... P, class... A>
Floats block(void (*kernel)(float*, P...), int threads, int64_t shared_bytes, size_t n, A... a) {
  Floats y(n, -1.0f);
  Stream s;
  launch(s, kernel, 1, threads, shared_bytes, y.data(), a...);
  return y;
}
template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
bool holds(const std::string& text, const char* part) {
  CAPTURE(text, part);
  return text.find(part) != std::string::npos;
}

__global__ void count_places(int* seen, int64_t blocks) {
  const int64_t b = (int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  if (b < blocks) ++seen[b * blockDim.x + threadIdx.x];
}

/// y[t] = x[last - t] through shared memory; Barrier false: a bug.
template <bool Barrier>
__global__ void reverse(float* y) {
  __shared__ float x[64];
  x[threadIdx.x] = float(threadIdx.x);
  if (Barrier) __syncthreads();
  y[threadIdx.x] = x[63 - threadIdx.x];
}

/// Three rounds of passing a value to the thread 32 further; Barrier false: the buffer is reused too early.
template <bool Barrier>
__global__ void rotate(float* y) {
  auto* x = reinterpret_cast<float*>(dynamic_shared);
  float mine = float(threadIdx.x);
  for (int round = 0; round < 3; ++round) {
    x[threadIdx.x] = mine;
    __syncthreads();
    mine = x[(threadIdx.x + 32) % 96];
    if (Barrier) __syncthreads();
  }
  y[threadIdx.x] = mine;
}

template <bool Barrier>
__global__ void exchange_in_warp(float* y) {
  __shared__ float x[32];
  x[threadIdx.x] = float(threadIdx.x);
  if (Barrier) __syncwarp();
  y[threadIdx.x] = x[threadIdx.x ^ 1];
}

__global__ void divergent_barrier(float* y) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  y[threadIdx.x] = 0;
}
__global__ void divergent_warp(float* y) {
  if (threadIdx.x % 32 == 5) y[0] = __shfl_sync(0xffffffffu, 1.0f, 0);
  __syncthreads();
}
__global__ void shuffle_outside(float* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 20);
}
__global__ void shuffle_uninvited(float* y) { y[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 1); }
__global__ void shuffle_ragged(float* y) { y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1); }
__global__ void throws_at(float* y, unsigned b, unsigned t) {
  if (blockIdx.x == b && threadIdx.x == t) simt::fail("sorry");
  y[blockIdx.x * blockDim.x + threadIdx.x] = 0;
}
__global__ void write_past(float*, int at) {
  if (threadIdx.x == 3) dynamic_shared[at] = 1;
}
__global__ void unwritten(float* y) {
  __shared__ float x[3];
  if (threadIdx.x != 50) return;
  y[0] = x[2], y[1] = reinterpret_cast<float*>(dynamic_shared)[7];
  x[2] = 1, reinterpret_cast<float*>(dynamic_shared)[7] = 1;
}
__global__ void misaligned(float* y, const float* x) { y[0] = load_pack<4>(x).v[0]; }

__global__ void reductions(float* y, const float* x) {  // x: [128]
  __shared__ float buf[4];
  const float mine = x[threadIdx.x], sum = block_sum<128>(mine, buf), most = block_max<128>(mine, buf);
  y[threadIdx.x] = sum, y[128 + threadIdx.x] = most, y[256 + threadIdx.x] = warp_sum<8>(mine);
}

__global__ void warp_functions(float* y) {
  const int l = int(threadIdx.x);
  const float x = float(l);
  const int64_t far = int64_t(l) << 40;
  const unsigned odd = __ballot_sync(0xffffffffu, l % 2);
  float* out = y + 8 * l;
  out[0] = __shfl_sync(0xffffffffu, x, 3, 8), out[1] = __shfl_xor_sync(0xffffffffu, x, 16);
  out[2] = __shfl_up_sync(0xffffffffu, x, 1, 16), out[3] = __shfl_down_sync(0xffffffffu, x, 4);
  out[4] = float(__shfl_sync(0xffffffffu, far, 5) >> 40), out[5] = odd == 0xaaaaaaaau ? 1 : 0;
  if (l < 4) out[6] = float(__any_sync(0xf, l == 2) + 2 * __all_sync(0xf, l == 2));
  else out[6] = float(__popc(__ballot_sync(0xfffffff0u, 1)));
  out[7] = warp_max(l == 7 ? x / 0.0f * 0.0f : x);
}

/// Copies 2 x 32 x 16 bytes in two groups; waits for all but `Left` of them, Barrier or not.
template <int Left, bool Finish>
__global__ void async_copies(float* y, const float* x) {
  auto* buffer = reinterpret_cast<float*>(dynamic_shared);
  for (int group = 0; group < 2; ++group) {
    const int at = group * 128 + 4 * int(threadIdx.x);
    cp_async_16(buffer + at, x + at, group == 0 || threadIdx.x < 30);
    cp_async_commit();
  }
  cp_async_wait<Left>();
  __syncwarp();
  for (int i = int(threadIdx.x); i < 256; i += 32) y[i] = buffer[i ^ 4];
  __syncwarp();
  if (Finish) cp_async_wait<0>();
}

Floats ramp(int n) {
  Floats x(size_t(n), 0.0f);
  for (int i = 0; i < n; ++i) x[size_t(i)] = float(i + 1);
  return x;
}
Floats turned(int n, int by) {
  Floats x;
  for (int i = 0; i < n; ++i) x.push_back(float((i + by) % n));
  return x;
}

}  // namespace

TEST_CASE("simt: every thread of every block runs once") {
  for (const dim3 grid : {dim3(1), dim3(7), dim3(3, 4, 2)})
    for (const int threads : {1, 31, 96, 1000}) {
      const int64_t blocks = int64_t(grid.x) * grid.y * grid.z;
      std::vector<int> seen(size_t(blocks * threads), 0);
      in_all_schedules([&] {
        Stream s;
        launch(s, count_places, grid, threads, 0, seen.data(), blocks);
        return Floats{};
      });
      CHECK(seen == std::vector<int>(seen.size(), 3));
    }
}

TEST_CASE("simt: launches that can't be are refused, and empty ones do nothing") {
  Stream s;
  s.capability = 90;
  const auto error = [&](Grid grid, int threads, int64_t bytes) {
    return error_of([&] { launch(s, count_places, grid, threads, bytes, static_cast<int*>(nullptr), 0); });
  };
  CHECK(error(0, 32, 0) == "no error");
  CHECK(error(dim3(5, 0), 32, 0) == "no error");
  CHECK(holds(error(int64_t(1) << 31, 32, 0), "too many blocks (grid (2147483648, 1, 1), 32 threads"));
  CHECK(holds(error(dim3(1, 65536), 32, 0), "too many blocks"));
  CHECK(holds(error(1, 1025, 0), "1 to 1024 threads"));
  CHECK(error(1, 32, 227 * 1024) == "no error");
  CHECK(holds(error(1, 32, 227 * 1024 + 1), "more shared memory"));
  s.capability = 70;
  CHECK(holds(error(1, 32, 96 * 1024 + 1), "more shared memory"));
}

TEST_CASE("simt: barriers order shared memory") {
  Floats back = turned(64, 0);
  std::reverse(back.begin(), back.end());
  always([] { return block(reverse<true>, 64, 0, 64); }, back);
  always([] { return block(rotate<true>, 96, 96 * 4, 96); }, turned(96, 0));
}

TEST_CASE("simt: a missing barrier shows", RACE) {
  Floats back = turned(64, 0), pairs;
  std::reverse(back.begin(), back.end());
  found([] { return block(reverse<false>, 64, 0, 64); }, back);
  found([] { return block(rotate<false>, 96, 96 * 4, 96); }, turned(96, 0));
  for (int l = 0; l < 32; ++l) pairs.push_back(float(l ^ 1));
  always([] { return block(exchange_in_warp<true>, 32, 0, 32); }, pairs);
  found([] { return block(exchange_in_warp<false>, 32, 0, 32); }, pairs);
}

TEST_CASE("simt: what can't go on is an error, and the next launch runs") {
  const auto error = [](void (*kernel)(float*), int threads) {
    return error_of([&] { block(kernel, threads, 0, 64); });
  };
  in_all_schedules([&] {
    CHECK(error(divergent_barrier, 64) ==
          "kernel divergent_barrier, block (0, 0, 0): 40 threads at __syncthreads, 24 exited");
    CHECK(holds(error(divergent_warp, 64), "reached by 1 of 32 lanes of its mask, warp"));
    CHECK(holds(error(shuffle_outside, 32), "shuffle reads lane 20, which the mask leaves out"));
    CHECK(holds(error(shuffle_uninvited, 32), "which its mask leaves out"));
    CHECK(holds(error(shuffle_ragged, 40), "reached by 8 of 32 lanes of its mask, warp 1"));
    return block(reverse<true>, 64, 0, 64);
  });
  Floats y(96);
  Stream s;
  const std::string text = error_of([&] { launch(s, throws_at, 3, 32, 0, y.data(), 2u, 9u); });
  CHECK(text == "kernel throws_at, block (2, 0, 0), thread (9, 0, 0): sorry");
}

TEST_CASE("simt: shared memory is NaN until written, in every block and thread") {
  const auto run = [] {
    for (int launches = 0; launches < 2; ++launches) {
      const Floats y = block(unwritten, 64, 32, 2);
      CHECK(std::isnan(y[0]));
      CHECK(std::isnan(y[1]));
    }
  };
  CHECK(simt::static_shared_variables() >= 4);
  run();
  std::thread(run).join();
}

TEST_CASE("simt: a write past the end of dynamic shared memory is found", BOUNDS) {
  CHECK(holds(error_of([] { block(write_past, 32, 64, 1, 64 + 5); }), "wrote 5 bytes past the end of dynamic"));
  CHECK(error_of([] { block(write_past, 32, 64, 1, 63); }) == "no error");
}

TEST_CASE("simt: a misaligned access is found") {
  alignas(16) const float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(block(misaligned, 1, 0, 1, x + 4) == Floats{5});
  CHECK(holds(error_of([&] { block(misaligned, 1, 0, 1, x + 1); }), "access of 16 bytes, not aligned"));
}

TEST_CASE("simt: sums and maxima over warp and block") {
  Floats x = ramp(128), wanted(384, 128 * 129 / 2);
  for (size_t i = 0; i < 128; ++i) wanted[128 + i] = 128, wanted[256 + i] = float(64 * (i / 8) + 36);
  always([&] { return block(reductions, 128, 0, 384, x.data()); }, wanted);
  for (const size_t at : {size_t(0), size_t(77), size_t(127)}) {
    x = ramp(128), x[at] = kNaN;
    for (const Floats& y : in_all_schedules([&] { return block(reductions, 128, 0, 384, x.data()); }))
      for (size_t i = 0; i < 256; ++i) CHECK(std::isnan(y[i]));
  }
}

TEST_CASE("simt: warp functions") {
  for (const Floats& y : in_all_schedules([] { return block(warp_functions, 32, 0, 256); }))
    for (int l = 0; l < 32; ++l) {
      const float* out = y.data() + 8 * l;
      CHECK(out[0] == float(l / 8 * 8 + 3));
      CHECK(out[1] == float(l ^ 16));
      CHECK(out[2] == float(l % 16 ? l - 1 : l));
      CHECK(out[3] == float(l < 28 ? l + 4 : l));
      CHECK(out[4] == 5);
      CHECK(out[5] == 1);
      CHECK(out[6] == (l < 4 ? 1 : 28));
      CHECK(std::isnan(out[7]));
    }
}

TEST_CASE("simt: asynchronous copies land when they are waited for") {
  alignas(16) float x[256];
  Floats wanted;
  for (int i = 0; i < 256; ++i) x[i] = float(i);
  for (int i = 0; i < 256; ++i) wanted.push_back(i < 248 ? float(i ^ 4) : 0);
  const float* from = x;
  always([&] { return block(async_copies<0, true>, 32, 1024, 256, from); }, wanted);
  for (const Floats& y : in_all_schedules([&] { return block(async_copies<1, true>, 32, 1024, 256, from); }))
    for (size_t i = 0; i < 256; ++i) CHECK((i < 128 ? y[i] == wanted[i] : std::isnan(y[i])));
  const std::string error = error_of([&] { block(async_copies<1, false>, 32, 1024, 256, from); });
  CHECK(holds(error, "ended with an asynchronous copy that it did not wait for"));
}

TEST_CASE("simt: a graph replays its kernels with the arguments of the capture") {
  Stream s;
  queue_create(s);
  Floats y(64, -1.0f);
  capture_begin(s);
  CHECK(capturing(s));
  launch(s, reverse<true>, 1, 64, 0, y.data());
  void* graph = capture_end(s);
  CHECK(!capturing(s));
  CHECK(y == Floats(64, -1.0f));
  for (int replay = 0; replay < 2; ++replay) {
    y.assign(64, -1.0f);
    graph_launch(s, graph);
    CHECK(y[0] == 63);
  }
  graph_destroy(graph);
  queue_destroy(s);
}

TEST_CASE("simt: the kernels that ran are known by name") {
  block(reverse<true>, 64, 0, 64);
  const std::string names = std::string("\n") + selene_simt_kernels_run();
  CHECK(holds(names, "\nreverse<true>\n"));
}

}  // namespace selene::cuda
