#include "models/encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "models/registry.h"

namespace selene {
namespace {

Packed packed_of(const ModelConfig& config) {
  const Mechanism& mechanism = attention_named(config.attention);
  return mechanism.packed ? mechanism.packed(config) : Packed{};
}

// fairseq's Transformer encoder leaves the token table at torch's deviation of 1; Luna and language models don't.
double token_deviation(const ModelConfig& config, bool causal) {
  return causal || packed_of(config).rows ? 1 / std::sqrt(double(config.dim)) : 1;
}

}  // namespace

Encoder::Encoder(const Builder& b, const Symbols& symbols, Context& context, DType compute, bool causal)
    : causal_(causal),
      packed_(packed_of(b.config)),
      embeddings_(b, symbols, packed_, token_deviation(b.config, causal), context, compute),
      stack_(b, attention_named(b.config.attention), b.config.pooling == "p") {
  if (causal && !attention_named(b.config.attention).causal)
    throw Error(
        fmt::format("model.attention is {}, wanted a mechanism with a causal form: in {} every position sees those "
                    "after it",
                    b.config.attention, b.config.attention));
}

State Encoder::forward(Tape& t, const TowerInput& input, int tower, Wanted wanted) const {
  const int64_t rows = packed_.dynamic ? std::min(packed_.rows, input.N) : packed_.rows;
  Masks masks{.padding = {}, .packed_padding = {}, .causal = causal_};
  if (input.lengths) masks.padding = padding_mask(t, input.lengths, input.N);
  if (input.lengths && packed_.dynamic) masks.packed_padding = padding_mask(t, input.lengths, rows);
  const auto start_p = [&](int64_t layer) {
    return embeddings_.p(t, layer, input.B, rows, masks.packed_padding, tower);
  };
  State start{.x = embeddings_(t, input, masks.padding, tower), .p = {}};
  if (!packed_.rows) return stack_.forward(t, start, masks, tower, wanted);
  start.p = start_p(0);
  if (packed_.contextual) return stack_.forward(t, start, masks, tower, wanted);
  return stack_.forward(t, start, masks, tower, wanted, start_p);
}

}  // namespace selene
