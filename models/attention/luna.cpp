// Luna attention: Ma et al. 2021, "Luna: Linear Unified Nested Attention", eq. 4 and 5; fairseq luna_attention.py.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/attention/attention.h"

namespace selene::mechanisms {
namespace {

int64_t pack_heads(const ModelConfig& c) {
  const int64_t own = c.own.get<int64_t>("luna.pack_heads");
  return own ? own : c.heads;
}

class Luna : public Attention {
 public:
  explicit Luna(const Builder& b)
      : heads_(b.config.heads),
        pack_heads_(pack_heads(b.config)),
        tied_(b.config.own.get<bool>("luna.tie_kv")),
        unpack_(b.site("unpack", b.config.attention_dropout)) {
    pq_ = projection(b, "pq_proj"), q_ = projection(b, "q_proj");
    pk_ = projection(b, tied_ ? "pc_proj" : "pk_proj"), pv_ = tied_ ? pk_ : projection(b, "pv_proj");
    k_ = projection(b, tied_ ? "c_proj" : "k_proj"), v_ = tied_ ? k_ : projection(b, "v_proj");
    side_by_side(b, with_values(pk_, pv_, &q_)), side_by_side(b, with_values(k_, v_));
    out_ = Linear(b, "out_proj", b.config.dim, b.config.dim, b.config.attention_bias, Linear::Start::output);
  }

  // P attends to the context; there is no output projection.
  Var pack(Tape& t, const Var& p, View& view) const override {
    const double scale = 1 / std::sqrt(double(p.dim(2) / pack_heads_));
    const std::vector<Var> of_context = together(t, view.context, with_values(pk_, pv_, view.self ? &q_ : nullptr));
    if (view.self) view.queries = of_context.back();
    return attention(t, pq_(t, p), of_context[0], of_context[tied_ ? 0 : 1], pack_heads_, view.padding, scale, false,
                     view.drop);
  }

  // X attends to what P packed.
  Var mix(Tape& t, const Var& query, View& view) const override {
    const double scale = 1 / std::sqrt(double(query.dim(2) / heads_));
    const Var queries = view.self ? std::exchange(view.queries, {}) : q_(t, query);
    const std::vector<Var> of_packed = together(t, view.packed, with_values(k_, v_));
    return out_(t, attention(t, queries, of_packed[0], of_packed[tied_ ? 0 : 1], heads_, view.packed_padding, scale,
                             false, unpack_(t, view.at)));
  }

  void leave_out_mix(Parameters& parameters) const override {
    for (const Linear* l : {&q_, &k_, &v_, &out_}) l->no_gradient_path(parameters);
  }

 private:
  // Keys and values, which may be tied, and where given one more of the same input.
  std::vector<const Linear*> with_values(const Linear& keys, const Linear& values,
                                         const Linear* more = nullptr) const {
    std::vector<const Linear*> layers{&keys};
    if (!tied_) layers.push_back(&values);
    if (more) layers.push_back(more);
    return layers;
  }

  Linear pq_, pk_, pv_, q_, k_, v_, out_;  // tied: pk = pv, k = v
  int64_t heads_, pack_heads_;
  bool tied_;
  Site unpack_;
};

Packed packed(const ModelConfig& c) {
  return {.rows = c.own.get<int64_t>("luna.projection_length"),
          .dynamic = c.own.get<bool>("luna.dynamic_projection"),
          .contextual = c.own.get<bool>("luna.contextual_p")};
}

void check(const ModelConfig& c, const Need& need) {
  need(c.attention_dim == 0 || c.attention_dim == c.dim, {"model.attention_dim", "model.attention"},
       fmt::format("model.attention_dim is {}, wanted 0: what Luna packs is added to P, which has model.dim ({})",
                   c.attention_dim, c.dim));
  need(c.dim % pack_heads(c) == 0, {"model.luna.pack_heads", "model.dim"},
       fmt::format("model.dim is {}, wanted a multiple of model.luna.pack_heads ({})", c.dim, pack_heads(c)));
}

constexpr std::string_view kCode = "Luna release of 2021";

}  // namespace

Mechanism luna() {
  return {.name = "luna",
          .sized_by = "projection_length",
          .causal = false,
          .keys = {{.name = "projection_length",
                    .initial = int64_t(16),
                    .unit = "rows",
                    .min = 1,
                    .max = 65536,
                    .help = "l, rows of the packed sequence P; the paper uses 16, 128 and 256",
                    .source = "Ma et al. 2021 (Luna)"},
                   {.name = "pack_heads",
                    .initial = int64_t(0),
                    .min = 0,
                    .max = 65536,
                    .help = "heads of the pack attention; 0: model.heads, which are those of the unpack attention",
                    .source = kCode},
                   {.name = "dynamic_projection",
                    .initial = true,
                    .help = "cut P to the longest row of a batch and mask the rows of P after an example's length",
                    .source = kCode},
                   {.name = "contextual_p",
                    .initial = true,
                    .help = "each layer takes P from the one before; false: each layer owns its P",
                    .source = "Ma et al. 2021, Table 5"},
                   {.name = "tie_kv",
                    .initial = false,
                    .help = "key and value share a matrix inside each of the two attentions",
                    .source = kCode}},
          .make = made<Luna>,
          .packed = packed,
          .check = check,
          .largest_head = [](const ModelConfig& c) { return c.dim / std::min(c.heads, pack_heads(c)); }};
}

}  // namespace selene::mechanisms
