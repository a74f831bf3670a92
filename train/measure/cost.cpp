#include "train/measure/cost.h"

#include "autograd/with_dtype.h"
#include "kernels/operations.h"

namespace selene::train {
namespace {

using Operands = std::vector<Operand>;

// n elements; none where the pointer is null.
template <class T>
Operand part(const T* at, int64_t n, int64_t times = 1) {
  return {at, at ? double(n) * double(times) * double(sizeof(T)) : 0};
}
Operand part_as(const void* at, int64_t n, int64_t size) { return {at, at ? double(n) * double(size) : 0}; }

template <class T>
Operands operands(const Matmul<T>& a) {
  const int64_t batch = a.outer * a.inner, out = batch * a.M * a.N * (a.accumulate ? 2 : 1);
  return {part(a.a, batch * a.M * a.K), part(a.b, batch * a.K * a.N),
          part_as(a.c, out, a.c_is_acc ? int64_t(sizeof(Acc<T>)) : int64_t(sizeof(T))),
          part(a.epilogue == Epilogue::none ? nullptr : a.aux, batch * a.M * a.N)};
}
template <class T>
Operands operands(const ColumnSum<T>& a) {
  return {part(a.x, a.R * a.C)};
}
template <class T>
Operands operands(const ActivationFwd<T>& a) {
  return {part(a.x, a.R * a.C), part(a.y, a.R * a.C)};
}
template <class T>
Operands operands(const ActivationBwd<T>& a) {
  const int64_t n = a.R * a.C;
  return {part(a.x, n), part(a.dy, n), part(a.dx, n), part(a.y, n)};
}
template <class T>
Operands operands(const Dropout<T>& a) {
  const int64_t n = a.R * a.C;
  return {part(a.x, n), part(a.residual, n), part(a.y, n)};
}
template <class T>
Operands operands(const LayerNormFwd<T>& a) {
  const int64_t n = a.R * a.C;
  return {part(a.x, n), part(a.residual, n), part(a.residual ? a.s : nullptr, n),
          part(a.y, n), part(a.mean, a.R),   part(a.rstd, a.R)};
}
template <class T>
Operands operands(const LayerNormBwd<T>& a) {
  const int64_t n = a.R * a.C;
  return {part(a.s, n), part(a.dy, n), part(a.ds, n), part(a.dx, n), part(a.mean, a.R), part(a.rstd, a.R)};
}
template <class T>
Operands operands(const SoftmaxFwd<T>& a) {
  return {part(a.x, a.R * a.C), part(a.y, a.R * a.C)};
}
template <class T>
Operands operands(const SoftmaxBwd<T>& a) {
  return {part(a.y, a.R * a.C), part(a.dy, a.R * a.C), part(a.dx, a.R * a.C)};
}
template <class T>
Operands operands(const CrossEntropyFwd<T>& a) {
  return {part(a.logits, a.R * a.C), part(a.lse, a.R), part(a.row_loss, a.R)};
}
template <class T>
Operands operands(const CrossEntropyBwd<T>& a) {
  return {part(a.logits, a.R * a.C), part(a.dlogits, a.R * a.C), part(a.lse, a.R)};
}
template <class T>
Operands operands(const AttentionFwd<T>& a) {
  const int64_t queries = a.B * a.H * a.Nq, keys = a.B * a.H * a.Nk * a.K;
  return {part(a.q, queries * a.K), part(a.o, queries * a.K), part(a.k, keys), part(a.v == a.k ? nullptr : a.v, keys),
          part(a.lse, queries)};
}
template <class T>
Operands operands(const AttentionBwd<T>& a) {
  const int64_t queries = a.B * a.H * a.Nq, rows = queries * a.K, keys = a.B * a.H * a.Nk * a.K;
  const bool tied = a.dk == a.dv;
  return {part(a.q, rows),     part(gradient_without_o(a) ? nullptr : a.o, rows),
          part(a.d_o, rows),   part(a.dq, rows),
          part(a.k, keys),     part(tied ? nullptr : a.v, keys),
          part(a.dk, keys),    part(tied ? nullptr : a.dv, keys),
          part(a.lse, queries)};
}
template <class T>
Operands operands(const Positions<T>& a) {
  return {part_as(a.tokens, a.B * a.N, 4), part_as(a.positions, a.B * a.N, 4)};
}
template <class T>
Operands operands(const PaddingMask<T>& a) {
  return {part_as(a.mask, a.B * a.N, 1)};
}
template <class T>
Operands operands(const EmbeddingFwd<T>& a) {
  const int64_t n = a.R * a.D;
  return {part(a.table, n), part(a.add, n), part(a.y, n)};
}
template <class T>
Operands operands(const EmbeddingBwd<T>& a) {
  return {part(a.dy, a.R * a.D), part(a.dtable, a.V * a.D, 2)};
}
template <class T>
Operands operands(const PixelFwd<T>& a) {
  return {part(a.add, a.R * a.D), part(a.y, a.R * a.D)};
}
template <class T>
Operands operands(const PixelBwd<T>& a) {
  return {part(a.dy, a.R * a.D)};
}
template <class T>
Operands operands(const MeanPoolFwd<T>& a) {
  return {part(a.x, a.B * a.N * a.D)};
}
template <class T>
Operands operands(const MeanPoolBwd<T>& a) {
  return {part(a.dx, a.B * a.N * a.D)};
}
template <class T>
Operands operands(const Elementwise<T>& a) {
  return {part(a.a, a.n), part(a.b, a.n), part(a.y, a.n)};
}
template <class T>
Operands operands(const CumulativeSum<T>& a) {
  return {part(a.x, a.outer * a.N * a.inner), part(a.y, a.outer * a.N * a.inner)};
}
template <class T>
Operands operands(const CopyStrided<T>& a) {
  const int64_t n = a.n[0] * a.n[1] * a.n[2] * a.n[3];
  return {part(a.x, n), part(a.y, n, a.accumulate ? 2 : 1)};
}
template <class T>
Operands operands(const Cast<T>& a) {
  return {part(a.x, a.n), part_as(a.y, a.n, size_of(a.to))};
}
template <class T>
Operands operands(const Fill<T>& a) {
  return {part(a.y, a.n)};
}
template <class T>
Operands operands(const SumSquares<T>& a) {
  return {part(a.x, a.n)};
}
template <class T>
Operands operands(const GradientNorm<T>& a) {
  return {part(a.partial, a.blocks)};
}
template <class T>
Operands operands(const UpdateCheck<T>& a) {
  return {part_as(a.state, 1, sizeof(UpdateState))};
}
template <class T>
Operands operands(const Adam<T>& a) {
  return {part(a.g, a.n), part(a.p, a.n, 2), part(a.m, a.n, 2), part(a.v, a.n, 2),
          part_as(a.copy, a.n, size_of(a.copy_type))};
}

double products(int64_t count, int64_t M, int64_t N, int64_t K) {
  return 2 * double(count) * double(M) * double(N) * double(K);
}
template <class A>
double flops(const A&) {
  return 0;
}
template <class T>
double flops(const Matmul<T>& a) {
  return products(a.outer * a.inner, a.M, a.N, a.K);
}
template <class T>
double flops(const AttentionFwd<T>& a) {
  return 2 * products(a.B * a.H, a.Nq, a.Nk, a.K) * (a.causal ? 0.5 : 1);
}
template <class T>
double flops(const AttentionBwd<T>& a) {
  return 4 * products(a.B * a.H, a.Nq, a.Nk, a.K) * (a.causal ? 0.5 : 1);
}

// f(arguments) with the struct's own type.
template <class F>
auto with_arguments(Operation operation, DType dtype, const void* arguments, F f) {
  return with_dtype(dtype, [&]<class T>() -> decltype(f(*static_cast<const Fill<T>*>(arguments))) {
    switch (operation) {
#define X(NAME)         \
  case Operation::NAME: \
    return f(*static_cast<const NAME<T>*>(arguments));
      SELENE_OPERATIONS(X)
#undef X
      default:
        return {};
    }
  });
}

}  // namespace

std::vector<Operand> operands_of(Operation operation, DType dtype, const void* arguments) {
  return with_arguments(operation, dtype, arguments, [](const auto& a) { return operands(a); });
}

Cost cost_of(Operation operation, DType dtype, const void* arguments) {
  Cost cost{0, with_arguments(operation, dtype, arguments, [](const auto& a) { return flops(a); })};
  for (const Operand& o : operands_of(operation, dtype, arguments)) cost.bytes += o.bytes;
  return cost;
}

}  // namespace selene::train
