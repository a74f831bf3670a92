// The bottom of a model: token, position and pixel embeddings, P for every example, masks.
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/products.h"
#include "autograd/with_dtype.h"
#include "autograd/workspace.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"

namespace selene {
namespace {

void need_added(const char* op, const AddedRows& add, int64_t B, int64_t N, const Tensor& table) {
  if (!add.table) return;
  need_dtype(op, "add.ids", add.ids, DType::i32);
  need_shape(op, "add.ids", add.ids, {B, N}, "positions of", add.ids);
  need_same_dtype(op, "add.table", add.table->v, table);
  need_shape(op, "add.table", add.table->v, {add.table->dim(0), table.dim(-1)}, "channels of table", table);
}

// dtable[ids[r]] += scale dy[r]
void scatter(Tape& t, const Tensor& ids, const Tensor& dy, const Var& table, int32_t pad, double scale) {
  if (!t.wants(table)) return;
  with_dtype(dy.dtype(), [&]<class T>() {
    run_with_workspace(t, EmbeddingBwd<T>{.ids = ids.data<int32_t>(),
                                          .dy = dy.data<T>(),
                                          .dtable = t.grad(table).data<Acc<T>>(),
                                          .R = rows_of(dy),
                                          .D = dy.dim(-1),
                                          .V = table.dim(0),
                                          .pad = pad,
                                          .scale = Acc<T>(scale)});
  });
}

}  // namespace

Var embedding(Tape& t, const Tensor& ids, const Var& table, double scale, int32_t pad, const AddedRows& add) {
  need_dtype("embedding", "ids", ids, DType::i32);
  need_rank("embedding", "ids", ids, 2), need_rank("embedding", "table", table.v, 2);
  need_added("embedding", add, ids.dim(0), ids.dim(1), table.v);
  const int64_t B = ids.dim(0), N = ids.dim(1), D = table.dim(1);
  const Var positions = add.table ? *add.table : Var{};
  Tensor y = t.empty({B, N, D}, table.dtype(), "embedding");
  with_dtype(table.dtype(), [&]<class T>() {
    run(t.stream(), EmbeddingFwd<T>{.ids = ids.data<int32_t>(),
                                    .ids2 = add.table ? add.ids.data<int32_t>() : nullptr,
                                    .table = table.v.data<T>(),
                                    .add = add.table ? positions.v.data<T>() : nullptr,
                                    .y = y.data<T>(),
                                    .R = B * N,
                                    .D = D,
                                    .scale = Acc<T>(scale)});
  });
  const Tensor add_ids = add.ids;
  const int32_t add_pad = add.pad;
  return t.record(y, {&table, add.table ? add.table : &table}, [=, &t](const Tensor& dy) {
    scatter(t, ids, dy, table, pad, scale);
    if (positions.v) scatter(t, add_ids, dy, positions, add_pad, 1);
  });
}

Var pixel_embedding(Tape& t, const Var& x, const Var& w, const Var& b, double scale, const AddedRows& add) {
  need_rank("pixel_embedding", "x", x.v, 2), need_rank("pixel_embedding", "w", w.v, 1);
  need_same_dtype("pixel_embedding", "x", x.v, w.v);
  need_shape("pixel_embedding", "b", b.v, {w.dim(0)}, "channels of w", w.v);
  need_added("pixel_embedding", add, x.dim(0), x.dim(1), w.v);
  const int64_t B = x.dim(0), N = x.dim(1), D = w.dim(0);
  const Var positions = add.table ? *add.table : Var{};
  const Tensor add_ids = add.ids;
  const int32_t add_pad = add.pad;
  return with_dtype(w.dtype(), [&]<class T>() {
    using A = Acc<T>;
    Tensor y = t.empty({B, N, D}, w.dtype(), "pixel_embedding");
    run(t.stream(), PixelFwd<T>{.x = x.v.data<T>(),
                                .w = w.v.data<T>(),
                                .b = b.v.data<T>(),
                                .ids2 = positions.v ? add_ids.data<int32_t>() : nullptr,
                                .add = positions.v ? positions.v.data<T>() : nullptr,
                                .y = y.data<T>(),
                                .R = B * N,
                                .D = D,
                                .scale = A(scale)});
    return t.record(y, {&x, &w, &b, add.table ? add.table : &w}, [=, &t](const Tensor& dy) {
      const Tensor dx = t.wants(x) ? t.empty(x.shape(), x.dtype(), "gradient of pixels") : Tensor();
      const Tensor dw = t.wants(w) ? t.grad(w) : t.zeros({D}, dtype_of<A>),
                   db = t.wants(b) ? t.grad(b) : t.zeros({D}, dtype_of<A>);
      run_with_workspace(t, PixelBwd<T>{.x = x.v.data<T>(),
                                        .w = w.v.data<T>(),
                                        .dy = dy.data<T>(),
                                        .dx = dx ? dx.data<T>() : nullptr,
                                        .dw = dw.data<A>(),
                                        .db = db.data<A>(),
                                        .R = B * N,
                                        .D = D,
                                        .scale = A(scale)});
      if (dx) t.add_grad(x, dx);
      if (positions.v) scatter(t, add_ids, dy, positions, add_pad, 1);
    });
  });
}

Var expand_batch(Tape& t, const Var& p, int64_t B, int64_t rows) {
  need_rank("expand_batch", "p", p.v, 2), need_dense("expand_batch", "p", p.v);
  const int64_t D = p.dim(1);
  const Tensor used = p.v.slice(0, 0, rows);
  Tensor y = t.empty({B, rows, D}, p.dtype(), "expand_batch");
  with_dtype(p.dtype(), [&]<class T>() {
    const CopyStrided<T> copy{used.data<T>(), y.data<T>(), {1, B, rows, D}, {0, 0, D, 1}, {0, rows * D, D, 1}, 0};
    run(t.stream(), copy);
  });
  return t.record(y, {&p},
                  [=, &t](const Tensor& dy) {  // the gradient of the first rows is a column sum over the batch
                    const DType wide = p.dtype() == DType::f64 ? DType::f64 : DType::f32;
                    Tensor dp = t.zeros(p.shape(), wide, "gradient of expand_batch");
                    add_column_sum(t, dy.reshape({B, rows * D}), dp.slice(0, 0, rows).reshape({rows * D}));
                    t.add_grad(p, cast(t, dp, p.dtype()));
                  });
}

Tensor positions(Tape& t, const Tensor& tokens, int32_t pad) {
  need_dtype("positions", "tokens", tokens, DType::i32), need_rank("positions", "tokens", tokens, 2);
  Tensor p = t.empty(tokens.shape(), DType::i32, "positions");
  run(t.stream(), Positions<float>{tokens.data<int32_t>(), p.data<int32_t>(), tokens.dim(0), tokens.dim(1), pad});
  return p;
}

Tensor padding_mask(Tape& t, const Tensor& lengths, int64_t N) {
  need_dtype("padding_mask", "lengths", lengths, DType::i32), need_rank("padding_mask", "lengths", lengths, 1);
  Tensor mask = t.empty({lengths.dim(0), N}, DType::u8, "padding mask");
  run(t.stream(), PaddingMask<float>{lengths.data<int32_t>(), mask.data<uint8_t>(), lengths.dim(0), N});
  return mask;
}

}  // namespace selene
