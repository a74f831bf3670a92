// What a recipe says about a model: plain values, checked by train/recipe.cpp, read by models/registry.cpp.
#pragma once
#include <cstdint>
#include <string>

namespace selene {

/// Symbols: D model width, H heads, F feed-forward width, l length of P (docs/shapes.md). Spec: Ma et al. 2021, Luna.
struct ModelConfig {
  std::string name = "luna";     // luna | transformer
  std::string input = "tokens";  // tokens | pixels (one real number a position)
  int64_t layers = 2, dim = 128, heads = 4, ffn_dim = 512;
  int64_t pack_heads = 0;           // heads of Luna's pack attention; 0 = heads
  int64_t projection_length = 16;   // l, rows of P
  bool dynamic_projection = true;   // cut P to the longest row of the batch and mask rows behind an example's length
  bool contextual_p = true;         // false: every layer owns its P and hands none on (the paper's Table 5)
  bool tie_kv = false;              // keys and values share a matrix inside each of Luna's two attentions
  bool tie_layers = false;          // one layer's parameters applied `layers` times
  int64_t attention_dim = 0;        // transformer: width of queries, keys and values; 0 = dim
  bool attention_bias = true;       // biases in the projections of the attentions
  std::string norm = "post";        // post | pre
  std::string activation = "gelu";  // gelu (erf) | gelu_tanh | relu | silu | tanh
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
  bool recompute = false;        // keep layer inputs only; set from train.recompute
  std::string init = "default";  // default (Xavier and uniform) | bert (normal, 0.02)
};

}  // namespace selene
