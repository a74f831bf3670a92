// Activations with dropout after them. A piece is widened to Acc<T>, mapped by a vectorised loop of that function
// alone, and then dropped and rounded, so that the number of loops is functions + types, not functions x types.
#include "kernels/activation.h"

#include <fmt/format.h>

#include <type_traits>

#include "kernels/cpu/row.h"
#include "kernels/cpu/vecmath.h"
#include "kernels/error.h"
#include "kernels/matmul.h"

namespace selene {
namespace {

using namespace cpu;

// Each function: y = f(x), d = f'(x). An unused result costs nothing: the call is always inlined.
struct Identity {
  template <class A>
  static SELENE_INLINE void at(A x, A, A& y, A& d) {
    y = x, d = A(1);
  }
};
struct Relu {  // NaN passes
  template <class A>
  static SELENE_INLINE void at(A x, A, A& y, A& d) {
    y = x <= A(0) ? A(0) : x, d = x > A(0) ? A(1) : A(0);
  }
};
struct Gelu {
  template <class A>
  static SELENE_INLINE void at(A x, A, A& y, A& d) {
    A cdf, pdf;
    normal_cdf_pdf(x, cdf, pdf);
    y = x * cdf, d = fmadd(x, pdf, cdf);
  }
};
struct GeluTanh {  // x/2 (1 + tanh u), u = sqrt(2 / pi) (x + 0.044715 x^3)
  template <class A>
  static SELENE_INLINE void at(A x, A, A& y, A& d) {
    const A k = A(0.79788456080286535588), cubic = A(0.044715), x2 = x * x;
    const A t = tanh_fast(k * x * fmadd(cubic, x2, A(1)));
    y = A(0.5) * x * (A(1) + t);
    d = A(0.5) * (A(1) + t) + A(0.5) * x * (A(1) - t * t) * k * fmadd(A(3) * cubic, x2, A(1));
  }
};
struct Silu {
  template <class A>
  static SELENE_INLINE void at(A x, A, A& y, A& d) {
    const A s = sigmoid(x);
    y = x * s, d = s * fmadd(x, A(1) - s, A(1));
  }
};
struct Sigmoid {
  template <class A>
  static SELENE_INLINE void at(A x, A, A& y, A& d) {
    y = sigmoid(x), d = y * (A(1) - y);
  }
};
struct Tanh {
  template <class A>
  static SELENE_INLINE void at(A x, A, A& y, A& d) {
    y = tanh_fast(x), d = A(1) - y * y;
  }
};
struct Elu {
  template <class A>
  static SELENE_INLINE void at(A x, A, A& y, A& d) {
    const A below = expm1_negative(x > A(0) ? A(0) : x);
    y = x > A(0) ? x : below, d = x > A(0) ? A(1) : below + A(1);
  }
};
struct EluPlusOne {  // e^x below 0, x + 1 above
  template <class A>
  static SELENE_INLINE void at(A x, A, A& y, A& d) {
    const A below = exp_fast(x > A(0) ? A(0) : x);
    y = x > A(0) ? x + A(1) : below, d = x > A(0) ? A(1) : below;
  }
};
struct Softplus {  // the threshold is torch's
  template <class A>
  static SELENE_INLINE void at(A x, A beta, A& y, A& d) {
    const A z = beta * x, soft = log1p_positive(exp_fast(z > A(20) ? A(20) : z)) / beta;
    y = z > A(20) ? x : soft, d = z > A(20) ? A(1) : sigmoid(z);
  }
};

template <class F, class A>
SELENE_CLONES void map_values(const A* x, A* y, int64_t n, A beta) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    A value, slope;
    F::at(x[i], beta, value, slope);
    y[i] = value;
  }
}
/// d <- d f'(x), y = f(x).
template <class F, class A>
SELENE_CLONES void map_slopes(const A* x, A* d, A* y, int64_t n, A beta) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    A value, slope;
    F::at(x[i], beta, value, slope);
    d[i] *= slope, y[i] = value;
  }
}

template <class A>
struct Maps {
  void (*values)(const A*, A*, int64_t, A);
  void (*slopes)(const A*, A*, A*, int64_t, A);
};
template <class A>
Maps<A> maps_of(Activation f) {
  switch (f) {
    case Activation::identity:
      return {map_values<Identity, A>, map_slopes<Identity, A>};
    case Activation::relu:
      return {map_values<Relu, A>, map_slopes<Relu, A>};
    case Activation::gelu:
      return {map_values<Gelu, A>, map_slopes<Gelu, A>};
    case Activation::gelu_tanh:
      return {map_values<GeluTanh, A>, map_slopes<GeluTanh, A>};
    case Activation::silu:
      return {map_values<Silu, A>, map_slopes<Silu, A>};
    case Activation::sigmoid:
      return {map_values<Sigmoid, A>, map_slopes<Sigmoid, A>};
    case Activation::tanh:
      return {map_values<Tanh, A>, map_slopes<Tanh, A>};
    case Activation::elu:
      return {map_values<Elu, A>, map_slopes<Elu, A>};
    case Activation::elu_plus_one:
      return {map_values<EluPlusOne, A>, map_slopes<EluPlusOne, A>};
    case Activation::softplus:
      return {map_values<Softplus, A>, map_slopes<Softplus, A>};
  }
  throw Error(fmt::format("activation: function number {} is unknown, wanted 0 (identity) to 9 (softplus)", int(f)));
}

template <class T>
SELENE_CLONES void widen(const T* x, Acc<T>* out, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = up(x[i]);
}
/// x itself where it is wide already, else `buffer`.
template <class T>
const Acc<T>* widened(const T* x, Acc<T>* buffer, int64_t n) {
  if constexpr (std::is_same_v<T, Acc<T>>) return x;
  else return widen(x, buffer, n), buffer;
}
/// y = x times the dropout factors; bits null: y = x.
template <class T>
SELENE_CLONES void drop_and_round(const Acc<T>* x, const uint16_t* bits, uint32_t threshold, T* y, int64_t n) {
  if (bits == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = down<T>(x[i]);
    return;
  }
  const Acc<T> scale = dropout_scale(threshold);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = down<T>(x[i] * dropout_factor(bits[i], threshold, scale));
}
template <class T>
SELENE_CLONES void widen_dropped(const T* x, const uint16_t* bits, uint32_t threshold, Acc<T>* out, int64_t n) {
  if (bits == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = up(x[i]);
    return;
  }
  const Acc<T> scale = dropout_scale(threshold);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = up(x[i]) * dropout_factor(bits[i], threshold, scale);
}

}  // namespace

template <class T>
void cpu::run(Stream&, const ActivationFwd<T>& a) {
  const Maps<Acc<T>> maps = maps_of<Acc<T>>(a.f);
  const bool drop = dropout_on(a.drop);
  parallel_pieces(
      a.R, a.C, drop ? a.rows : a.R,
      [&](int64_t begin, int64_t n, int64_t b, int64_t e) {
        Acc<T> buffer[kPiece];
        uint16_t scratch[kPiece + 16];
        const uint16_t* bits = drop ? dropout_row(a.drop, b, e, n, scratch) : nullptr;
        const Acc<T>* x = widened(a.x + begin, buffer, n);
        if constexpr (std::is_same_v<T, Acc<T>>) {
          if (!drop) return maps.values(x, a.y + begin, n, a.beta);
        }
        maps.values(x, buffer, n, a.beta);
        drop_and_round(buffer, bits, a.drop.threshold, a.y + begin, n);
      },
      drop ? a.first_row : 0);
}

namespace {
template <class T>
ColumnSum<T> sums_of(const ActivationBwd<T>& a) {
  return {a.dx, a.dx_sum, a.R, a.C, a.workspace};
}
}  // namespace

template <class T>
int64_t cpu::workspace(const ActivationBwd<T>& a) {
  return a.sums_dx ? workspace(sums_of(a)) : 0;
}

template <class T>
void cpu::run(Stream& s, const ActivationBwd<T>& a) {
  const Maps<Acc<T>> maps = maps_of<Acc<T>>(a.f);
  const bool drop = dropout_on(a.drop);
  parallel_pieces(
      a.R, a.C, drop ? a.rows : a.R,
      [&](int64_t begin, int64_t n, int64_t b, int64_t e) {
        Acc<T> y[kPiece], buffer[kPiece], *d = buffer;
        uint16_t scratch[kPiece + 16];
        const uint16_t* bits = drop ? dropout_row(a.drop, b, e, n, scratch) : nullptr;
        if constexpr (std::is_same_v<T, Acc<T>>) d = a.dx + begin;
        const Acc<T>* x = widened(a.x + begin, y, n);
        widen_dropped(a.dy + begin, bits, a.drop.threshold, d, n);
        maps.slopes(x, d, y, n, a.beta);
        if constexpr (!std::is_same_v<T, Acc<T>>) drop_and_round<T>(d, nullptr, 65536, a.dx + begin, n);
        if (a.y != nullptr) drop_and_round(y, bits, a.drop.threshold, a.y + begin, n);
      },
      drop ? a.first_row : 0);
  if (a.sums_dx) run(s, sums_of(a));
}

INSTANTIATE_CPU(ActivationFwd)
INSTANTIATE_CPU(ActivationBwd)
INSTANTIATE_CPU_WORKSPACE(ActivationBwd)

}  // namespace selene
