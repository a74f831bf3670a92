// What mixes the positions of a layer. A mechanism is one file beside this one with its parameters, its mathematics,
// its check and its row; models/registry.cpp names it. Norms, residuals, tied layers and recomputation are
// models/stack.cpp.
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <string_view>

#include "models/blocks/linear.h"

namespace selene {

/// Which positions don't count.
struct Masks {
  Tensor padding;         // u8[B, N], 1 = padding, or empty
  Tensor packed_padding;  // u8[B, l'], 1 = padding, or empty
  bool causal = false;    // query n sees the positions 0 .. n + N - Nq of the context
};

/// What one application of a mechanism sees.
struct View : Masks {
  Var context;        // [B, N, D]: what is looked at
  Var packed;         // [B, l', D]: what pack() gave; empty where there is no P
  Where at;           // for the mechanism's own dropout sites
  DropoutSite drop;   // for weights that sum to 1: model.attention_dropout
  bool self = false;  // the query of mix() is the context itself
  Var queries = {};   // what pack() made of the context for mix() on the way; mix() takes it
};

class Attention {
 public:
  virtual ~Attention() = default;
  /// query[B, Nq, D] -> [B, Nq, D].
  virtual Var mix(Tape& t, const Var& query, View& view) const = 0;
  /// P's own step, p[B, l', D] -> [B, l', D]: only mechanisms whose row has `packed`.
  virtual Var pack(Tape& t, const Var& p, View& view) const;
  /// Declares what only mix() uses as without a gradient path: nobody reads X after the last layer.
  virtual void leave_out_mix(Parameters& parameters) const;
};

/// Throws unless `good`: `what` was found at one of the recipe's `keys`.
using Need = std::function<void(bool good, std::initializer_list<std::string_view> keys, const std::string& what)>;

/// A mechanism's row in the table.
struct Mechanism {
  std::string_view name;           // model.attention
  std::string_view label = {};     // in tables of results; empty: the name
  std::string_view sized_by = {};  // the key of its own that tables add to the label
  bool causal;                     // has a form in which a position sees none after it
  std::vector<OwnKey> keys = {};
  std::unique_ptr<Attention> (*make)(const Builder& b);
  Packed (*packed)(const ModelConfig& config) = nullptr;  // null: there is no P
  /// What the keys must satisfy together.
  void (*check)(const ModelConfig& config, const Need& need) = nullptr;
  /// Channels of the largest head that the operation `attention` gets; null: it is not used.
  int64_t (*largest_head)(const ModelConfig& config) = nullptr;
};

/// `make` for a class whose constructor takes the builder.
template <class A>
std::unique_ptr<Attention> made(const Builder& b) {
  return std::make_unique<A>(b);
}

}  // namespace selene
