// The shim's tensor-core twins against plain matrix products, through the same functions that kernels call.
#include <cmath>

#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/wmma.cuh"
#include "kernels/philox.h"
#include "kernels/simt/runtime.h"
#include "tests/support/catch.h"

namespace selene::cuda {
namespace {

/// Small integers over 8: products and sums are exact in every type.
template <class T>
std::vector<T> numbers(size_t n, uint64_t stream) {
  PhiloxStream random(1, stream);
  std::vector<T> x(n);
  for (T& v : x) v = down<T>(float(int(random.bits() % 33) - 16) / 8.0f);
  return x;
}

/// d = c + a b; a [16, 16], b [16, 8] both row-major: the register layout written out element by element.
template <class T>
__global__ void by_registers(float* d, const T* a, const T* b, const float* c) {
  const int g = int(threadIdx.x) / 4, t = int(threadIdx.x) % 4;
  const auto pair = [](T low, T high) { return pack_pair<T>(up(low), up(high)); };
  uint32_t x[4], y[2];
  float sum[4];
  for (int r = 0; r < 4; ++r) {
    const T* p = a + (g + r % 2 * 8) * 16 + 2 * t + r / 2 * 8;
    x[r] = pair(p[0], p[1]);
    sum[r] = c[(g + r / 2 * 8) * 8 + 2 * t + r % 2];
  }
  for (int r = 0; r < 2; ++r) y[r] = pair(b[(2 * t + 8 * r) * 8 + g], b[(2 * t + 8 * r + 1) * 8 + g]);
  mma_16816<T>(sum, x, y);
  for (int r = 0; r < 4; ++r) d[(g + r / 2 * 8) * 8 + 2 * t + r % 2] = sum[r];
}

/// The same product, both operands through shared memory and ldmatrix: B [16, 8] row-major needs the transposed form.
template <class T>
__global__ void by_ldmatrix(float* d, const T* a, const T* b, const float* c) {
  T *x = reinterpret_cast<T*>(dynamic_shared), *y = x + 256;  // [16, 16], [16, 8]
  const int l = int(threadIdx.x);
  for (int i = l; i < 256; i += 32) x[i] = a[i];
  for (int i = l; i < 128; i += 32) y[i] = b[i];
  __syncwarp();
  uint32_t ra[4], rb[4];
  ldmatrix_x4(ra, x + l % 16 * 16 + l / 16 * 8);
  ldmatrix_x4_trans(rb, y + l % 16 * 8);
  float sum[4];
  for (int r = 0; r < 4; ++r) sum[r] = c[(l / 4 + r / 2 * 8) * 8 + l % 4 * 2 + r % 2];
  mma_16816<T>(sum, ra, {rb[0], rb[1]});
  for (int r = 0; r < 4; ++r) d[(l / 4 + r / 2 * 8) * 8 + l % 4 * 2 + r % 2] = sum[r];
}

/// d = 2 (a b) + c on 16 x 16 tiles; A and B as they lie in memory.
template <Major MA, Major MB>
__global__ void by_wmma(float* d, const f16* a, const f16* b, const float* c) {
  auto* shared = reinterpret_cast<float*>(dynamic_shared);
  for (int i = int(threadIdx.x); i < 256; i += 32) shared[i] = c[i];
  __syncwarp();
  WmmaA<MA> x;
  WmmaB<MB> y;
  WmmaAcc sum, start;
  wmma_load_a(x, a, 16), wmma_load_b(y, b, 16);
  wmma_load_acc(start, shared, 16);
  wmma_fill(sum, 0);
  wmma_mma(sum, x, y);
  for (int e = 0; e < 8; ++e) sum.x[e] = 2 * sum.x[e] + start.x[e];
  __syncwarp();
  wmma_store_acc(shared, sum, 16);
  __syncwarp();
  for (int i = int(threadIdx.x); i < 256; i += 32) d[i] = shared[i];
}

template <class T>
void check_mma() {
  const auto a = numbers<T>(256, 1), b = numbers<T>(128, 2);
  const auto c = numbers<float>(128, 3);
  std::vector<float> wanted = c, registers(128), loaded(128);
  for (size_t m = 0; m < 16; ++m)
    for (size_t n = 0; n < 8; ++n)
      for (size_t k = 0; k < 16; ++k) wanted[m * 8 + n] += up(a[m * 16 + k]) * up(b[k * 8 + n]);
  Stream s;
  launch(s, by_registers<T>, 1, 32, 0, registers.data(), a.data(), b.data(), c.data());
  launch(s, by_ldmatrix<T>, 1, 32, 384 * 2, loaded.data(), a.data(), b.data(), c.data());
  CHECK(registers == wanted);
  CHECK(loaded == wanted);
}

template <Major MA, Major MB>
void check_wmma() {
  const auto a = numbers<f16>(256, 4), b = numbers<f16>(256, 5);
  const auto c = numbers<float>(256, 6);
  std::vector<float> wanted = c, d(256);
  for (size_t m = 0; m < 16; ++m)
    for (size_t n = 0; n < 16; ++n)
      for (size_t k = 0; k < 16; ++k)
        wanted[m * 16 + n] +=
            2 * up(a[MA == Major::row ? m * 16 + k : k * 16 + m]) * up(b[MB == Major::row ? k * 16 + n : n * 16 + k]);
  Stream s;
  alignas(32) f16 at[256], bt[256];
  std::copy(a.begin(), a.end(), at), std::copy(b.begin(), b.end(), bt);
  const f16 *pa = at, *pb = bt;
  launch(s, by_wmma<MA, MB>, 1, 32, 1024, d.data(), pa, pb, c.data());
  CHECK(d == wanted);
}

template <class F>
void in_all_schedules(F f) {
  for (auto s : {simt::Schedule::descending, simt::Schedule::shuffled, simt::Schedule::ascending}) {
    simt::set_schedule(s);
    f();
  }
}

}  // namespace

TEST_CASE("simt: mma.m16n8k16 and ldmatrix against a plain product") {
  in_all_schedules(check_mma<f16>);
  in_all_schedules(check_mma<bf16>);
}

TEST_CASE("simt: wmma tiles against a plain product, in all layouts") {
  in_all_schedules(check_wmma<Major::row, Major::row>);
  in_all_schedules(check_wmma<Major::row, Major::column>);
  in_all_schedules(check_wmma<Major::column, Major::row>);
  in_all_schedules(check_wmma<Major::column, Major::column>);
}

TEST_CASE("simt: pairs, powers of two") {
  CHECK(pack_pair<f16>(1.0f, -2.0f) == 0xc0003c00u);
  CHECK(pack_pair<bf16>(1.0f, -2.0f) == 0xc0003f80u);
  CHECK(exp2_fast(-3.0f) == 0.125f);
  CHECK(exp2_fast(-INFINITY) == 0.0f);
  CHECK(std::isnan(exp2_fast(NAN)));
}

}  // namespace selene::cuda
