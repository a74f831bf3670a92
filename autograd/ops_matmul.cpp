// linear, matmul, feed_forward: everything that is mostly a matrix product.
#include <fmt/format.h>

#include <algorithm>

#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/products.h"
#include "autograd/with_dtype.h"
#include "autograd/workspace.h"
#include "kernels/ceil_div.h"
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

namespace {

// feed_forward over rows begin to end - 1 at a time. x [R, D], hidden rows [n, F].
struct FeedForwardRows {
  Tape& t;
  Tensor x;
  Var W1, b1, W2, b2;
  Activation f;
  DropoutSite drop;
  int64_t rows;  // of an example

  int64_t R() const { return x.dim(0); }
  int64_t F() const { return W1.dim(0); }
  /// What the epilogue of a product can do.
  bool fused() const { return f == Activation::gelu_tanh && drop.threshold == 65536; }
  /// Rows of a chunk, the number of chunks being the least whose hidden rows take kHiddenBytes at most.
  int64_t chunk() const {
    const int64_t most = std::max<int64_t>(1, kHiddenBytes / (F() * size_of(x.dtype())));
    return round_up(ceil_div(R(), ceil_div(R(), most)), 16);
  }
  Tensor hidden_rows(int64_t n, const char* what) const { return t.empty({n, F()}, x.dtype(), what); }

  void activate(const Tensor& h, const Tensor& a, int64_t begin) const {
    with_dtype(h.dtype(), [&]<class T>() {
      run(t.stream(), ActivationFwd<T>{.x = h.data<T>(),
                                       .y = a.data<T>(),
                                       .R = h.dim(0),
                                       .C = F(),
                                       .rows = rows,
                                       .f = f,
                                       .drop = drop,
                                       .first_row = begin});
    });
  }
  // h = x W1^T + b1, a = dropout(f(h)); a may be h.
  void hidden(const Tensor& xs, const Tensor& h, const Tensor& a, int64_t begin) const {
    if (fused()) return product_gelu(t, xs, W1.v, b1.v, h, a);
    product(t, xs, false, W1.v, true, h, &b1.v);
    activate(h, a, begin);
  }
  // dh = dy W2 f'(h), a = dropout(f(h)); b1 gets its gradient where the activation's kernel sums it, else false.
  bool hidden_gradient(const Tensor& dy, const Tensor& h, const Tensor& dh, const Tensor& a, int64_t begin) const {
    if (fused()) {
      product_gelu_gradient(t, dy, W2.v, h, dh), activate(h, a, begin);
      return false;
    }
    product(t, dy, false, W2.v, false, dh, nullptr);
    with_dtype(h.dtype(), [&]<class T>() {
      run_with_workspace(t, ActivationBwd<T>{.x = h.data<T>(),
                                             .dy = dh.data<T>(),
                                             .dx = dh.data<T>(),
                                             .y = a.data<T>(),
                                             .R = h.dim(0),
                                             .C = F(),
                                             .rows = rows,
                                             .f = f,
                                             .drop = drop,
                                             .first_row = begin,
                                             .sums_dx = t.wants(b1),
                                             .dx_sum = t.wants(b1) ? t.grad(b1).data<Acc<T>>() : nullptr});
    });
    return true;
  }
  // Of rows `begin` on. h: empty where it was not kept. dx [R, D]: made where it is wanted and empty.
  void backward(const Tensor& dy, const Tensor& xs, Tensor h, Tensor& dx, bool wanted, bool add,
                int64_t begin) const {
    const int64_t n = xs.dim(0);
    Tensor a = hidden_rows(n, "feed_forward activation");
    if (!h) {
      h = hidden_rows(n, "feed_forward hidden");
      product(t, xs, false, W1.v, true, h, &b1.v);
    }
    const Tensor dh = hidden_rows(n, "feed_forward gradient");
    const bool summed = hidden_gradient(dy, h, dh, a, begin);
    weight_gradients(t, dy, a, W2, b2);
    a = Tensor();
    weight_gradients(t, dh, xs, W1, summed ? Var{} : b1);
    if (!wanted) return;
    if (!dx) dx = t.empty(x.shape(), x.dtype(), "gradient of feed_forward");
    product(t, dh, false, W1.v, false, dx.slice(0, begin, begin + n), nullptr, add);
  }
};

}  // namespace

Var feed_forward(Tape& t, const Var& x, const Var& W1, const Var& b1, const Var& W2, const Var& b2, Activation f,
                 const DropoutSite& drop, bool recompute) {
  const int64_t R = rows_of(x.v), D = x.dim(-1), F = W1.dim(0);
  need_linear("feed_forward", x, W1, &b1);
  need_shape("feed_forward", "W2", W2.v, {D, F}, "last axis of x and first axis of W1", W1.v);
  need_shape("feed_forward", "b2", b2.v, {D}, "first axis of W2", W2.v);
  const FeedForwardRows all{t, x.v.reshape({R, D}), W1, b1, W2, b2, f, drop, rows_of_example(x.v)};
  const Tensor y = t.empty(x.shape(), x.dtype(), "feed_forward"), y2 = y.reshape({R, D});
  const bool keep = !recompute && (t.wants(x) || t.wants(W1) || t.wants(W2));
  const int64_t chunk = recompute && R > 0 ? all.chunk() : std::max<int64_t>(R, 1);
  const Tensor h = keep ? all.hidden_rows(R, "feed_forward hidden") : Tensor();
  for (int64_t begin = 0; begin < R; begin += chunk) {
    const int64_t end = std::min(begin + chunk, R);
    const Tensor own = keep ? h : all.hidden_rows(end - begin, "feed_forward hidden");
    const Tensor a = keep || all.fused() ? all.hidden_rows(end - begin, "feed_forward activation") : own;
    all.hidden(all.x.slice(0, begin, end), own, a, begin);
    product(t, a, false, W2.v, true, y2.slice(0, begin, end), &b2.v);
  }
  return t.record(y, {&x, &W1, &b1, &W2, &b2}, [=, &t](const Tensor& dy) {
    const Tensor dy2 = dy.reshape({R, D}), sum = t.gathered(x);
    Tensor dx = sum ? sum.reshape({R, D}) : sum;
    for (int64_t begin = 0; begin < R; begin += chunk) {
      const auto rows = [&](const Tensor& m) { return m ? m.slice(0, begin, std::min(begin + chunk, R)) : m; };
      all.backward(rows(dy2), rows(all.x), rows(h), dx, t.wants(x), bool(sum), begin);
    }
    if (dx && !sum) t.add_grad(x, dx.reshape(x.shape()));
  });
}

}  // namespace selene
