// The one table of models by name: recipes name them, a new encoder is one file and one row here.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "models/encoder.h"

namespace selene {

/// The encoder that config.name asks for. Error for an unknown name, with the known ones.
std::unique_ptr<Encoder> make_encoder(const Builder& b, const Symbols& symbols, Context& context, DType compute);
/// The known names.
std::vector<std::string> encoder_names();

}  // namespace selene
