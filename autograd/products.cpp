#include "autograd/products.h"

#include <fmt/format.h>

#include "autograd/with_dtype.h"
#include "autograd/workspace.h"
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

// Shapes and strides of c = op(a) op(b).
template <class T>
Matmul<T> described(const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c) {
  const Operand A = operand(a, trans_a), B = operand(b, trans_b), C = operand(c, false);
  if (C.trans) throw Error(fmt::format("matmul: the result {} is a transposed view", c.text()));
  Matmul<T> m{};
  m.a = a.data<T>(), m.b = b.data<T>(), m.c = c.raw();
  m.M = c.dim(-2), m.N = c.dim(-1), m.K = a.dim(trans_a ? -2 : -1);
  m.lda = A.row, m.ldb = B.row, m.ldc = C.row;
  m.outer = c.rank() == 4 ? c.dim(0) : 1, m.inner = c.rank() >= 3 ? c.dim(-3) : 1;
  m.a_outer = A.outer, m.a_inner = A.inner, m.b_outer = B.outer, m.b_inner = B.inner;
  m.c_outer = C.outer, m.c_inner = C.inner;
  m.trans_a = A.trans, m.trans_b = B.trans, m.c_is_acc = c.dtype() != a.dtype();
  return m;
}

// One launch; `more(m)` fills in what is beyond the plain product.
template <class F>
void launch(Tape& t, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c, F more) {
  with_dtype(a.dtype(), [&]<class T>() {
    Matmul<T> m = described<T>(a, trans_a, b, trans_b, c);
    more(m);
    run_with_workspace(t, m);
  });
}

}  // namespace

Tensor cast(Tape& t, const Tensor& x, DType to) {
  if (x.dtype() == to) return x;
  Tensor y = t.empty(x.shape(), to, "cast");
  with_dtype(x.dtype(), [&]<class T>() { run(t.stream(), Cast<T>{x.data<T>(), y.raw(), to, x.numel()}); });
  return y;
}

void product(Tape& t, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c,
             const Tensor* bias, bool accumulate) {
  launch(t, a, trans_a, b, trans_b, c,
         [&]<class T>(Matmul<T>& m) { m.bias = bias ? bias->data<T>() : nullptr, m.accumulate = accumulate; });
}

void product_gelu(Tape& t, const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& aux, const Tensor& c) {
  launch(t, a, false, b, true, c,
         [&]<class T>(Matmul<T>& m) { m.bias = bias.data<T>(), m.epilogue = Epilogue::gelu, m.aux = aux.data<T>(); });
}

void product_gelu_gradient(Tape& t, const Tensor& a, const Tensor& b, const Tensor& aux, const Tensor& c) {
  launch(t, a, false, b, false, c,
         [&]<class T>(Matmul<T>& m) { m.epilogue = Epilogue::gelu_gradient, m.aux = aux.data<T>(); });
}

void add_product(Tape& t, const Tensor& a, const Tensor& b, const Tensor& c, const Tensor* a_sum) {
  launch(t, a, true, b, false, c, [&]<class T>(Matmul<T>& m) {
    m.accumulate = 1, m.sums_a = a_sum != nullptr;
    if (a_sum) m.a_sum = a_sum->data<Acc<T>>();
  });
}

void add_column_sum(Tape& t, const Tensor& x, const Tensor& y) {
  with_dtype(x.dtype(), [&]<class T>() {
    run_with_workspace(t, ColumnSum<T>{x.data<T>(), y.data<Acc<T>>(), x.dim(0), x.dim(1), nullptr});
  });
}

}  // namespace selene
