// Layer norm as a block.
#pragma once
#include <string>

#include "autograd/ops.h"
#include "models/blocks/builder.h"

namespace selene {

/// Layer norm over the last axis, eps 1e-5.
struct Norm {
  static constexpr double kEps = 1e-5;
  int weight = -1, bias = -1;
  Norm() = default;
  Norm(const Builder& b, const std::string& name, int64_t width);
  Var operator()(Tape& t, const Var& x) const;
  /// norm(residual + dropout(x))
  Var operator()(Tape& t, const Var& x, const Var& residual, const DropoutSite& drop) const;
  void no_gradient_path(Parameters& p) const;
  explicit operator bool() const { return weight >= 0; }
};

}  // namespace selene
