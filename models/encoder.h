// From symbols to vectors: the interface of every encoder, and what all of them share at the bottom.
#pragma once
#include <memory>

#include "models/layers.h"

namespace selene {

/// One document of a batch in device memory.
struct TowerInput {
  Tensor tokens;   // i32[B, N], or empty
  Tensor pixels;   // compute type [B, N], or empty
  Tensor lengths;  // i32[B]: positions that are not padding
  Tensor longest;  // i32[1]: the largest of them, whatever N was rounded up to
  int64_t B = 0, N = 0;
  int pixels_slot = -1;  // Var::slot of the pixels where somebody wants their gradient
};

struct Encoded {
  Var x;  // [B, N, D], or what Wanted says
  Var p;  // Luna: [B, l', D]; else empty
};

/// What the vocabulary says about the model: rows of the token table and the padding symbol (-1: none).
struct Symbols {
  int64_t count = 0;
  int32_t pad = 1;
};

/// What is wanted of an encoder. The last layer leaves out what that does not need: no number that is wanted changes.
enum class Wanted {
  x,      // every position
  first,  // the first position alone: Encoded::x is [B, 1, D]
  p       // Luna's P alone: Encoded::x is empty
};

class Encoder {
 public:
  virtual ~Encoder() = default;
  /// `tower` keeps the dropout of two documents apart.
  virtual Encoded forward(Tape& t, const TowerInput& input, int tower, Wanted wanted) const = 0;
};

/// Ids of dropout sites: fixed by the place in the model, so that a rerun or another order of calls draws the same
/// masks.
constexpr uint32_t dropout_site(int tower, int64_t layer, int place) {
  return uint32_t(tower) << 24 | uint32_t(layer + 1) << 8 | uint32_t(place);
}

/// Token, position and pixel embeddings with their norm and dropout (fairseq luna_sentence_encoder.py): X0[B, N, D],
/// padded rows 0.
class Embeddings {
 public:
  /// token_deviation: standard deviation that the token table starts with (0.02 under bert init whatever it says).
  Embeddings(const Builder& b, const Symbols& symbols, double token_deviation, Context& context, DType compute);
  Var operator()(Tape& t, const TowerInput& input, const Tensor& padding, int tower) const;

 private:
  ModelConfig config_;
  Symbols symbols_;
  int table_ = -1, pixel_weight_ = -1, pixel_bias_ = -1, positions_ = -1;
  Tensor sinusoids_;
  Norm norm_;
};

}  // namespace selene
