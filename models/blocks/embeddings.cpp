#include "models/blocks/embeddings.h"

#include <cmath>

namespace selene {

Tensor sinusoidal_table(Context& context, int64_t rows, int64_t D, int64_t zero_row, DType dtype) {
  const int64_t half = D / 2;
  std::vector<float> values(size_t(rows * D), 0.0f);
  for (int64_t p = 0; p < rows; ++p)
    for (int64_t j = 0; j < half && p != zero_row; ++j) {
      // fp32 as in the reference: angles of large positions differ visibly in double
      const float omega = std::exp(float(j) * -float(std::log(10000.0) / double(half - 1)));
      values[size_t(p * D + j)] = std::sin(float(p) * omega);
      values[size_t(p * D + half + j)] = std::cos(float(p) * omega);
    }
  const Tensor table = context.make(context.persistent(), {rows, D}, dtype, "sinusoidal positions");
  if (context.is_dry()) return table;
  if (dtype == DType::f32) return context.upload(table, values.data()), table;
  if (dtype == DType::f64)
    return context.upload(table, std::vector<double>(values.begin(), values.end()).data()), table;
  std::vector<uint16_t> narrow(values.size());
  for (size_t i = 0; i < values.size(); ++i)
    narrow[i] = dtype == DType::bf16 ? down<bf16>(values[i]).bits : down<f16>(values[i]).bits;
  context.upload(table, narrow.data());
  return table;
}

// P's rows stand before the tables of X, their norm after them: an order that the random start depends on.
Embeddings::Embeddings(const Builder& b, const Symbols& symbols, const Packed& packed, double token_deviation,
                       Context& context, DType compute)
    : config_(b.config),
      symbols_(symbols),
      drop_(b.site("embeddings", config_.dropout)),
      drop_p_{Builder::kSites, config_.dropout} {
  const int64_t D = config_.dim;
  const bool sinusoidal = config_.positions == "sinusoidal";
  if (packed.rows) declare_p(b, packed);
  declare_x(b, token_deviation);
  const int64_t rows = config_.max_positions + symbols_.pad + 1;
  if (config_.positions == "learned")
    positions_ = b.add("embed_positions.weight", {rows, D},
                       {Init::normal, b.bert() ? 0.02 : 1 / std::sqrt(double(D)), symbols_.pad});
  if (sinusoidal) sinusoids_ = sinusoidal_table(context, rows, D, symbols_.pad, compute);
  if (config_.embedding_norm) norm_ = Norm(b, "emb_layer_norm", D);
  if (packed.rows && config_.embedding_norm) p_norm_ = Norm(b, "proj_emb_layer_norm", D);
  if (packed.rows && sinusoidal) p_sinusoids_ = sinusoidal_table(context, packed.rows, D, -1, compute);
}

void Embeddings::declare_p(const Builder& b, const Packed& packed) {
  const Init init{Init::normal, 1 / std::sqrt(double(config_.dim))};
  const Shape shape{packed.rows, config_.dim};
  if (packed.contextual) p_.push_back(b.add("projected_embeddings", shape, init));
  else
    for (int64_t i = 0; i < config_.layers; ++i)
      p_.push_back(b.add("projected_embeddings." + std::to_string(i), shape, init));
}

void Embeddings::declare_x(const Builder& b, double token_deviation) {
  const int64_t D = config_.dim;
  if (config_.input == "pixels") {  // fairseq real_number_embedding.py
    symbols_.pad = -1;
    pixel_weight_ = b.add("embed_tokens.weight", {D}, {Init::normal, 1});
    pixel_bias_ = b.add("embed_tokens.bias", {D}, {Init::normal, 0.1});
  } else {
    table_ = b.add("embed_tokens.weight", {symbols_.count, D},
                   {Init::normal, b.bert() ? 0.02 : token_deviation, symbols_.pad});
  }
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
  return dropout(t, x, drop_(t, {.tower = tower}), padding);
}

Var Embeddings::p(Tape& t, int64_t layer, int64_t B, int64_t rows, const Tensor& padding, int tower) const {
  Var p = t.parameter(p_[size_t(layer)]);
  if (config_.scale_embedding) p = scale(t, p, std::sqrt(double(config_.dim)));
  if (p_sinusoids_) p = add(t, p, t.constant(p_sinusoids_));
  if (p_norm_) p = p_norm_(t, p);
  return dropout(t, expand_batch(t, p, B, rows), drop_p_(t, {tower, layer - 1}), padding);
}

}  // namespace selene
