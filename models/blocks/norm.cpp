#include "models/blocks/norm.h"

namespace selene {

Norm::Norm(const Builder& b, const std::string& name, int64_t width)
    : weight(b.add(name + ".weight", {width}, {Init::ones})), bias(b.add(name + ".bias", {width}, {Init::zeros})) {}

Var Norm::operator()(Tape& t, const Var& x) const {
  return layer_norm(t, x, t.parameter(weight), t.parameter(bias), kEps);
}

Var Norm::operator()(Tape& t, const Var& x, const Var& residual, const DropoutSite& drop) const {
  return dropout_add_layer_norm(t, x, residual, t.parameter(weight), t.parameter(bias), kEps, drop);
}

void Norm::no_gradient_path(Parameters& p) const {
  p.no_gradient_path(weight);
  p.no_gradient_path(bias);
}

}  // namespace selene
