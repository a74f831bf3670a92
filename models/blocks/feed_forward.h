// The two-layer network of a layer.
#pragma once
#include <string>

#include "models/blocks/linear.h"

namespace selene {

/// fc1, activation, fc2.
struct FeedForward {
  Linear fc1, fc2;
  Activation activation = Activation::gelu;
  bool recompute = false;  // keep no hidden rows
  FeedForward(const Builder& b, int64_t dim, int64_t ffn_dim);
  Var operator()(Tape& t, const Var& x, const DropoutSite& drop) const;
};

/// "gelu" -> Activation::gelu. Error for an unknown name.
Activation activation_named(const std::string& name);

}  // namespace selene
