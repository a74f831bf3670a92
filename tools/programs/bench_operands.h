// Operands of the measurements and comparisons of single operations, and how far results lie apart.
#pragma once
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "engine/context.h"
#include "kernels/attention.h"

namespace selene::bench {

/// "BxHxNqxNkxK" as numbers. Error for anything else.
std::array<int64_t, 5> parse_shape(const std::string& text);

/// Numbers evenly between -1 and 1, the same for the same shape and seed.
template <class T>
std::vector<T> random_values(int64_t n, uint32_t seed) {
  std::vector<T> values(static_cast<size_t>(n));
  uint32_t x = seed * 2654435761u + 1;  // Marsaglia 2003, "Xorshift RNGs"
  for (T& value : values) {
    x ^= x << 13, x ^= x >> 17, x ^= x << 5;
    value = down<T>(float(int32_t(x)) * 0x1p-31f);
  }
  return values;
}

/// One attention with dense operands: q, d_o, o, dq [B, Nq, H K], k, v, dk, dv [B, Nk, H K], lse [B, H, Nq], and the
/// two argument structs.
template <class T>
struct AttentionProblem {
  AttentionProblem(Context& context, const std::array<int64_t, 5>& shape) {
    const auto [B, H, Nq, Nk, K] = shape;
    // Not every compiler lets a lambda see the names of a structured binding.
    const auto filled = [&, B = B, width = H * K](int64_t N, uint32_t seed) {
      return context.tensor<T>({B, N, width}, random_values<T>(B * N * width, seed), "operand");
    };
    q = filled(Nq, 1), k = filled(Nk, 2), v = filled(Nk, 3), d_o = filled(Nq, 4);
    o = context.empty(q.shape(), dtype_of<T>), dq = context.empty(q.shape(), dtype_of<T>);
    dk = context.empty(k.shape(), dtype_of<T>), dv = context.empty(k.shape(), dtype_of<T>);
    lse = context.empty({B, H, Nq}, DType::f32);
    f.q = q.data<T>(), f.k = k.data<T>(), f.v = v.data<T>(), f.o = o.data<T>(), f.lse = lse.data<Acc<T>>();
    f.B = B, f.H = H, f.Nq = Nq, f.Nk = Nk, f.K = K, f.scale = Acc<T>(1 / std::sqrt(double(K)));
    f.q_row = f.o_row = f.k_row = f.v_row = H * K;
    f.q_batch = f.o_batch = Nq * H * K, f.k_batch = f.v_batch = Nk * H * K;
    b.q = f.q, b.k = f.k, b.v = f.v, b.o = f.o, b.d_o = d_o.data<T>(), b.lse = f.lse;
    b.dq = dq.data<T>(), b.dk = dk.data<T>(), b.dv = dv.data<T>();
    b.B = B, b.H = H, b.Nq = Nq, b.Nk = Nk, b.K = K, b.scale = f.scale;
    b.q_row = b.o_row = b.k_row = b.v_row = b.dq_row = b.dk_row = b.dv_row = H * K;
    b.q_batch = b.o_batch = b.dq_batch = f.q_batch, b.k_batch = b.v_batch = b.dk_batch = b.dv_batch = f.k_batch;
  }
  Tensor q, k, v, d_o, o, dq, dk, dv, lse;
  AttentionFwd<T> f{};
  AttentionBwd<T> b{};
};

/// The bytes of the step arena that an AttentionProblem and the scratch of its kernels fit into.
inline int64_t attention_bytes(const std::array<int64_t, 5>& n) {
  return n[0] * n[1] * n[4] * (n[2] + n[3]) * 64 + (int64_t(64) << 20);
}

/// Launches with scratch of its own, which lives until the launch has ended.
template <template <class> class A, class T>
void run_with_scratch(Context& context, A<T> arguments) {
  const Tensor scratch = context.empty({workspace_bytes(context.stream(), arguments)}, DType::u8, "workspace");
  arguments.workspace = static_cast<Acc<T>*>(scratch.raw());
  run(context.stream(), arguments);
}

/// How far results lie from those of the first call: the largest difference over the largest number of the first;
/// what is not finite stays so.
class Distance {
 public:
  double of(Context& context, const std::vector<Tensor>& tensors);

 private:
  std::vector<float> first_;
};

}  // namespace selene::bench
