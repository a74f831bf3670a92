// Efficient attention: Shen et al. 2021, "Efficient Attention: Attention with Linear Complexities", section 3. With
// the queries, keys and values of a head, [N, K] each:
//   o = softmax over channels(q) (softmax over positions(k)^T v)
// The product in brackets is [K, K], so there is no matrix of N x N and the cost is linear in N.
#include "models/attention/attention.h"

namespace selene::mechanisms {
namespace {

class Efficient : public Attention {
 public:
  explicit Efficient(const Builder& b) : projections_(b), heads_(b.config.heads) {}

  Var mix(Tape& t, const Var& query, View& view) const override {
    const auto& [q, k, v, out] = projections_;
    const Var maps = transpose(t, split_heads(t, k(t, view.context), heads_), 2, 3);      // [B, H, K, N]
    const Var values = split_heads(t, v(t, view.context), heads_);                        // [B, H, N, K]
    const Var summary = matmul(t, softmax(t, maps, view.padding, false), values, false);  // [B, H, K, K]
    const Var queries = q(t, query);                                                      // [B, Nq, H K]
    const int64_t B = queries.dim(0), N = queries.dim(1), K = queries.dim(2) / heads_;
    const Var weights = softmax(t, reshape(t, queries, {B, N, heads_, K}), {}, false);
    const Var kept = dropout(t, reshape(t, weights, queries.shape()), view.drop, {});
    return out(t, merge_heads(t, matmul(t, split_heads(t, kept, heads_), summary, false)));  // [B, Nq, D]
  }

 private:
  Projections projections_;
  int64_t heads_;
};

}  // namespace

Mechanism efficient() { return {.name = "efficient", .causal = false, .make = made<Efficient>}; }

}  // namespace selene::mechanisms
