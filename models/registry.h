// The one table of attention mechanisms by name: recipes name them.
#pragma once
#include <span>
#include <string>

#include "models/attention/attention.h"

namespace selene {

/// The table.
std::span<const Mechanism> attentions();
/// The row that config.name asks for. Error for an unknown name, with the known ones.
const Mechanism& attention_named(const std::string& name);

}  // namespace selene
