// Softmax attention: the one operation behind full attention and Luna's pack and unpack.
#include <fmt/format.h>

#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/with_dtype.h"
#include "autograd/workspace.h"
#include "kernels/attention.h"
#include "kernels/error.h"

namespace selene {
namespace {

void need_attention(const Var& q, const Var& k, const Var& v, int64_t heads, const Tensor& key_mask) {
  const char* op = "attention";
  need_rank(op, "q", q.v, 3);
  if (heads < 1 || q.dim(2) % heads)
    throw Error(fmt::format("attention: q is {}, wanted channels divisible by {} heads", q.v.text(), heads));
  need_rank(op, "k", k.v, 3);
  need_shape(op, "k", k.v, {q.dim(0), k.dim(1), q.dim(2)}, "batch and channels of q", q.v);
  need_shape(op, "v", v.v, k.shape(), "shape of k", k.v);
  need_same_dtype(op, "k", k.v, q.v), need_same_dtype(op, "v", v.v, q.v);
  for (const Var* x : {&q, &k, &v})
    if (x->v.stride(2) != 1)
      throw Error(fmt::format("attention: {} has channels that are not neighbours", x->v.text()));
  if (!key_mask) return;
  need_dtype(op, "key_mask", key_mask, DType::u8), need_dense(op, "key_mask", key_mask);
  need_shape(op, "key_mask", key_mask, {k.dim(0), k.dim(1)}, "batch and length of k", k.v);
}

// The backward pass of f.
template <class T>
AttentionBwd<T> backward_of(const AttentionFwd<T>& f, const T* d_o, const Tensor& dq, const Tensor& dk,
                            const Tensor& dv) {
  AttentionBwd<T> b{};
  b.q = f.q, b.k = f.k, b.v = f.v, b.o = f.o, b.d_o = d_o, b.key_mask = f.key_mask, b.lse = f.lse;
  b.dq = dq.data<T>(), b.dk = dk.data<T>(), b.dv = dv.data<T>();
  b.B = f.B, b.H = f.H, b.Nq = f.Nq, b.Nk = f.Nk, b.K = f.K;
  b.q_batch = f.q_batch, b.q_row = f.q_row, b.k_batch = f.k_batch, b.k_row = f.k_row;
  b.v_batch = f.v_batch, b.v_row = f.v_row, b.o_batch = f.o_batch, b.o_row = f.o_row;
  b.dq_batch = dq.stride(0), b.dq_row = dq.stride(1), b.dk_batch = dk.stride(0), b.dk_row = dk.stride(1);
  b.dv_batch = dv.stride(0), b.dv_row = dv.stride(1);
  b.scale = f.scale, b.causal = f.causal, b.drop = f.drop;
  return b;
}

}  // namespace

Var attention(Tape& t, const Var& q, const Var& k, const Var& v, int64_t heads, const Tensor& key_mask, double scale,
              bool causal, const DropoutSite& drop) {
  need_attention(q, k, v, heads, key_mask);
  const int64_t B = q.dim(0), Nq = q.dim(1), Nk = k.dim(1), D = q.dim(2);
  const bool tied = k.slot >= 0 && k.slot == v.slot;
  return with_dtype(q.dtype(), [&]<class T>() {
    using A = Acc<T>;
    const Tensor o = t.empty({B, Nq, D}, q.dtype(), "attention"),
                 lse = t.empty({B, heads, Nq}, dtype_of<A>, "attention log sum exp");
    AttentionFwd<T> f{};
    f.q = q.v.data<T>(), f.k = k.v.data<T>(), f.v = v.v.data<T>(), f.o = o.data<T>(), f.lse = lse.data<A>();
    f.key_mask = key_mask ? key_mask.data<uint8_t>() : nullptr;
    f.B = B, f.H = heads, f.Nq = Nq, f.Nk = Nk, f.K = D / heads;
    f.q_batch = q.v.stride(0), f.q_row = q.v.stride(1), f.k_batch = k.v.stride(0), f.k_row = k.v.stride(1);
    f.v_batch = v.v.stride(0), f.v_row = v.v.stride(1), f.o_batch = Nq * D, f.o_row = D;
    f.scale = A(scale), f.causal = causal, f.drop = drop;
    run_with_workspace(t, f);
    // The tensors o, lse and key_mask are kept for their memory, which f points into.
    return t.record(o, {&q, &k, &v}, [=, &t, o = o, lse = lse, key_mask = key_mask](const Tensor& d_o) {
      Tensor dq = t.empty_gradient(q, "gradient of queries"), dk = t.empty_gradient(k, "gradient of keys");
      Tensor dv = tied ? dk : t.empty_gradient(v, "gradient of values");
      run_with_workspace(t, backward_of(f, d_o.data<T>(), dq, dk, dv));
      t.add_grad(q, std::move(dq));
      t.add_grad(k, std::move(dk));
      if (!tied) t.add_grad(v, std::move(dv));
    });
  });
}

}  // namespace selene
