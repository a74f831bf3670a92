// Softmax attention over all positions: Vaswani et al. 2017, section 3.2; fairseq multihead_attention.py.
#include <cmath>

#include "models/attention/attention.h"

namespace selene::mechanisms {
namespace {

class Full : public Attention {
 public:
  explicit Full(const Builder& b) : projections_(b), heads_(b.config.heads) {
    const auto& [q, k, v, out] = projections_;
    side_by_side(b, {&q, &v, &k});
  }

  Var mix(Tape& t, const Var& query, View& view) const override {
    const auto& [q, k, v, out] = projections_;
    std::vector<Var> all;  // queries, values, keys
    if (view.self) all = together(t, query, {&q, &v, &k});
    else all = together(t, view.context, {&v, &k}), all.insert(all.begin(), q(t, query));
    const Var& queries = all[0];
    const double scale = 1 / std::sqrt(double(queries.dim(2) / heads_));
    return out(t, attention(t, queries, all[2], all[1], heads_, view.padding, scale, view.causal, view.drop));
  }

 private:
  Projections projections_;
  int64_t heads_;
};

}  // namespace

Mechanism full() {
  return {.name = "full",
          .label = "transformer",
          .causal = true,
          .make = made<Full>,
          .largest_head = [](const ModelConfig& c) { return (c.attention_dim ? c.attention_dim : c.dim) / c.heads; }};
}

}  // namespace selene::mechanisms
