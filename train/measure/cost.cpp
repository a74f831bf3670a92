#include "train/measure/cost.h"

#include "autograd/with_dtype.h"
#include "kernels/operations.h"

namespace selene::train {
namespace {

// Elements of type T, fp32 numbers, bytes.
template <class T>
double elements(int64_t n) {
  return double(n) * double(sizeof(T));
}

template <class T>
Cost cost(const Matmul<T>& a) {
  const double batch = double(a.outer * a.inner), c = double(a.c_is_acc ? sizeof(Acc<T>) : sizeof(T));
  const double in = elements<T>(a.M * a.K + a.K * a.N), out = double(a.M * a.N) * c * (a.accumulate ? 2 : 1);
  const double aux = a.epilogue == Epilogue::none ? 0 : elements<T>(a.M * a.N);
  return {batch * (in + out + aux), 2 * batch * double(a.M) * double(a.N) * double(a.K)};
}
template <class T>
Cost cost(const ColumnSum<T>& a) {
  return {elements<T>(a.R * a.C), 0};
}
template <class T>
Cost cost(const ActivationFwd<T>& a) {
  return {elements<T>(2 * a.R * a.C), 0};
}
template <class T>
Cost cost(const ActivationBwd<T>& a) {
  return {elements<T>((a.y ? 4 : 3) * a.R * a.C), 0};
}
template <class T>
Cost cost(const Dropout<T>& a) {
  return {elements<T>((a.residual ? 3 : 2) * a.R * a.C), 0};
}
template <class T>
Cost cost(const LayerNormFwd<T>& a) {
  return {elements<T>((a.residual ? 4 : 2) * a.R * a.C) + elements<Acc<T>>(2 * a.R), 0};
}
template <class T>
Cost cost(const LayerNormBwd<T>& a) {
  return {elements<T>((a.dx ? 4 : 3) * a.R * a.C) + elements<Acc<T>>(2 * a.R), 0};
}
template <class T>
Cost cost(const SoftmaxFwd<T>& a) {
  return {elements<T>(2 * a.R * a.C), 0};
}
template <class T>
Cost cost(const SoftmaxBwd<T>& a) {
  return {elements<T>(3 * a.R * a.C), 0};
}
template <class T>
Cost cost(const CrossEntropyFwd<T>& a) {
  return {elements<T>(a.R * a.C) + elements<Acc<T>>(2 * a.R), 0};
}
template <class T>
Cost cost(const CrossEntropyBwd<T>& a) {
  return {elements<T>(2 * a.R * a.C) + elements<Acc<T>>(a.R), 0};
}
template <class T>
Cost cost(const AttentionFwd<T>& a) {
  const int64_t heads = a.B * a.H, sides = a.k == a.v ? 1 : 2;
  return {elements<T>(heads * a.K * (2 * a.Nq + sides * a.Nk)) + elements<Acc<T>>(heads * a.Nq),
          4 * double(heads) * double(a.Nq) * double(a.Nk) * double(a.K) * (a.causal ? 0.5 : 1)};
}
template <class T>
Cost cost(const AttentionBwd<T>& a) {
  const int64_t heads = a.B * a.H, sides = a.dk == a.dv ? 1 : 2;
  return {elements<T>(heads * a.K * (4 * a.Nq + 2 * sides * a.Nk)) + elements<Acc<T>>(heads * a.Nq),
          8 * double(heads) * double(a.Nq) * double(a.Nk) * double(a.K) * (a.causal ? 0.5 : 1)};
}
template <class T>
Cost cost(const Positions<T>& a) {
  return {double(8 * a.B * a.N), 0};
}
template <class T>
Cost cost(const PaddingMask<T>& a) {
  return {double(a.B * a.N), 0};
}
template <class T>
Cost cost(const EmbeddingFwd<T>& a) {
  return {elements<T>((a.add ? 3 : 2) * a.R * a.D), 0};
}
template <class T>
Cost cost(const EmbeddingBwd<T>& a) {
  return {elements<T>(a.R * a.D) + elements<Acc<T>>(2 * a.V * a.D), 0};
}
template <class T>
Cost cost(const PixelFwd<T>& a) {
  return {elements<T>((a.add ? 2 : 1) * a.R * a.D), 0};
}
template <class T>
Cost cost(const PixelBwd<T>& a) {
  return {elements<T>(a.R * a.D), 0};
}
template <class T>
Cost cost(const MeanPoolFwd<T>& a) {
  return {elements<T>(a.B * a.N * a.D), 0};
}
template <class T>
Cost cost(const MeanPoolBwd<T>& a) {
  return {elements<T>(a.B * a.N * a.D), 0};
}
template <class T>
Cost cost(const Elementwise<T>& a) {
  return {elements<T>((a.b ? 3 : 2) * a.n), 0};
}
template <class T>
Cost cost(const CumulativeSum<T>& a) {
  return {elements<T>(2 * a.outer * a.N * a.inner), 0};
}
template <class T>
Cost cost(const CopyStrided<T>& a) {
  return {elements<T>((a.accumulate ? 3 : 2) * a.n[0] * a.n[1] * a.n[2] * a.n[3]), 0};
}
template <class T>
Cost cost(const Cast<T>& a) {
  return {elements<T>(a.n) + double(a.n * size_of(a.to)), 0};
}
template <class T>
Cost cost(const Fill<T>& a) {
  return {elements<T>(a.n), 0};
}
template <class T>
Cost cost(const SumSquares<T>& a) {
  return {elements<T>(a.n), 0};
}
template <class T>
Cost cost(const GradientNorm<T>& a) {
  return {elements<Acc<T>>(a.blocks), 0};
}
template <class T>
Cost cost(const UpdateCheck<T>&) {
  return {double(sizeof(UpdateState)), 0};
}
template <class T>
Cost cost(const Adam<T>& a) {
  return {elements<T>(7 * a.n) + (a.copy ? double(a.n * size_of(a.copy_type)) : 0), 0};
}

}  // namespace

Cost cost_of(Operation operation, DType dtype, const void* arguments) {
  return with_dtype(dtype, [&]<class T>() -> Cost {
    switch (operation) {
#define X(NAME)         \
  case Operation::NAME: \
    return cost(*static_cast<const NAME<T>*>(arguments));
      SELENE_OPERATIONS(X)
#undef X
      default:
        return {};
    }
  });
}

}  // namespace selene::train
