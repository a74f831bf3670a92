// Luna attention: Ma et al. 2021, "Luna: Linear Unified Nested Attention", eq. 4 and 5; fairseq luna_attention.py.
#include <cmath>

#include "models/attention/attention.h"

namespace selene::mechanisms {
namespace {

class Luna : public Attention {
 public:
  explicit Luna(const Builder& b)
      : heads_(b.config.heads),
        pack_heads_(b.config.pack_heads ? b.config.pack_heads : b.config.heads),
        tied_(b.config.tie_kv),
        unpack_(b.site("unpack", b.config.attention_dropout)) {
    pq_ = projection(b, "pq_proj"), q_ = projection(b, "q_proj");
    pk_ = projection(b, tied_ ? "pc_proj" : "pk_proj"), pv_ = tied_ ? pk_ : projection(b, "pv_proj");
    k_ = projection(b, tied_ ? "c_proj" : "k_proj"), v_ = tied_ ? k_ : projection(b, "v_proj");
    out_ = Linear(b, "out_proj", b.config.dim, b.config.dim, b.config.attention_bias, Linear::Start::output);
  }

  // P attends to the context; there is no output projection.
  Var pack(Tape& t, const Var& p, const View& view) const override {
    const double scale = 1 / std::sqrt(double(p.dim(2) / pack_heads_));
    const Var keys = pk_(t, view.context), values = tied_ ? keys : pv_(t, view.context);
    return attention(t, pq_(t, p), keys, values, pack_heads_, view.padding, scale, false, view.drop);
  }

  // X attends to what P packed.
  Var mix(Tape& t, const Var& query, const View& view) const override {
    const double scale = 1 / std::sqrt(double(query.dim(2) / heads_));
    const Var keys = k_(t, view.packed), values = tied_ ? keys : v_(t, view.packed);
    return out_(
        t, attention(t, q_(t, query), keys, values, heads_, view.packed_padding, scale, false, unpack_(t, view.at)));
  }

  void leave_out_mix(Parameters& parameters) const override {
    for (const Linear* l : {&q_, &k_, &v_, &out_}) l->no_gradient_path(parameters);
  }

 private:
  Linear pq_, pk_, pv_, q_, k_, v_, out_;  // tied: pk = pv, k = v
  int64_t heads_, pack_heads_;
  bool tied_;
  Site unpack_;
};

Packed packed(const ModelConfig& c) {
  return {.rows = c.projection_length, .dynamic = c.dynamic_projection, .contextual = c.contextual_p};
}

}  // namespace

Mechanism luna() { return {.name = "luna", .causal = false, .make = made<Luna>, .packed = packed}; }

}  // namespace selene::mechanisms
