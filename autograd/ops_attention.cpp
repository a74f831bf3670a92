// Softmax attention: the one operation behind full attention and Luna's pack and unpack.
#include <fmt/format.h>

#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/products.h"
#include "autograd/with_dtype.h"
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

}  // namespace

Var attention(Tape& t, const Var& q, const Var& k, const Var& v, int64_t heads, const Tensor& key_mask, double scale,
              bool causal, const DropoutSite& drop) {
  need_attention(q, k, v, heads, key_mask);
  const int64_t B = q.dim(0), Nq = q.dim(1), Nk = k.dim(1), D = q.dim(2), K = D / heads;
  const AttentionWorkspace elements = attention_workspace(B, heads, Nq, Nk, K);
  const uint8_t* mask = key_mask ? key_mask.data<uint8_t>() : nullptr;
  const bool tied = k.slot >= 0 && k.slot == v.slot;
  Var out;
  with_dtype(q.dtype(), [&]<class T>() {
    using A = Acc<T>;
    Tensor o = t.empty({B, Nq, D}, q.dtype(), "attention");
    Tensor lse = t.empty({B, heads, Nq}, dtype_of<A>, "attention log sum exp");
    {
      const Tensor scratch = workspace(t, elements.forward, q.dtype());
      run(t.stream(), AttentionFwd<T>{q.v.data<T>(),
                                      k.v.data<T>(),
                                      v.v.data<T>(),
                                      mask,
                                      o.data<T>(),
                                      lse.data<A>(),
                                      B,
                                      heads,
                                      Nq,
                                      Nk,
                                      K,
                                      q.v.stride(0),
                                      q.v.stride(1),
                                      k.v.stride(0),
                                      k.v.stride(1),
                                      v.v.stride(0),
                                      v.v.stride(1),
                                      Nq * D,
                                      D,
                                      A(scale),
                                      causal,
                                      drop,
                                      workspace_data<A>(scratch)});
    }
    out = t.record(o, {&q, &k, &v}, [=, &t](const Tensor& d_o) {
      const Tensor dq = t.empty({B, Nq, D}, q.dtype(), "gradient of queries");
      const Tensor dk = t.empty({B, Nk, D}, q.dtype(), "gradient of keys");
      const Tensor dv = tied ? dk : t.empty({B, Nk, D}, q.dtype(), "gradient of values");
      {
        const Tensor scratch = workspace(t, elements.backward, q.dtype());
        run(t.stream(), AttentionBwd<T>{q.v.data<T>(),
                                        k.v.data<T>(),
                                        v.v.data<T>(),
                                        o.data<T>(),
                                        d_o.data<T>(),
                                        key_mask ? key_mask.data<uint8_t>() : nullptr,
                                        lse.data<A>(),
                                        dq.data<T>(),
                                        dk.data<T>(),
                                        dv.data<T>(),
                                        B,
                                        heads,
                                        Nq,
                                        Nk,
                                        K,
                                        q.v.stride(0),
                                        q.v.stride(1),
                                        k.v.stride(0),
                                        k.v.stride(1),
                                        v.v.stride(0),
                                        v.v.stride(1),
                                        Nq * D,
                                        D,
                                        Nq * D,
                                        D,
                                        Nk * D,
                                        D,
                                        Nk * D,
                                        D,
                                        A(scale),
                                        causal,
                                        drop,
                                        workspace_data<A>(scratch)});
      }
      t.add_grad(q, dq);
      t.add_grad(k, dk);
      if (!tied) t.add_grad(v, dv);
    });
  });
  return out;
}

}  // namespace selene
