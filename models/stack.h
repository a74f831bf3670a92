// Layers in a row, over a state {x, p} of which only some mechanisms have a P: pre and post norm, tied layers,
// recomputation, and what the last layer may leave out. Vaswani et al. 2017; fairseq luna_layer.py,
// transformer_sentence_encoder_layer.py.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "models/attention/attention.h"
#include "models/blocks/feed_forward.h"
#include "models/blocks/norm.h"

namespace selene {

struct State {
  Var x;  // [B, N, D], or what Wanted says
  Var p;  // [B, l', D]; empty where the mechanism has no P
};

/// What is wanted of a stack. The last layer leaves out what that does not need: no number that is wanted changes.
enum class Wanted {
  x,      // every position
  first,  // the first position alone: State::x is [B, 1, D]
  p       // P alone: State::x is empty
};

class Layer {
 public:
  /// `p_is_read`: somebody reads the P that this layer hands on, so it has a norm for it.
  Layer(const Builder& b, const Mechanism& mechanism, bool p_is_read);
  /// Both updated, x as far as it is wanted.
  State operator()(Tape& t, const State& in, const Masks& masks, Where at, Wanted wanted) const;
  /// Declares what the last layer of a stack does for nobody, whether P or X is read after it.
  void declare_unread(Parameters& parameters, bool reads_p) const;

 private:
  bool pre_, has_p_;
  Site weights_, branch_, hidden_, feed_forward_branch_, p_branch_;
  std::unique_ptr<Attention> attention_;
  Norm norm_x_, norm_p_;
  FeedForward feed_forward_;
  Norm norm_f_;
};

class Stack {
 public:
  /// `reads_p`: P is read after the last layer, and not X.
  Stack(const Builder& b, const Mechanism& mechanism, bool reads_p);
  /// `p_of_layer` gives P to the layers from 1 on where each owns its P.
  State forward(Tape& t, State state, const Masks& masks, int tower, Wanted wanted,
                const std::function<Var(int64_t layer)>& p_of_layer = {}) const;

 private:
  int64_t count_;  // of applications
  bool recompute_;
  std::vector<Layer> layers_;
  Norm norm_x_, norm_p_;  // after a pre-norm stack
};

}  // namespace selene
