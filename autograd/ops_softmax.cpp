// Softmax, log softmax and the classification loss.
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/with_dtype.h"
#include "autograd/workspace.h"

namespace selene {
namespace {

Var rows_softmax(Tape& t, const char* op, const Var& x, const Tensor& mask, bool causal, bool log) {
  const int64_t C = x.dim(-1), R = rows_of(x.v);
  need_dense(op, "x", x.v);
  if (mask)
    need_dtype(op, "mask", mask, DType::u8),
        need_shape(op, "mask", mask, {x.dim(0), C}, "first and last axis of x", x.v);
  return with_dtype(x.dtype(), [&]<class T>() {
    Tensor y = t.empty(x.shape(), x.dtype(), op);
    run(t.stream(), SoftmaxFwd<T>{.x = x.v.data<T>(),
                                  .mask = mask ? mask.data<uint8_t>() : nullptr,
                                  .y = y.data<T>(),
                                  .R = R,
                                  .C = C,
                                  .rows = mask ? R / x.dim(0) : R,
                                  .log = log,
                                  .causal = causal,
                                  .rows_causal = x.v.rank() > 1 ? x.dim(-2) : 1});
    return t.record(y, {&x}, [=, &t](const Tensor& dy) {
      const Tensor dx = dy.unique() ? dy : t.empty(dy.shape(), dy.dtype(), "gradient of softmax");
      run(t.stream(),
          SoftmaxBwd<T>{.y = y.data<T>(), .dy = dy.data<T>(), .dx = dx.data<T>(), .R = R, .C = C, .log = log});
      t.add_grad(x, dx);
    });
  });
}

}  // namespace

Var softmax(Tape& t, const Var& x, const Tensor& mask, bool causal) {
  return rows_softmax(t, "softmax", x, mask, causal, false);
}
Var log_softmax(Tape& t, const Var& x) { return rows_softmax(t, "log_softmax", x, {}, false, true); }

Var cross_entropy(Tape& t, const Var& logits, const Tensor& target, double eps, int32_t ignore, const Tensor& sums) {
  need_rank("cross_entropy", "logits", logits.v, 2);
  need_dense("cross_entropy", "logits", logits.v);
  const int64_t R = logits.dim(0), C = logits.dim(1);
  need_dtype("cross_entropy", "target", target, DType::i32);
  need_shape("cross_entropy", "target", target, {R}, "rows of logits", logits.v);
  const Tensor total = sums ? sums : t.zeros({4}, DType::f64, "loss sums");
  need_dtype("cross_entropy", "sums", total, DType::f64),
      need_shape("cross_entropy", "sums", total, {4}, "LossSums beside", logits.v);
  return with_dtype(logits.dtype(), [&]<class T>() {
    using A = Acc<T>;
    const Tensor lse = t.empty({R}, dtype_of<A>, "log sum exp"), row_loss = t.empty({R}, dtype_of<A>, "row loss");
    run_with_workspace(t, CrossEntropyFwd<T>{.logits = logits.v.data<T>(),
                                             .target = target.data<int32_t>(),
                                             .lse = lse.data<A>(),
                                             .row_loss = row_loss.data<A>(),
                                             .sums = static_cast<LossSums*>(total.raw()),
                                             .R = R,
                                             .C = C,
                                             .ignore = ignore,
                                             .eps = A(eps)});
    return t.record(total.slice(0, 0, 1), {&logits}, [=, &t](const Tensor& dloss) {
      const Tensor dx = t.empty(logits.shape(), logits.dtype(), "gradient of cross_entropy");
      run(t.stream(), CrossEntropyBwd<T>{.logits = logits.v.data<T>(),
                                         .target = target.data<int32_t>(),
                                         .lse = lse.data<A>(),
                                         .dloss = dloss.data<A>(),
                                         .dlogits = dx.data<T>(),
                                         .R = R,
                                         .C = C,
                                         .ignore = ignore,
                                         .eps = A(eps)});
      t.add_grad(logits, dx);
    });
  });
}

}  // namespace selene
