// Layer norm with and without its residual branch, and dropout. Check, allocate, run, record.
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/with_dtype.h"
#include "autograd/workspace.h"
#include "kernels/layer_norm.h"

namespace selene {
namespace {

// One body for both public forms; without residual there is no dropout and s is x itself.
Var normalise(Tape& t, const char* op, const Var& x, const Var* residual, const Var& gamma, const Var& beta,
              double eps, const DropoutSite& drop) {
  const int64_t C = x.dim(-1), R = rows_of(x.v), rows = rows_of_example(x.v);
  need_dense(op, "x", x.v);
  need_shape(op, "gamma", gamma.v, {C}, "last axis of x", x.v);
  need_shape(op, "beta", beta.v, {C}, "last axis of x", x.v);
  need_same_dtype(op, "gamma", gamma.v, x.v);
  if (residual)
    need_shape(op, "residual", residual->v, x.shape(), "shape of x", x.v), need_dense(op, "residual", residual->v);
  const Var added = residual ? *residual : Var{};
  return with_dtype(x.dtype(), [&]<class T>() {
    using A = Acc<T>;
    Tensor y = t.empty(x.shape(), x.dtype(), op), mean = t.empty({R}, dtype_of<A>, "mean"),
           rstd = t.empty({R}, dtype_of<A>, "rstd");
    const Tensor s = residual ? t.empty(x.shape(), x.dtype(), "residual sum") : x.v;
    run(t.stream(), LayerNormFwd<T>{.x = x.v.data<T>(),
                                    .residual = residual ? added.v.data<T>() : nullptr,
                                    .s = residual ? s.data<T>() : nullptr,
                                    .gamma = gamma.v.data<T>(),
                                    .beta = beta.v.data<T>(),
                                    .y = y.data<T>(),
                                    .mean = mean.data<A>(),
                                    .rstd = rstd.data<A>(),
                                    .R = R,
                                    .C = C,
                                    .rows = rows,
                                    .eps = A(eps),
                                    .drop = drop});
    const bool same = drop.threshold == 65536;  // without dropout both branches get the same gradient
    // x is captured for its slot and shape only: with a residual its values are not needed again.
    Var branch = x;
    if (residual) branch.v = s;
    return t.record(y, {&x, residual ? residual : &x, &gamma, &beta}, [=, &t](Tensor dy) {
      const Tensor ds = dy.unique() ? dy : t.empty(dy.shape(), dy.dtype(), "gradient of layer norm");
      const bool apart = added.v && !same && t.wants(branch);
      const Tensor dx = apart ? t.empty(dy.shape(), dy.dtype(), "gradient of layer norm") : Tensor();
      const Tensor dgamma = t.wants(gamma) ? t.grad(gamma) : t.zeros({C}, dtype_of<A>),
                   dbeta = t.wants(beta) ? t.grad(beta) : t.zeros({C}, dtype_of<A>);
      run_with_workspace(t, LayerNormBwd<T>{.s = s.data<T>(),
                                            .gamma = gamma.v.data<T>(),
                                            .dy = dy.data<T>(),
                                            .mean = mean.data<A>(),
                                            .rstd = rstd.data<A>(),
                                            .ds = ds.data<T>(),
                                            .dx = apart ? dx.data<T>() : nullptr,
                                            .dgamma = dgamma.data<A>(),
                                            .dbeta = dbeta.data<A>(),
                                            .R = R,
                                            .C = C,
                                            .rows = rows,
                                            .drop = drop});
      if (added.v) t.add_grad(added, ds);
      t.add_grad(branch, apart ? dx : ds);
    });
  });
}

Var drop_rows(Tape& t, const char* op, const Var& x, const Var* residual, const DropoutSite& drop,
              const Tensor& zero_row) {
  const int64_t C = x.dim(-1), R = rows_of(x.v), rows = rows_of_example(x.v);
  need_dense(op, "x", x.v);
  if (residual)
    need_shape(op, "residual", residual->v, x.shape(), "shape of x", x.v),
        need_same_dtype(op, "residual", residual->v, x.v);
  if (zero_row) {
    need_dtype(op, "zero_row", zero_row, DType::u8);
    need_shape(op, "zero_row", zero_row, Shape(x.shape().begin(), x.shape().end() - 1), "rows of x", x.v);
  }
  if (!residual && !zero_row && drop.threshold == 65536) return x;
  const Var added = residual ? *residual : Var{};
  return with_dtype(x.dtype(), [&]<class T>() {
    const auto pass = [=, &t](const Tensor& from, const Tensor* add, const Tensor& to) {
      run(t.stream(), Dropout<T>{.x = from.data<T>(),
                                 .residual = add ? add->data<T>() : nullptr,
                                 .zero_row = zero_row ? zero_row.data<uint8_t>() : nullptr,
                                 .y = to.data<T>(),
                                 .R = R,
                                 .C = C,
                                 .rows = rows,
                                 .drop = drop});
    };
    Tensor y = t.empty(x.shape(), x.dtype(), op);
    pass(x.v, residual ? &added.v : nullptr, y);
    Var branch = x;
    branch.v = y;  // only its shape is looked at again; keeps x's memory free
    return t.record(y, {&x, residual ? residual : &x}, [=, &t](Tensor dy) {
      const Tensor dx = dy.unique() && !added.v ? dy : t.empty(dy.shape(), dy.dtype(), "gradient of dropout");
      if (t.wants(branch)) pass(dy, nullptr, dx), t.add_grad(branch, dx);
      if (added.v) t.add_grad(added, std::move(dy));
    });
  });
}

}  // namespace

Var layer_norm(Tape& t, const Var& x, const Var& gamma, const Var& beta, double eps) {
  return normalise(t, "layer_norm", x, nullptr, gamma, beta, eps, {});
}

Var dropout_add_layer_norm(Tape& t, const Var& x, const Var& residual, const Var& gamma, const Var& beta, double eps,
                           const DropoutSite& drop) {
  return normalise(t, "dropout_add_layer_norm", x, &residual, gamma, beta, eps, drop);
}

Var dropout(Tape& t, const Var& x, const DropoutSite& drop, const Tensor& zero_row) {
  return drop_rows(t, "dropout", x, nullptr, drop, zero_row);
}

Var dropout_add(Tape& t, const Var& x, const Var& residual, const DropoutSite& drop) {
  return drop_rows(t, "dropout_add", x, &residual, drop, {});
}

}  // namespace selene
