// What a recipe says about a model: plain values, checked by train/recipe/check.cpp, read by models/registry.cpp.
#pragma once
#include <cstdint>
#include <string>

#include "models/keys.h"

namespace selene {

/// What every mechanism shares. Symbols: D model width, H heads, F feed-forward width (docs/shapes.md).
struct ModelConfig {
  std::string attention = "luna";  // what mixes positions: models/registry.cpp
  OwnValues own;                   // keys of the mechanisms
  std::string input = "tokens";    // tokens | pixels (one real number a position)
  int64_t layers = 2, dim = 128, heads = 4, ffn_dim = 512;
  bool tie_layers = false;            // one layer's parameters applied `layers` times
  int64_t attention_dim = 0;          // width of queries, keys and values; 0 = dim
  bool attention_bias = true;         // biases in the projections of the attentions
  std::string norm = "post";          // post | pre
  std::string activation = "gelu";    // gelu (erf) | gelu_tanh | relu | silu | tanh
  std::string positions = "learned";  // learned | sinusoidal | none
  bool scale_embedding = false;       // multiply embeddings (and P) by sqrt(D)
  bool embedding_norm = true;         // layer norm on the embeddings (and on P)
  int64_t max_positions = 0;          // rows of a learned position table; 0 = data.max_length
  std::string pooling = "cls";        // cls | mean (all positions of the batch) | real_mean (real positions) | p
  std::string head = "hidden";  // hidden: relu layers, bias-free output | linear: bias-free | gelu: one gelu layer
  int64_t head_dim = 0, head_layers = 1;  // width (0 = 2 x dim) and number of hidden layers of the head
  int64_t towers = 1;                     // 2: two documents through one encoder
  std::string tower_features = "concat";  // concat: [second, first] | four: [a, b, a*b, a-b]
  bool tie_output = false;                // language model: the output matrix is the token table
  double dropout = 0.1, attention_dropout = 0.1, activation_dropout = 0.0, head_dropout = 0.0;
  std::string recompute = "none";  // none | feed_forward: keep no hidden rows | layers: keep layer inputs only
  std::string init = "default";    // default (Xavier and uniform) | bert (normal, 0.02)
};

/// The second sequence P that goes from layer to layer beside X.
struct Packed {
  int64_t rows = 0;        // l; 0: there is no P
  bool dynamic = false;    // cut to the batch's length, rows after an example's length masked
  bool contextual = true;  // false: each layer owns its P and hands none on
};

}  // namespace selene
