// Keys that an attention mechanism owns: model.NAME.KEY in a recipe. A mechanism's file has the table, the recipe
// schema reads it, ModelConfig holds the values.
#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace selene {

/// A value; the alternative is also the key's type.
using OwnValue = std::variant<bool, int64_t, double, std::string>;

struct OwnKey {
  std::string_view name;  // without its section: "projection_length"
  OwnValue initial;       // the default
  std::string_view unit = "";
  double min = -std::numeric_limits<double>::infinity(),
         max = std::numeric_limits<double>::infinity();  // numbers only
  std::vector<std::string_view> choices = {};            // text only; empty = any text
  std::string_view help, source;
};

/// A value for every key of every mechanism, under "luna.projection_length".
class OwnValues {
 public:
  OwnValues();  // the defaults
  /// Error for a key that no mechanism has.
  OwnValue& at(std::string_view key);
  template <class V>
  const V& get(std::string_view key) const {
    return std::get<V>(const_cast<OwnValues*>(this)->at(key));
  }

 private:
  std::map<std::string, OwnValue, std::less<>> values_;
};

}  // namespace selene
