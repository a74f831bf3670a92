// Luna encoder: Ma et al. 2021, "Luna: Linear Unified Nested Attention"; fairseq luna_layer.py,
// luna_sentence_encoder.py.
#pragma once
#include <vector>

#include "models/encoder.h"

namespace selene {

struct LunaLayer {
  ModelConfig config;
  LunaAttention attention;
  Norm norm_x, norm_p;
  FeedForward feed_forward;
  Norm norm_f;
  /// `p_is_read`: somebody reads the P this layer hands on, so it has a norm for it.
  LunaLayer(const Builder& b, bool p_is_read);
  /// x[B, n, D], p[B, l, D] -> both updated, x as far as it is wanted. x_mask u8[B, n], p_mask u8[B, l], 1 = padding,
  /// or empty.
  Encoded operator()(Tape& t, const Var& x, const Var& p, const Tensor& x_mask, const Tensor& p_mask, int tower,
                     int64_t layer, Wanted wanted) const;
};

class LunaEncoder : public Encoder {
 public:
  LunaEncoder(const Builder& b, const Symbols& symbols, Context& context, DType compute);
  Encoded forward(Tape& t, const TowerInput& input, int tower, Wanted wanted) const override;

 private:
  Var start_p(Tape& t, int64_t which, const TowerInput& input, const Tensor& p_mask, int tower, int64_t rows) const;
  void declare_unread(Parameters& parameters);

  ModelConfig config_;
  std::vector<int> p_;  // projected embeddings [l, D]: one, or one a layer when P is not contextual
  Tensor p_sinusoids_;
  Embeddings embeddings_;
  Norm p_norm_;
  std::vector<LunaLayer> layers_;
  Norm norm_x_, norm_p_;  // behind a pre-norm stack
};

}  // namespace selene
