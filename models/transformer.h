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
  /// x[B, N, D] -> [B, N, D]; padding u8[B, N], 1 = padding, or empty.
  Var operator()(Tape& t, const Var& x, const Tensor& padding, int tower, int64_t layer) const;
};

class TransformerEncoder : public Encoder {
 public:
  TransformerEncoder(const Builder& b, const Symbols& symbols, Context& context, DType compute);
  Encoded forward(Tape& t, const TowerInput& input, int tower, bool need_x) const override;

 private:
  ModelConfig config_;
  Embeddings embeddings_;
  std::vector<TransformerLayer> layers_;
  Norm norm_;
};

}  // namespace selene
