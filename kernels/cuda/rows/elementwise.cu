// Sums and products, conversions between element types, fills: a thread takes 16 bytes.
#include "kernels/elementwise.h"

#include <string>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/rows/rows.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline float combine(Binary op, float a, float b) {
  return op == Binary::add ? a + b : op == Binary::subtract ? a - b : a * b;
}

/// Elements [i, i + N) of all; single elements at the end. y may be a or b.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) combine_flat(Elementwise<T> a) {
  const int64_t i = (blockIdx.x * int64_t(kThreads) + threadIdx.x) * N;
  if (i + N <= a.n) {
    Pack<T, N> x = load_pack<N>(a.a + i), z = {};
    if (a.b != nullptr) z = load_pack<N>(a.b + i);
    for (int j = 0; j < N; ++j)
      x.v[j] = down<T>(a.alpha * (a.b != nullptr ? combine(a.op, up(x.v[j]), up(z.v[j])) : up(x.v[j])));
    store_pack(a.y + i, x);
    return;
  }
  for (int64_t j = i; j < a.n; ++j)
    a.y[j] = down<T>(a.alpha * (a.b != nullptr ? combine(a.op, up(a.a[j]), up(a.b[j])) : up(a.a[j])));
}

template <class T, class To, int N>
__global__ void __launch_bounds__(kThreads) cast_flat(const T* x, To* y, int64_t n) {
  const int64_t i = (blockIdx.x * int64_t(kThreads) + threadIdx.x) * N;
  if (i + N <= n) {
    const Pack<T, N> from = load_pack<N>(x + i);
    Pack<To, N> to;
    for (int j = 0; j < N; ++j) to.v[j] = down<To>(up(from.v[j]));
    store_pack(y + i, to);
    return;
  }
  for (int64_t j = i; j < n; ++j) y[j] = down<To>(up(x[j]));
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) fill_flat(Fill<T> a) {
  const int64_t i = (blockIdx.x * int64_t(kThreads) + threadIdx.x) * N;
  const T value = down<T>(a.value);
  if (i + N <= a.n) {
    Pack<T, N> y;
    for (int j = 0; j < N; ++j) y.v[j] = value;
    store_pack(a.y + i, y);
    return;
  }
  for (int64_t j = i; j < a.n; ++j) a.y[j] = value;
}

template <class T, class To>
void cast_to(Stream& s, const Cast<T>& a) {
  constexpr int N = sizeof(T) == 4 && sizeof(To) == 4 ? 4 : 8;
  To* y = static_cast<To*>(a.y);
  if (aligned16(a.x) && aligned16(y))
    launch(s, cast_flat<T, To, N>, ceil_div(a.n, kThreads * N), kThreads, 0, a.x, y, a.n);
  else launch(s, cast_flat<T, To, 1>, ceil_div(a.n, kThreads), kThreads, 0, a.x, y, a.n);
}

}  // namespace

template <class T>
void run(Stream& s, const Elementwise<T>& a) {
  constexpr int N = kPack<T>;
  if (whole_packs<T>(0, {a.a, a.b, a.y})) launch(s, combine_flat<T, N>, ceil_div(a.n, kThreads * N), kThreads, 0, a);
  else launch(s, combine_flat<T, 1>, ceil_div(a.n, kThreads), kThreads, 0, a);
}
template <class T>
void run(Stream& s, const Cast<T>& a) {
  if (a.to == DType::f32) return cast_to<T, float>(s, a);
  if (a.to == DType::bf16) return cast_to<T, bf16>(s, a);
  if (a.to == DType::f16) return cast_to<T, f16>(s, a);
  throw Error(std::string("cast: to type ") + name_of(a.to) + ", a device has f32, bf16 and f16");
}
template <class T>
void run(Stream& s, const Fill<T>& a) {
  constexpr int N = kPack<T>;
  if (aligned16(a.y)) launch(s, fill_flat<T, N>, ceil_div(a.n, kThreads * N), kThreads, 0, a);
  else launch(s, fill_flat<T, 1>, ceil_div(a.n, kThreads), kThreads, 0, a);
}

INSTANTIATE_DEVICE(Elementwise)
INSTANTIATE_DEVICE(Cast)
INSTANTIATE_DEVICE(Fill)
INSTANTIATE_DEVICE_DOUBLE(Fill)

}  // namespace selene::cuda
