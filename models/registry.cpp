#include "models/registry.h"

#include "kernels/error.h"
#include "models/luna.h"
#include "models/transformer.h"

namespace selene {
namespace {

template <class E>
std::unique_ptr<Encoder> build(const Builder& b, const Symbols& symbols, Context& context, DType compute) {
  return std::make_unique<E>(b, symbols, context, compute);
}

constexpr struct {
  const char* name;
  std::unique_ptr<Encoder> (*make)(const Builder&, const Symbols&, Context&, DType);
} kEncoders[] = {
    {"luna", build<LunaEncoder>},
    {"transformer", build<TransformerEncoder>},
};

}  // namespace

std::vector<std::string> encoder_names() {
  std::vector<std::string> names;
  for (const auto& row : kEncoders) names.push_back(row.name);
  return names;
}

std::unique_ptr<Encoder> make_encoder(const Builder& b, const Symbols& symbols, Context& context, DType compute) {
  for (const auto& row : kEncoders)
    if (b.config.name == row.name) return row.make(b, symbols, context, compute);
  std::string known;
  for (const std::string& name : encoder_names()) known += (known.empty() ? "" : ", ") + name;
  throw Error("model.name is '" + b.config.name + "', wanted one of " + known);
}

}  // namespace selene
