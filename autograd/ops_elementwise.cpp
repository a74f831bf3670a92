// Pooling, sums, products, activations and changes of shape.
#include <fmt/format.h>

#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/with_dtype.h"
#include "autograd/workspace.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"

namespace selene {
namespace {

// y = alpha (a op b); b empty: y = alpha a
Tensor combine(Tape& t, const Tensor& a, const Tensor& b, Binary op, double alpha) {
  Tensor y = t.empty(a.shape(), a.dtype(), "elementwise");
  with_dtype(a.dtype(), [&]<class T>() {
    run(t.stream(), Elementwise<T>{.a = a.data<T>(),
                                   .b = b ? b.data<T>() : nullptr,
                                   .y = y.data<T>(),
                                   .n = y.numel(),
                                   .op = op,
                                   .alpha = Acc<T>(alpha)});
  });
  return y;
}

void need_pair(const char* op, const Var& a, const Var& b) {
  need_shape(op, "b", b.v, a.shape(), "shape of a", a.v);
  need_same_dtype(op, "b", b.v, a.v);
  need_dense(op, "a", a.v), need_dense(op, "b", b.v);
}

Tensor dense_copy(Tape& t, const Tensor& x) {
  Tensor y = t.empty(x.shape(), x.dtype(), "dense copy");
  copy_strided(t.stream(), x, y, false);
  return y;
}

}  // namespace

Var mean_pool(Tape& t, const Var& x, const Tensor& lengths, const Tensor& length) {
  need_rank("mean_pool", "x", x.v, 3), need_dense("mean_pool", "x", x.v);
  const int64_t B = x.dim(0), N = x.dim(1), D = x.dim(2);
  if (lengths)
    need_dtype("mean_pool", "lengths", lengths, DType::i32),
        need_shape("mean_pool", "lengths", lengths, {B}, "batch of x", x.v);
  if (length)
    need_dtype("mean_pool", "length", length, DType::i32),
        need_shape("mean_pool", "length", length, {1}, "one number beside", x.v);
  Tensor y = t.empty({B, D}, x.dtype(), "mean_pool");
  return with_dtype(x.dtype(), [&]<class T>() {
    run_with_workspace(t, MeanPoolFwd<T>{.x = x.v.data<T>(),
                                         .y = y.data<T>(),
                                         .lengths = lengths ? lengths.data<int32_t>() : nullptr,
                                         .length = length ? length.data<int32_t>() : nullptr,
                                         .B = B,
                                         .N = N,
                                         .D = D});
    return t.record(y, {&x}, [=, &t](const Tensor& dy) {
      const Tensor dx = t.empty({B, N, D}, dy.dtype(), "gradient of mean_pool");
      run(t.stream(), MeanPoolBwd<T>{.dy = dy.data<T>(),
                                     .dx = dx.data<T>(),
                                     .lengths = lengths ? lengths.data<int32_t>() : nullptr,
                                     .length = length ? length.data<int32_t>() : nullptr,
                                     .B = B,
                                     .N = N,
                                     .D = D});
      t.add_grad(x, dx);
    });
  });
}

Var select_position(Tape& t, const Var& x, int64_t n) {
  need_rank("select_position", "x", x.v, 3);
  const Shape rows{x.dim(0), x.dim(2)};
  const Tensor y = dense_copy(t, x.v.slice(1, n, n + 1)).reshape(rows);
  return t.record(y, {&x}, [=, &t](const Tensor& dy) {
    const Tensor row = dy.reshape({x.dim(0), 1, x.dim(2)}), sum = t.gathered(x);
    if (sum) return copy_strided(t.stream(), row, sum.slice(1, n, n + 1), true);
    const Tensor dx = t.zeros(x.shape(), dy.dtype(), "gradient of select_position");
    copy_strided(t.stream(), row, dx.slice(1, n, n + 1), false);
    t.add_grad(x, dx);
  });
}

Var concat(Tape& t, const Var& a, const Var& b) {
  Shape wanted = a.shape(), out = a.shape();
  const int64_t C1 = a.dim(-1), C2 = b.dim(-1);
  wanted[-1] = C2, out[-1] = C1 + C2;
  need_shape("concat", "b", b.v, wanted, "all but the last axis of a", a.v);
  need_same_dtype("concat", "b", b.v, a.v);
  const Tensor y = t.empty(out, a.dtype(), "concat");
  copy_strided(t.stream(), a.v, y.slice(-1, 0, C1), false);
  copy_strided(t.stream(), b.v, y.slice(-1, C1, C1 + C2), false);
  return t.record(y, {&a, &b}, [=, &t](const Tensor& dy) {
    t.add_grad(a, dy.slice(-1, 0, C1));
    t.add_grad(b, dy.slice(-1, C1, C1 + C2));
  });
}

Var add(Tape& t, const Var& a, const Var& b) {
  need_pair("add", a, b);
  return t.record(combine(t, a.v, b.v, Binary::add, 1), {&a, &b}, [=, &t](const Tensor& dy) {
    t.add_grad(a, dy);
    t.add_grad(b, dy);
  });
}

Var subtract(Tape& t, const Var& a, const Var& b) {
  need_pair("subtract", a, b);
  return t.record(combine(t, a.v, b.v, Binary::subtract, 1), {&a, &b}, [=, &t](const Tensor& dy) {
    if (t.wants(b)) t.add_grad(b, combine(t, dy, {}, Binary::add, -1));
    t.add_grad(a, dy);
  });
}

Var multiply(Tape& t, const Var& a, const Var& b) {
  need_pair("multiply", a, b);
  return t.record(combine(t, a.v, b.v, Binary::multiply, 1), {&a, &b}, [=, &t](const Tensor& dy) {
    if (t.wants(a)) t.add_grad(a, combine(t, dy, b.v, Binary::multiply, 1));
    if (t.wants(b)) t.add_grad(b, combine(t, dy, a.v, Binary::multiply, 1));
  });
}

Var scale(Tape& t, const Var& x, double factor) {
  need_dense("scale", "x", x.v);
  return t.record(combine(t, x.v, {}, Binary::add, factor), {&x},
                  [=, &t](const Tensor& dy) { t.add_grad(x, combine(t, dy, {}, Binary::add, factor)); });
}

Var activate(Tape& t, const Var& x, Activation f, double beta) {
  need_dense("activate", "x", x.v);
  const int64_t n = x.v.numel();
  return with_dtype(x.dtype(), [&]<class T>() {
    Tensor y = t.empty(x.shape(), x.dtype(), "activate");
    run(t.stream(),
        ActivationFwd<T>{
            .x = x.v.data<T>(), .y = y.data<T>(), .R = 1, .C = n, .rows = 1, .f = f, .beta = Acc<T>(beta)});
    return t.record(y, {&x}, [=, &t](const Tensor& dy) {
      const Tensor dx = dy.unique() ? dy : t.empty(dy.shape(), dy.dtype(), "gradient of activate");
      run(t.stream(), ActivationBwd<T>{.x = x.v.data<T>(),
                                       .dy = dy.data<T>(),
                                       .dx = dx.data<T>(),
                                       .R = 1,
                                       .C = n,
                                       .rows = 1,
                                       .f = f,
                                       .beta = Acc<T>(beta)});
      t.add_grad(x, dx);
    });
  });
}

Var cumulative_sum(Tape& t, const Var& x, int axis) {
  need_dense("cumulative_sum", "x", x.v);
  const int64_t N = x.dim(axis), inner = x.v.stride(axis), outer = N ? x.v.numel() / (N * inner) : 0;
  return with_dtype(x.dtype(), [&]<class T>() {
    const auto sum = [=, &t](const Tensor& from, const Tensor& to, bool reverse) {
      run_with_workspace(
          t, CumulativeSum<T>{
                 .x = from.data<T>(), .y = to.data<T>(), .outer = outer, .N = N, .inner = inner, .reverse = reverse});
    };
    Tensor y = t.empty(x.shape(), x.dtype(), "cumulative_sum");
    sum(x.v, y, false);
    return t.record(y, {&x}, [=, &t](const Tensor& dy) {
      const Tensor dx = dy.unique() ? dy : t.empty(dy.shape(), dy.dtype(), "gradient of cumulative_sum");
      sum(dy, dx, true);
      t.add_grad(x, dx);
    });
  });
}

Var reshape(Tape& t, const Var& x, Shape shape) {
  return t.record(x.v.reshape(shape), {&x}, [=, &t](const Tensor& dy) { t.add_grad(x, dy.reshape(x.shape())); });
}

Var transpose(Tape& t, const Var& x, int a, int b) {
  return t.record(dense_copy(t, x.v.transpose(a, b)), {&x},
                  [=, &t](const Tensor& dy) { t.add_grad(x, dense_copy(t, dy.transpose(a, b))); });
}

}  // namespace selene
