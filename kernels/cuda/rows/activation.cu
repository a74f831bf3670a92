// Activations with dropout after them, one pass each way. Formulas: Hendrycks & Gimpel 2016 (GELU), Clevert et
// al. 2016 (ELU), Ramachandran et al. 2017 (SiLU); slopes: docs/math.md, "Activations". The function is chosen at
// run time, by all threads alike: eight elements a switch.
#include "kernels/activation.h"

#include "kernels/cuda/rows/columns.cuh"
#include "kernels/cuda/rows/dropout_row.cuh"
#include "kernels/matmul.h"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kStrip = 256;  // columns of a block that sums them
constexpr int kDeep = 2;         // eights of a thread in the forward pass: enough reads under way

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// Phi(x) and phi(x) of the standard normal distribution from one exponential. fp32: absolute error of Phi 1e-7; the
/// polynomial is Mills' ratio, as the CPU has it (kernels/cpu/vecmath.h, normal_tail_ratio). 16 bits: the same ratio
/// over r = 1 / (1 + 0.36 |x|) as a minimax polynomial for |x| <= 6, relative error 9e-6 there and 0.6 % beyond,
/// where Phi(-|x|) is below 1e-9.
template <class T>
__device__ inline void normal_cdf_pdf(float x, float& cdf, float& pdf) {
  const float e = exp2_fast(-0.721347520f * x * x);
  float tail;
  if constexpr (sizeof(T) == 2) {
    const float r = reciprocal_fast(fmaf(0.36f, fabsf(x), 1.0f));
    float p = fmaf(r, -0.0965839036f, 0.247677417f);
    p = fmaf(fmaf(p, r, 0.0440218538f), r, 0.163070666f);
    tail = e * r * fmaf(p, r, 0.141809664f);
  } else {
    const float a = fminf(fabsf(x), 1e18f), u = a * reciprocal_fast(fmaf(0.2f, a, 1.0f));
    float p = fmaf(u, 7.02033576e-05f, -0.00117188192f);
    p = fmaf(fmaf(p, u, 0.00953667797f), u, -0.0489451103f);
    p = fmaf(fmaf(p, u, 0.170212790f), u, -0.398942351f);
    tail = e * fmaf(p, u, 0.5f);
  }
  cdf = x < 0.0f ? tail : 1.0f - tail, pdf = 0.398942280f * e;
}

// Each function: y = f(x), d = f'(x). An unused result costs nothing: the call is always inlined.
struct Identity {
  static __device__ void at(float x, float, float& y, float& d) { y = x, d = 1.0f; }
};
struct Relu {  // NaN passes
  static __device__ void at(float x, float, float& y, float& d) {
    y = x <= 0.0f ? 0.0f : x, d = x > 0.0f ? 1.0f : 0.0f;
  }
};
template <class T>
struct Gelu {
  static __device__ void at(float x, float, float& y, float& d) {
    float cdf, pdf;
    normal_cdf_pdf<T>(x, cdf, pdf);
    y = x * cdf, d = fmaf(x, pdf, cdf);
  }
};
struct GeluTanh {  // x/2 (1 + tanh u), u = sqrt(2 / pi) (x + 0.044715 x^3)
  static __device__ void at(float x, float, float& y, float& d) {
    const float k = 0.797884561f, cubic = 0.044715f, x2 = x * x, t = tanhf(k * x * fmaf(cubic, x2, 1.0f));
    y = 0.5f * x * (1.0f + t);
    d = 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * k * fmaf(3.0f * cubic, x2, 1.0f);
  }
};
struct Silu {
  static __device__ void at(float x, float, float& y, float& d) {
    const float s = sigmoid(x);
    y = x * s, d = s * fmaf(x, 1.0f - s, 1.0f);
  }
};
struct Sigmoid {
  static __device__ void at(float x, float, float& y, float& d) { y = sigmoid(x), d = y * (1.0f - y); }
};
struct Tanh {
  static __device__ void at(float x, float, float& y, float& d) { y = tanhf(x), d = 1.0f - y * y; }
};
struct Elu {
  static __device__ void at(float x, float, float& y, float& d) {
    const float below = expm1f(x > 0.0f ? 0.0f : x);
    y = x > 0.0f ? x : below, d = x > 0.0f ? 1.0f : below + 1.0f;
  }
};
struct EluPlusOne {  // e^x below 0, x + 1 above
  static __device__ void at(float x, float, float& y, float& d) {
    const float below = expf(x > 0.0f ? 0.0f : x);
    y = x > 0.0f ? x + 1.0f : below, d = x > 0.0f ? 1.0f : below;
  }
};
struct Softplus {  // the threshold is torch's
  static __device__ void at(float x, float beta, float& y, float& d) {
    const float z = beta * x, soft = log1pf(expf(z > 20.0f ? 20.0f : z)) / beta;
    y = z > 20.0f ? x : soft, d = z > 20.0f ? 1.0f : sigmoid(z);
  }
};

template <class F, int N>
__device__ inline void each(float beta, const Eight (&x)[N], Eight (&y)[N], Eight (&d)[N]) {
#pragma unroll
  for (int k = 0; k < N; ++k) {
#pragma unroll
    for (int j = 0; j < 8; ++j) F::at(x[k].v[j], beta, y[k].v[j], d[k].v[j]);
  }
}
/// y = f(x), d = f'(x). T: the type of x in memory.
template <class T, int N>
__device__ inline void map_eights(Activation f, float beta, const Eight (&x)[N], Eight (&y)[N], Eight (&d)[N]) {
  switch (f) {
    case Activation::identity:
      return each<Identity>(beta, x, y, d);
    case Activation::relu:
      return each<Relu>(beta, x, y, d);
    case Activation::gelu:
      return each<Gelu<T>>(beta, x, y, d);
    case Activation::gelu_tanh:
      return each<GeluTanh>(beta, x, y, d);
    case Activation::silu:
      return each<Silu>(beta, x, y, d);
    case Activation::sigmoid:
      return each<Sigmoid>(beta, x, y, d);
    case Activation::tanh:
      return each<Tanh>(beta, x, y, d);
    case Activation::elu:
      return each<Elu>(beta, x, y, d);
    case Activation::elu_plus_one:
      return each<EluPlusOne>(beta, x, y, d);
    case Activation::softplus:
      return each<Softplus>(beta, x, y, d);
  }
}

template <class T, bool Fast>
__global__ __launch_bounds__(kThreads) void activation_eights(ActivationFwd<T> a, DropoutEights drop) {
  const EightIndex<Fast> first = blockIdx.x * EightIndex<Fast>(kThreads * kDeep) + threadIdx.x;  // kDeep a thread
  const int64_t total = a.R * a.C;
  Eight x[kDeep], y[kDeep], unused[kDeep];
#pragma unroll
  for (int k = 0; k < kDeep; ++k) {
    const EightIndex<Fast> e = first + k * kThreads;
    x[k] = load_eight<Fast>(a.x + int64_t(e) * 8, elements_of<Fast>(total, e));
  }
  map_eights<T>(a.f, a.beta, x, y, unused);
#pragma unroll
  for (int k = 0; k < kDeep; ++k) {
    const EightIndex<Fast> e = first + k * kThreads;
    multiply(y[k], dropout_factors<Fast>(a.drop, drop, e, a.rows * a.C, a.first_row * a.C));
    store_eight<Fast>(a.y + int64_t(e) * 8, y[k], elements_of<Fast>(total, e));
  }
}

/// Eight e of dx, which is returned as stored, and of y where that is wanted; n of its elements are there.
template <bool Fast, class T>
__device__ inline Pack<T, 8> gradient_eight(const ActivationBwd<T>& a, const DropoutEights& drop, EightIndex<Fast> e,
                                            int n) {
  const int64_t i = int64_t(e) * 8;
  const Eight x[1] = {load_eight<Fast>(a.x + i, n)};
  Eight dx = load_eight<Fast>(a.dy + i, n), y[1], slope[1];
  const Eight factor = dropout_factors<Fast>(a.drop, drop, e, a.rows * a.C, a.first_row * a.C);
  map_eights<T>(a.f, a.beta, x, y, slope);
  multiply(dx, factor), multiply(dx, slope[0]);
  const Pack<T, 8> stored = narrow<T>(dx);
  store_packed<Fast>(a.dx + i, stored, n);
  if (a.y != nullptr) multiply(y[0], factor), store_eight<Fast>(a.y + i, y[0], n);
  return stored;
}
template <class T, bool Fast>
__global__ __launch_bounds__(kThreads) void activation_gradient_eights(ActivationBwd<T> a, DropoutEights drop) {
  const EightIndex<Fast> e = blockIdx.x * EightIndex<Fast>(kThreads) + threadIdx.x;  // one a thread
  gradient_eight<Fast>(a, drop, e, elements_of<Fast>(a.R * a.C, e));
}
/// Grid: blocks of `rows` rows x strips of 256 columns, whose sums go to the workspace. Warp w takes rows w, w + 8,
/// ...; the warps are added in order.
template <class T>
__global__ __launch_bounds__(kThreads) void activation_gradient_columns(ActivationBwd<T> a, DropoutEights drop,
                                                                        uint32_t rows, uint32_t strips) {
  __shared__ float buf[kThreads * 8];
  const Lanes at = split_block<kThreads>(5);
  const uint32_t block = blockIdx.x / strips, strip = blockIdx.x % strips, eights = uint32_t(a.C / 8);
  const uint32_t end = min(uint32_t(a.R), (block + 1) * rows), eight = strip * 32 + uint32_t(at.lane);
  Eight sum = {};
  if (eight < eights)
    for (uint32_t r = block * rows + uint32_t(at.group); r < end; r += uint32_t(at.groups)) {
      const Eight dx = widen(gradient_eight<true>(a, drop, r * eights + eight, 8));
#pragma unroll
      for (int j = 0; j < 8; ++j) sum.v[j] += dx.v[j];
    }
  const float total = sum_groups<8>(sum.v, at, buf);
  const int64_t c = strip * kStrip + threadIdx.x;
  if (c < a.C) a.workspace[block * a.C + c] = total;
}

void check_function(Activation f) {
  if (int(f) < 0 || int(f) > int(Activation::softplus))
    throw Error("activation: function number " + std::to_string(int(f)) +
                " is unknown, wanted 0 (identity) to 9 (softplus)");
}
template <class A>
DropoutEights eights_of(const A& a) {
  return DropoutEights(a.drop, a.rows * a.C / 8, a.first_row * a.C / 8);
}
template <class T>
ColumnSum<T> sums_of(const ActivationBwd<T>& a) {
  return {a.dx, a.dx_sum, a.R, a.C, a.workspace};
}

}  // namespace

template <class T>
void run(Stream& s, const ActivationFwd<T>& a) {
  check_function(a.f);
  constexpr int64_t tile = kThreads * kDeep * 8;
  const bool fast = whole_eights(a, aligned16(a.x) && aligned16(a.y), a.first_row * a.C);
  const auto kernel = fast ? activation_eights<T, true> : activation_eights<T, false>;
  launch(s, kernel, ceil_div(a.R * a.C, tile), kThreads, 0, a, eights_of(a));
}
template <class T>
void run(Stream& s, const ActivationBwd<T>& a) {
  check_function(a.f);
  constexpr int64_t tile = kThreads * 8;
  const bool fast =
      whole_eights(a, aligned16(a.x) && aligned16(a.dy) && aligned16(a.dx) && aligned16(a.y), a.first_row * a.C);
  if (a.sums_dx && fast && a.C % 8 == 0 && a.R > 0) {
    const int64_t strips = ceil_div(a.C, kStrip), rows = rows_of_column_block(a.R, strips);
    launch(s, activation_gradient_columns<T>, ceil_div(a.R, rows) * strips, kThreads, 0, a, eights_of(a),
           uint32_t(rows), uint32_t(strips));
    return add_block_sums(s, a.workspace, ceil_div(a.R, rows), a.C, {a.dx_sum, nullptr, a.C});
  }
  const auto kernel = fast ? activation_gradient_eights<T, true> : activation_gradient_eights<T, false>;
  launch(s, kernel, ceil_div(a.R * a.C, tile), kThreads, 0, a, eights_of(a));
  if (a.sums_dx) run(s, sums_of(a));
}
template <class T>
int64_t workspace(const ActivationBwd<T>& a) {
  if (!a.sums_dx) return 0;
  const int64_t blocks = ceil_div(a.R, rows_of_column_block(a.R, ceil_div(a.C, kStrip)));
  const int64_t own = blocks * a.C * int64_t(sizeof(float)), other = workspace(sums_of(a));
  return own > other ? own : other;
}

INSTANTIATE_DEVICE(ActivationFwd)
INSTANTIATE_DEVICE(ActivationBwd)
INSTANTIATE_DEVICE_WORKSPACE(ActivationBwd)

}  // namespace selene::cuda
