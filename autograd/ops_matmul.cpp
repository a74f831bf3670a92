// linear, matmul, feed_forward: everything that is mostly a matrix product.
#include <fmt/format.h>

#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/products.h"
#include "autograd/with_dtype.h"
#include "kernels/error.h"

namespace selene {
namespace {

Shape with_last(const Shape& shape, int64_t last) {
  Shape s = shape;
  s[-1] = last;
  return s;
}

void need_linear(const char* op, const Var& x, const Var& W, const Var* b) {
  need_dense(op, "x", x.v);
  need_rank(op, "W", W.v, 2);
  need_same_dtype(op, "W", W.v, x.v);
  need_shape(op, "W", W.v, {W.dim(0), x.dim(-1)}, "last axis of x", x.v);
  if (b) need_shape(op, "b", b->v, {W.dim(0)}, "first axis of W", W.v);
}

}  // namespace

Var linear(Tape& t, const Var& x, const Var& W, const Var* b) {
  need_linear("linear", x, W, b);
  const int64_t R = rows_of(x.v);
  const Tensor x2 = x.v.reshape({R, x.dim(-1)});
  Tensor y = t.empty(with_last(x.shape(), W.dim(0)), x.dtype(), "linear");
  product(t, x2, false, W.v, true, y.reshape({R, W.dim(0)}), b ? &b->v : nullptr);
  const Var bias = b ? *b : Var{};
  return t.record(y, {&x, &W, b ? b : &x}, [=, &t](const Tensor& dy) {
    const Tensor dy2 = dy.reshape({R, W.dim(0)});
    if (t.wants(W)) add_product(t, dy2, true, x2, false, t.grad(W));
    if (bias.v && t.wants(bias)) add_column_sum(t, dy2, t.grad(bias));
    if (!t.wants(x)) return;
    Tensor dx = t.empty(x.shape(), x.dtype(), "gradient of linear");
    product(t, dy2, false, W.v, false, dx.reshape({R, x.dim(-1)}), nullptr);
    t.add_grad(x, dx);
  });
}

Var matmul(Tape& t, const Var& a, const Var& b, bool trans_b) {
  need_same_dtype("matmul", "b", b.v, a.v);
  if (a.v.rank() < 2 || a.v.rank() > 4 || a.v.rank() != b.v.rank())
    throw Error(
        fmt::format("matmul: a is {}, b is {}, wanted the same number of axes, 2 to 4", a.v.text(), b.v.text()));
  Shape wanted = a.shape(), out = a.shape();
  const int64_t N = b.dim(trans_b ? -2 : -1), K = a.dim(-1);
  wanted[trans_b ? -2 : -1] = N, wanted[trans_b ? -1 : -2] = K, out[-1] = N;
  need_shape("matmul", "b", b.v, wanted, "to fit a", a.v);
  Tensor y = t.empty(out, a.dtype(), "matmul");
  product(t, a.v, false, b.v, trans_b, y, nullptr);
  return t.record(y, {&a, &b}, [=, &t](const Tensor& dy) {
    if (t.wants(a)) {
      Tensor da = t.empty(a.shape(), a.dtype(), "gradient of matmul");
      product(t, dy, false, b.v, !trans_b, da, nullptr);
      t.add_grad(a, da);
    }
    if (t.wants(b)) {
      Tensor db = t.empty(b.shape(), b.dtype(), "gradient of matmul");
      if (trans_b) product(t, dy, true, a.v, false, db, nullptr);
      else product(t, a.v, true, dy, false, db, nullptr);
      t.add_grad(b, db);
    }
  });
}

Var feed_forward(Tape& t, const Var& x, const Var& W1, const Var& b1, const Var& W2, const Var& b2, Activation f,
                 const DropoutSite& drop) {
  const int64_t R = rows_of(x.v), D = x.dim(-1), F = W1.dim(0), rows = rows_of_example(x.v);
  need_linear("feed_forward", x, W1, &b1);
  need_shape("feed_forward", "W2", W2.v, {D, F}, "last axis of x and first axis of W1", W1.v);
  need_shape("feed_forward", "b2", b2.v, {D}, "first axis of W2", W2.v);
  const Tensor x2 = x.v.reshape({R, D});
  Tensor y = t.empty(x.shape(), x.dtype(), "feed_forward");
  Tensor h = t.empty({R, F}, x.dtype(), "feed_forward hidden");
  const bool keep = t.wants(x) || t.wants(W1) || t.wants(W2);
  with_dtype(x.dtype(), [&]<class T>() {
    product(t, x2, false, W1.v, true, h, &b1.v);
    const Tensor a = keep ? t.empty({R, F}, x.dtype(), "feed_forward activation") : h;
    run(t.stream(), ActivationFwd<T>{h.data<T>(), a.data<T>(), R, F, rows, f, 0, drop});
    product(t, a, false, W2.v, true, y.reshape({R, D}), &b2.v);
  });
  return t.record(y, {&x, &W1, &b1, &W2, &b2}, [=, &t](const Tensor& dy) {
    const Tensor dy2 = dy.reshape({R, D});
    Tensor dh = t.empty({R, F}, x.dtype(), "feed_forward gradient"),
           a = t.empty({R, F}, x.dtype(), "feed_forward activation");
    product(t, dy2, false, W2.v, false, dh, nullptr);
    with_dtype(x.dtype(), [&]<class T>() {
      run(t.stream(), ActivationBwd<T>{h.data<T>(), dh.data<T>(), dh.data<T>(), a.data<T>(), R, F, rows, f, 0, drop});
    });
    if (t.wants(W2)) add_product(t, dy2, true, a, false, t.grad(W2));
    if (t.wants(b2)) add_column_sum(t, dy2, t.grad(b2));
    a = Tensor();
    if (t.wants(W1)) add_product(t, dh, true, x2, false, t.grad(W1));
    if (t.wants(b1)) add_column_sum(t, dh, t.grad(b1));
    if (!t.wants(x)) return;
    Tensor dx = t.empty(x.shape(), x.dtype(), "gradient of feed_forward");
    product(t, dh, false, W1.v, false, dx.reshape({R, D}), nullptr);
    t.add_grad(x, dx);
  });
}

}  // namespace selene
