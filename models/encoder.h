// From symbols to states: embeddings and a stack of layers. What every model has at its bottom.
#pragma once
#include "models/blocks/embeddings.h"
#include "models/stack.h"

namespace selene {

class Encoder {
 public:
  /// causal: no position sees one after it. Error where config's mechanism has no such form.
  Encoder(const Builder& b, const Symbols& symbols, Context& context, DType compute, bool causal = false);
  /// `tower` keeps the dropout of two documents apart.
  State forward(Tape& t, const TowerInput& input, int tower, Wanted wanted) const;
  const Embeddings& embeddings() const { return embeddings_; }

 private:
  bool causal_;
  Packed packed_;
  Embeddings embeddings_;
  Stack stack_;
};

}  // namespace selene
