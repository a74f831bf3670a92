#include "models/blocks/feed_forward.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace selene {

FeedForward::FeedForward(const Builder& b, int64_t dim, int64_t ffn_dim)
    : fc1(b, "fc1", dim, ffn_dim),
      fc2(b, "fc2", ffn_dim, dim),
      activation(activation_named(b.config.activation)),
      recompute(b.config.recompute == "feed_forward") {}

Var FeedForward::operator()(Tape& t, const Var& x, const DropoutSite& drop) const {
  return feed_forward(t, x, t.parameter(fc1.weight), t.parameter(fc1.bias), t.parameter(fc2.weight),
                      t.parameter(fc2.bias), activation, drop, recompute);
}

Activation activation_named(const std::string& name) {
  constexpr std::pair<const char*, Activation> table[] = {{"gelu", Activation::gelu},
                                                          {"gelu_tanh", Activation::gelu_tanh},
                                                          {"relu", Activation::relu},
                                                          {"silu", Activation::silu},
                                                          {"tanh", Activation::tanh}};
  for (const auto& [known, f] : table)
    if (name == known) return f;
  throw Error(fmt::format("activation is '{}', wanted gelu, gelu_tanh, relu, silu or tanh", name));
}

}  // namespace selene
