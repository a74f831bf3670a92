// Transformer encoder: Vaswani et al. 2017; fairseq transformer_sentence_encoder.py with the embeddings of
// the Luna release.
#pragma once
#include <vector>

#include "models/encoder.h"

namespace selene {

struct TransformerLayer {
  ModelConfig config;
  MultiheadAttention attention;
  Norm norm1;
  FeedForward feed_forward;
  Norm norm2;
  explicit TransformerLayer(const Builder& b);
  /// x[B, N, D] -> [B, N, D], or [B, 1, D] where the first position is wanted; padding u8[B, N], 1 = padding, or
  /// empty.
  Var operator()(Tape& t, const Var& x, const Tensor& padding, int tower, int64_t layer, Wanted wanted) const;
};

class TransformerEncoder : public Encoder {
 public:
  TransformerEncoder(const Builder& b, const Symbols& symbols, Context& context, DType compute);
  Encoded forward(Tape& t, const TowerInput& input, int tower, Wanted wanted) const override;

 private:
  ModelConfig config_;
  Embeddings embeddings_;
  std::vector<TransformerLayer> layers_;
  Norm norm_;
};

}  // namespace selene
