// One recipe value: text to number and back, with its checks.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include <fmt/format.h>

#include "kernels/error.h"
#include "kernels/join.h"
#include "train/recipe/schema.h"

namespace selene::train {
namespace {

constexpr const char* kYamlWords[] = {"null", "Null", "NULL", "true", "false", "yes", "no", "on", "off", "y", "n"};

[[noreturn]] void fail(const std::string& place, const Key& key, const std::string& found,
                       const std::string& wanted) {
  throw Error(fmt::format("{}: {} is {}, wanted {}", place, key.name, found, wanted));
}

template <class T>
bool read_number(std::string_view text, T& out) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return false;
  }
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out);
  return status == std::errc() && end == text.data() + text.size();
}

std::string wanted_number(const Key& key, std::string_view type) {
  const std::string range = format_range(key.range);
  return range.empty() ? std::string(type) : fmt::format("{} {}", type, range);
}

void check_range(const std::string& place, const Key& key, double value, const std::string& text,
                 std::string_view type) {
  const Range& r = key.range;
  const bool above = r.min_open ? value > r.min : value >= r.min;
  const bool below = r.max_open ? value < r.max : value <= r.max;
  if (!above || !below) fail(place, key, text, wanted_number(key, type));
}

int64_t read_integer(const std::string& place, const Key& key, const std::string& text) {
  int64_t value = 0;
  if (!read_number(text, value)) fail(place, key, shown(text), wanted_number(key, "an integer"));
  check_range(place, key, double(value), text, "an integer");
  return value;
}

double read_real(const std::string& place, const Key& key, const std::string& text) {
  double value = 0;
  if (!read_number(text, value)) fail(place, key, shown(text), wanted_number(key, "a number"));
  if (!std::isfinite(value)) fail(place, key, text, wanted_number(key, "a finite number"));
  if (const float narrow = float(value); !std::isfinite(narrow) || (value != 0 && narrow == 0))
    fail(place, key, text, wanted_number(key, "a number that single precision holds,"));
  check_range(place, key, value, text, "a number");
  return value == 0 ? 0 : value;  // -0 and 0 are one value, also in recipe.yaml
}

bool read_bool(const std::string& place, const Key& key, const std::string& text) {
  if (text != "true" && text != "false") fail(place, key, shown(text), "true or false");
  return text == "true";
}

std::string read_text(const std::string& place, const Key& key, const std::string& text) {
  const auto& choices = key.choices;
  if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end())
    fail(place, key, shown(text), fmt::format("one of {}", join(choices, ", ")));
  for (std::string_view rest = text; !rest.empty();) {
    const data::Character c = data::first_character(rest);
    const bool control = (c.code < 0x20 && c.code != '\n') || (c.code >= 0x7f && c.code < 0xa0);
    rest.remove_prefix(c.bytes);
    if (!c.valid || control)
      fail(place, key, shown(text),
           key.name == "data.path"
               ? "a path in UTF-8 without control characters; a link of such a name to the folder will do"
               : "UTF-8 text without control characters");
  }
  return text;
}

/// Letters, digits and . _ / - only, beginning with a letter, and no word that YAML readers take for something else.
bool plain(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto inside = [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '/' || c == '-';
  };
  if (text.empty() || !letter(text[0]) || !std::all_of(text.begin(), text.end(), inside)) return false;
  return std::find(std::begin(kYamlWords), std::end(kYamlWords), text) == std::end(kYamlWords);
}

std::string quote(const std::string& text) {
  if (plain(text)) return text;
  std::string out = "\"";
  for (std::string_view rest = text; !rest.empty();) {
    const data::Character c = data::first_character(rest);
    if (c.code == '"' || c.code == '\\') out += '\\';
    if (c.code == '\n') out += "\\n";
    else if (c.visible()) out += rest.substr(0, c.bytes);
    else out += fmt::format("\\U{:08x}", unsigned(c.code));
    rest.remove_prefix(c.bytes);
  }
  return out + '"';
}

}  // namespace

void assign(Recipe& recipe, const Key& key, const Value& value) {
  const Slot slot = key.slot(recipe);
  if (auto* list = std::get_if<std::vector<int64_t>*>(&slot)) {
    if (!value.list) fail(value.place, key, shown(value.items[0]), "a list of integers such as [1000, 2000]");
    std::vector<int64_t> numbers;
    for (size_t i = 0; i < value.items.size(); ++i)
      numbers.push_back(read_integer(value.places[i], key, value.items[i]));
    **list = numbers;
    return;
  }
  if (value.list) fail(value.place, key, "a list", type_name(key));
  const std::string &text = value.items[0], &place = value.place;
  if (auto* s = std::get_if<std::string*>(&slot)) {
    **s = read_text(place, key, text);
    return;
  }
  if (value.quoted) fail(place, key, fmt::format("the text {}", shown(text)), type_name(key));
  if (auto* b = std::get_if<bool*>(&slot)) **b = read_bool(place, key, text);
  if (auto* i = std::get_if<int64_t*>(&slot)) **i = read_integer(place, key, text);
  if (auto* d = std::get_if<double*>(&slot)) **d = read_real(place, key, text);
}

std::string format_value(const Recipe& recipe, const Key& key) {
  // Slots are made for writing too; nothing is written through them here.
  const Slot slot = key.slot(const_cast<Recipe&>(recipe));
  if (auto* b = std::get_if<bool*>(&slot)) return **b ? "true" : "false";
  if (auto* i = std::get_if<int64_t*>(&slot)) return fmt::format("{}", **i);
  if (auto* d = std::get_if<double*>(&slot)) return fmt::format("{}", **d);
  if (auto* s = std::get_if<std::string*>(&slot)) return quote(**s);
  std::vector<std::string> numbers;
  for (const int64_t n : *std::get<std::vector<int64_t>*>(slot)) numbers.push_back(std::to_string(n));
  return fmt::format("[{}]", join(numbers, ", "));
}

std::string type_name(const Key& key) {
  if (!key.choices.empty()) return fmt::format("one of {}", join(key.choices, ", "));
  Recipe recipe;
  constexpr const char* names[] = {"true or false", "an integer", "a number", "text", "a list of integers"};
  return names[key.slot(recipe).index()];
}

std::string format_range(const Range& r) {
  const char *low = r.min_open ? ">" : ">=", *high = r.max_open ? "<" : "<=";
  const bool has_min = std::isfinite(r.min), has_max = std::isfinite(r.max);
  if (has_min && has_max) return fmt::format("{} {} and {} {}", low, r.min, high, r.max);
  if (has_min) return fmt::format("{} {}", low, r.min);
  return has_max ? fmt::format("{} {}", high, r.max) : "";
}

}  // namespace selene::train
