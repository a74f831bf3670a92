// The recipe schema as a table, for the files of train/recipe only.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/io/printable.h"
#include "train/recipe/recipe.h"
#include "train/recipe/tree.h"

namespace selene::train {

/// Where a key's value lives in a Recipe; the alternative is also the key's type.
using Slot = std::variant<bool*, int64_t*, double*, std::string*, std::vector<int64_t>*>;

/// Allowed numbers (for a list: of each element). An open end excludes the bound itself.
struct Range {
  double min = -std::numeric_limits<double>::infinity(), max = std::numeric_limits<double>::infinity();
  bool min_open = false, max_open = false;
};

/// What must be chosen for a key to be read: one of `values` of the key `name`.
struct ReadIf {
  std::string_view name;
  std::vector<std::string_view> values;
};

/// One row of the schema. The default is what a fresh Recipe holds.
struct Key {
  std::string_view name;                  // dotted: section.key
  std::function<Slot(Recipe&)> slot;      // its place
  std::string_view unit;                  // empty where there is none
  Range range;                            // numbers only
  std::vector<std::string_view> choices;  // text only; empty = any text
  bool free_on_resume;
  std::string_view help;             // what it is
  std::string_view source;           // where the meaning or the default is from
  std::vector<ReadIf> read_if = {};  // each must hold; empty: every recipe reads it
};

/// All keys, in the order of the structs: the order of to_yaml and of the documentation.
std::span<const Key> schema();
/// The row of a dotted name, nullptr where there is none.
const Key* find_key(std::string_view name);
/// The part of a key's name before its last dot.
inline std::string_view section_of(const Key& key) {
  return key.name.substr(0, std::max(key.name.rfind('.') + 1, size_t(1)) - 1);
}
/// Whether `name` is the part of keys before a dot.
bool is_section(std::string_view name);
/// The known key that `name` was perhaps meant to be, as " (did you mean KEY?)"; empty where none is near.
std::string suggest_key(std::string_view name);

/// What is not chosen in the recipe and would have to be for the key to be read; null where the recipe reads it.
const ReadIf* missing_choice(const Recipe& recipe, const Key& key);

/// One value as read: the scalars' texts and where they are from.
struct Value {
  std::string place = {};                // "file:line:column" or "--set key=value"
  std::vector<std::string> items = {};   // one for a scalar
  std::vector<std::string> places = {};  // of each item
  bool list = false;                     // was a sequence
  bool quoted = false;                   // was a quoted scalar, so it is text
};

/// The value that a YAML text gives to a key; `key`: the node that names it. Throws Error that begins with the place
/// for an empty one, for a map, and for items that are no plain values.
Value value_of(const Key& known, const Node& key, const Node& value);
/// Checks type, range and choices and stores the value. Throws Error that begins with the value's place.
void assign(Recipe& recipe, const Key& key, const Value& value);
/// The value as YAML on one line; text is quoted where YAML could take it for something else.
std::string format_value(const Recipe& recipe, const Key& key);
/// "integer", "real", "true or false", "text", "list of integers", "one of a, b".
std::string type_name(const Key& key);
/// ">= 1", "0 <= x < 1", or empty.
std::string format_range(const Range& range);
using data::shown;
using data::shown_bare;

/// Whether a text can be `name`, that of a run's folder.
bool is_run_name(std::string_view text);

/// Where each key that was given got its value from.
using Places = std::map<std::string, std::string, std::less<>>;
/// Whether the values fit together. Throws Error that begins with the place of a key at fault, or `origin`.
void check(const Recipe& recipe, const Places& places, const std::string& origin);
/// The last update of a decay: schedule.total, or train.updates where that is 0.
int64_t schedule_end(const Recipe& recipe);
/// Whether the schedule reads schedule_end().
bool uses_schedule_end(const Recipe& recipe);

/// What one YAML text says, flat: dotted keys in order of appearance, and its parents.
struct Document {
  struct Entry {
    const Key* key;
    Value value;
  };
  struct Parent {
    std::string file, place;
  };
  std::vector<Entry> entries;
  std::vector<Parent> parents;
};
/// Reads YAML text; `origin` names it in errors. Throws Error.
Document read_document(std::string_view text, const std::string& origin);

}  // namespace selene::train
