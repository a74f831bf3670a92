#include <cmath>

#include "models/encoder.h"

namespace selene {

Embeddings::Embeddings(const Builder& b, const Symbols& symbols, double token_deviation, Context& context,
                       DType compute)
    : config_(b.config), symbols_(symbols) {
  const int64_t D = config_.dim;
  const bool pixels = config_.input == "pixels";
  if (pixels) {  // fairseq real_number_embedding.py
    symbols_.pad = -1;
    pixel_weight_ = b.add("embed_tokens.weight", {D}, {Init::normal, 1});
    pixel_bias_ = b.add("embed_tokens.bias", {D}, {Init::normal, 0.1});
  } else {
    table_ = b.add("embed_tokens.weight", {symbols_.count, D},
                   {Init::normal, b.bert() ? 0.02 : token_deviation, symbols_.pad});
  }
  const int64_t rows = config_.max_positions + symbols_.pad + 1;
  if (config_.positions == "learned")
    positions_ = b.add("embed_positions.weight", {rows, D},
                       {Init::normal, b.bert() ? 0.02 : 1 / std::sqrt(double(D)), symbols_.pad});
  if (config_.positions == "sinusoidal") sinusoids_ = sinusoidal_table(context, rows, D, symbols_.pad, compute);
  if (config_.embedding_norm) norm_ = Norm(b, "emb_layer_norm", D);
}

Var Embeddings::operator()(Tape& t, const TowerInput& input, const Tensor& padding, int tower) const {
  const double factor = config_.scale_embedding ? std::sqrt(double(config_.dim)) : 1;
  AddedRows add;
  Var rows;
  if (config_.positions != "none") {
    const Tensor& any = input.tokens ? input.tokens : t.empty({input.B, input.N}, DType::i32, "positions");
    rows = positions_ >= 0 ? t.parameter(positions_) : t.constant(sinusoids_);
    add = {&rows, positions(t, any, symbols_.pad), symbols_.pad};
  }
  Var x = table_ >= 0 ? embedding(t, input.tokens, t.parameter(table_), factor, symbols_.pad, add)
                      : pixel_embedding(t, Var{input.pixels, input.pixels_slot, -1}, t.parameter(pixel_weight_),
                                        t.parameter(pixel_bias_), factor, add);
  if (norm_) x = norm_(t, x);
  return dropout(t, x, t.dropout(config_.dropout, dropout_site(tower, -1, 0)), padding);
}

}  // namespace selene
