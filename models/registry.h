// The one table of attention mechanisms by name: recipes name them.
#pragma once
#include <functional>
#include <span>
#include <string>

#include "models/attention/attention.h"

namespace selene {

/// The table.
std::span<const Mechanism> attentions();
/// The row that config.attention asks for. Error for an unknown name, with the known ones.
const Mechanism& attention_named(const std::string& name);

/// What tables of results call a model, "transformer" or "luna-16". `value` gives the recipe's value of a key.
std::string attention_label(const std::string& attention,
                            const std::function<std::string(const std::string&)>& value);

}  // namespace selene
