#include "autograd/products.h"

#include <fmt/format.h>

#include "autograd/with_dtype.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/matmul.h"

namespace selene {
namespace {

struct Operand {
  int64_t row, outer, inner;  // strides
  bool trans;
};

// A view whose rows are contiguous the other way round is the transposed matrix.
Operand operand(const Tensor& x, bool trans) {
  const int r = x.rank();
  int64_t row = x.stride(-2), column = x.stride(-1);
  if (column != 1 && x.dim(-1) > 1 && row == 1) std::swap(row, column), trans = !trans;
  if (column != 1 && x.dim(-1) > 1 && x.dim(-2) > 1)
    throw Error(
        fmt::format("matmul: {} has no axis of stride 1, wanted one of the last two (use contiguous)", x.text()));
  return {row, r == 4 ? x.stride(0) : 0, r >= 3 ? x.stride(-3) : 0, trans};
}

void launch(Tape& t, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c,
            const Tensor* bias, bool accumulate) {
  const Operand A = operand(a, trans_a), B = operand(b, trans_b), C = operand(c, false);
  const int64_t M = c.dim(-2), N = c.dim(-1), K = a.dim(trans_a ? -2 : -1);
  const int64_t outer = c.rank() == 4 ? c.dim(0) : 1, inner = c.rank() >= 3 ? c.dim(-3) : 1;
  if (C.trans) throw Error(fmt::format("matmul: the result {} is a transposed view", c.text()));
  const Tensor scratch = workspace(t, matmul_workspace(M, N, K, outer * inner), a.dtype());
  with_dtype(a.dtype(), [&]<class T>() {
    run(t.stream(), Matmul<T>{a.data<T>(),
                              b.data<T>(),
                              bias ? bias->data<T>() : nullptr,
                              c.raw(),
                              M,
                              N,
                              K,
                              A.row,
                              B.row,
                              C.row,
                              outer,
                              inner,
                              A.outer,
                              A.inner,
                              B.outer,
                              B.inner,
                              C.outer,
                              C.inner,
                              A.trans,
                              B.trans,
                              c.dtype() != a.dtype(),
                              accumulate,
                              workspace_data<Acc<T>>(scratch)});
  });
}

}  // namespace

Tensor workspace(Tape& t, int64_t elements, DType of) {
  if (elements == 0) return {};
  return t.empty({elements}, of == DType::f64 ? DType::f64 : DType::f32, "workspace");
}

Tensor cast(Tape& t, const Tensor& x, DType to) {
  if (x.dtype() == to) return x;
  Tensor y = t.empty(x.shape(), to, "cast");
  with_dtype(x.dtype(), [&]<class T>() { run(t.stream(), Cast<T>{x.data<T>(), y.raw(), to, x.numel()}); });
  return y;
}

void product(Tape& t, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c,
             const Tensor* bias) {
  launch(t, a, trans_a, b, trans_b, c, bias, false);
}

void add_product(Tape& t, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c) {
  launch(t, a, trans_a, b, trans_b, c, nullptr, true);
}

void add_column_sum(Tape& t, const Tensor& x, const Tensor& y) {
  const int64_t R = x.dim(0), C = x.dim(1);
  const Tensor scratch = workspace(t, column_sum_workspace(R, C), x.dtype());
  with_dtype(x.dtype(), [&]<class T>() {
    run(t.stream(), ColumnSum<T>{x.data<T>(), y.data<Acc<T>>(), R, C, workspace_data<Acc<T>>(scratch)});
  });
}

}  // namespace selene
