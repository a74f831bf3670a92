// Where the states of a stack start: from symbols or pixels to X, and P's own rows.
#pragma once
#include <vector>

#include "models/blocks/norm.h"

namespace selene {

/// One document of a batch in device memory.
struct TowerInput {
  Tensor tokens;   // i32[B, N], or empty
  Tensor pixels;   // compute type [B, N], or empty
  Tensor lengths;  // i32[B]: positions that are not padding; empty: none is
  Tensor longest;  // i32[1]: the largest of them, whatever N was rounded up to
  int64_t B = 0, N = 0;
  int pixels_slot = -1;  // Var::slot of the pixels where somebody wants their gradient
};

/// What the vocabulary says about the model: rows of the token table and the padding symbol (-1: none).
struct Symbols {
  int64_t count = 0;
  int32_t pad = 1;
};

/// Token, position and pixel embeddings with their norm and dropout (fairseq luna_sentence_encoder.py).
class Embeddings {
 public:
  /// token_deviation: standard deviation that the token table starts with (0.02 under bert init whatever it says).
  Embeddings(const Builder& b, const Symbols& symbols, const Packed& packed, double token_deviation, Context& context,
             DType compute);
  /// X0[B, N, D], padded rows 0.
  Var operator()(Tape& t, const TowerInput& input, const Tensor& padding, int tower) const;
  /// P[B, rows, D] as layer `layer` gets it where it doesn't come from the layer before; masked rows 0.
  Var p(Tape& t, int64_t layer, int64_t B, int64_t rows, const Tensor& padding, int tower) const;
  /// The token table [V, D].
  Var table(Tape& t) const { return t.parameter(table_); }

 private:
  void declare_p(const Builder& b, const Packed& packed);
  void declare_x(const Builder& b, double token_deviation);

  ModelConfig config_;
  Symbols symbols_;
  Site drop_, drop_p_;
  std::vector<int> p_;  // projected embeddings [l, D]: one, or one a layer
  int table_ = -1, pixel_weight_ = -1, pixel_bias_ = -1, positions_ = -1;
  Tensor sinusoids_, p_sinusoids_;
  Norm norm_, p_norm_;
};

/// fairseq's sinusoidal table [rows, D]: position p = [sin(p w_j), cos(p w_j)], w_j = exp(-j ln(10000) / (D/2 - 1));
/// an odd last channel is 0; row `zero_row` (-1: none) is 0. A constant in the persistent arena.
Tensor sinusoidal_table(Context& context, int64_t rows, int64_t D, int64_t zero_row, DType dtype);

}  // namespace selene
