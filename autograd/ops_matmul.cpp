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

// W += dy^T x, b += sum over rows of dy, for y = x W^T + b: in one launch where both are wanted. b empty: no bias.
void weight_gradients(Tape& t, const Tensor& dy, const Tensor& x, const Var& W, const Var& b) {
  const Tensor db = b.v && t.wants(b) ? t.grad(b) : Tensor();
  if (t.wants(W)) add_product(t, dy, x, t.grad(W), db ? &db : nullptr);
  else if (db) add_column_sum(t, dy, db);
}

// dx += dy W, for y = x W^T + b. dy[R, out].
void input_gradient(Tape& t, const Tensor& dy, const Var& W, const Var& x, const char* what) {
  if (!t.wants(x)) return;
  const Tensor sum = t.gathered(x), dx = sum ? sum : t.empty(x.shape(), x.dtype(), what);
  product(t, dy, false, W.v, false, dx.reshape({dy.dim(0), x.dim(-1)}), nullptr, bool(sum));
  if (!sum) t.add_grad(x, dx);
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
    weight_gradients(t, dy2, x2, W, bias);
    input_gradient(t, dy2, W, x, "gradient of linear");
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
  const Tensor h = t.empty({R, F}, x.dtype(), "feed_forward hidden");
  const bool keep = t.wants(x) || t.wants(W1) || t.wants(W2);
  const bool fused = f == Activation::gelu_tanh && drop.threshold == 65536;  // what a product's epilogue can do
  const auto activation = [=, &t](const Tensor& to) {
    with_dtype(h.dtype(), [&]<class T>() {
      run(t.stream(),
          ActivationFwd<T>{.x = h.data<T>(), .y = to.data<T>(), .R = R, .C = F, .rows = rows, .f = f, .drop = drop});
    });
  };
  {
    const Tensor a = keep || fused ? t.empty({R, F}, x.dtype(), "feed_forward activation") : h;
    if (fused) product_gelu(t, x2, W1.v, b1.v, h, a);
    else product(t, x2, false, W1.v, true, h, &b1.v), activation(a);
    product(t, a, false, W2.v, true, y.reshape({R, D}), &b2.v);
  }
  return t.record(y, {&x, &W1, &b1, &W2, &b2}, [=, &t](const Tensor& dy) {
    const Tensor dy2 = dy.reshape({R, D}), dh = t.empty({R, F}, x.dtype(), "feed_forward gradient");
    Tensor a = t.empty({R, F}, x.dtype(), "feed_forward activation");
    if (fused) {
      product_gelu_gradient(t, dy2, W2.v, h, dh), activation(a);
    } else {
      product(t, dy2, false, W2.v, false, dh, nullptr);
      with_dtype(x.dtype(), [&]<class T>() {
        run(t.stream(), ActivationBwd<T>{.x = h.data<T>(),
                                         .dy = dh.data<T>(),
                                         .dx = dh.data<T>(),
                                         .y = a.data<T>(),
                                         .R = R,
                                         .C = F,
                                         .rows = rows,
                                         .f = f,
                                         .drop = drop});
      });
    }
    weight_gradients(t, dy2, a, W2, b2);
    a = Tensor();
    weight_gradients(t, dh, x2, W1, b1);
    input_gradient(t, dh, W1, x, "gradient of feed_forward");
  });
}

}  // namespace selene
