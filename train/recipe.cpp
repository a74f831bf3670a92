// Recipes from files, text and --set, back to YAML, and compared. What a key is: train/recipe_schema.cpp.
#include "train/recipe.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "data/regular_file.h"
#include "kernels/error.h"
#include "train/recipe_schema.h"

namespace selene {
namespace {

namespace fs = std::filesystem;
using recipe::Document;
using recipe::Key;
using recipe::Places;

constexpr size_t LONGEST_CHAIN = 32;  // files through extends

/// One file of a chain: its text as values, and the name it was opened by.
struct Source {
  std::string path;
  Document document;
};

/// The file's text; `place` says which line led to it.
std::string read_file(const std::string& path, const std::string& place) {
  try {
    return data::read_regular_file(path, largest_recipe, "a recipe");
  } catch (const Error& e) {
    throw Error(place + e.what());
  }
}

/// The file and its parents, child first.
std::vector<Source> read_chain(std::string path) {
  std::vector<Source> chain;
  std::vector<std::string> seen, names;  // real paths; names for the message
  std::string place;                     // of the extends that led here, with ": "
  while (true) {
    names.push_back(path);
    std::error_code ignored;
    const std::string real = fs::weakly_canonical(path, ignored).string();
    if (std::find(seen.begin(), seen.end(), real) != seen.end())
      throw Error(fmt::format("{}recipes extend each other in a circle: {}", place, recipe::join(names, " -> ")));
    if (names.size() > LONGEST_CHAIN)
      throw Error(
          fmt::format("{}more than {} recipes extend each other, wanted a shorter chain", place, LONGEST_CHAIN));
    seen.push_back(real);
    chain.push_back({path, recipe::read_document(read_file(path, place), path)});
    const Document& document = chain.back().document;
    if (document.extends.empty()) return chain;
    place = document.extends_place + ": ";
    path = (fs::path(path).parent_path() / document.extends).lexically_normal().string();
  }
}

void apply(Recipe& out, Places& places, const Document& document) {
  for (const auto& [key, value] : document.entries) {
    recipe::assign(out, *key, value);
    places.insert_or_assign(std::string(key->name), value.place);
  }
}

/// Without the spaces around it.
std::string without_blanks(const std::string& text) {
  const size_t first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
  return first == text.npos ? "" : text.substr(first, last - first + 1);
}

/// "[1, 2]", "1,2" and "" are lists; everything else stays as it is.
recipe::Value set_value(const std::string& place, std::string text, bool list) {
  recipe::Value value{.place = place, .list = list};
  if (!list) {
    value.items = {text}, value.places = {place};
    return value;
  }
  text = without_blanks(text);
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') text = text.substr(1, text.size() - 2);
  for (size_t begin = 0; text.find_first_not_of(' ', begin) != text.npos;) {
    const size_t end = std::min(text.find(',', begin), text.size());
    value.items.push_back(without_blanks(text.substr(begin, end - begin))), value.places.push_back(place);
    begin = std::min(end + 1, text.size());
  }
  return value;
}

void apply_set(Recipe& out, Places& places, const std::string& set) {
  const std::string place = fmt::format("--set {}", recipe::shown_bare(set));
  const size_t equals = set.find('=');
  if (equals == set.npos) throw Error(place + ": no '=', wanted key=value");
  const std::string name = set.substr(0, equals);
  if (recipe::is_section(name)) throw Error(fmt::format("{}: {} is a section, wanted one of its keys", place, name));
  const Key* key = recipe::find_key(name);
  if (!key)
    throw Error(fmt::format("{}: unknown key {}{}", place, recipe::shown_bare(name), recipe::suggest_key(name)));
  const bool list = std::holds_alternative<std::vector<int64_t>*>(key->slot(out));
  recipe::assign(out, *key, set_value(place, set.substr(equals + 1), list));
  places.insert_or_assign(name, place);
}

void apply_sets(Recipe& out, Places& places, const std::vector<std::string>& sets) {
  for (const std::string& set : sets) apply_set(out, places, set);
}

}  // namespace

Recipe load_recipe(const std::string& path, const std::vector<std::string>& sets) {
  Recipe out;
  Places places;
  const std::vector<Source> chain = read_chain(path);
  for (auto source = chain.rbegin(); source != chain.rend(); ++source) {
    // A run's folder is its own: a parent's name is not inherited.
    const std::string stem = fs::path(source->path).stem().string();
    out.name = recipe::is_run_name(stem) ? stem : "";
    places.erase("name");
    apply(out, places, source->document);
  }
  apply_sets(out, places, sets);
  recipe::check(out, places, path);
  return out;
}

Recipe parse_recipe(std::string_view text, const std::string& origin, const std::vector<std::string>& sets) {
  Recipe out;
  Places places;
  const Document document = recipe::read_document(text, origin);
  if (!document.extends.empty())
    throw Error(document.extends_place + ": extends in a recipe that is not a file, wanted every value in it");
  apply(out, places, document);
  apply_sets(out, places, sets);
  recipe::check(out, places, origin);
  return out;
}

std::string to_yaml(const Recipe& recipe) {
  std::string out;
  std::string_view section;
  for (const Key& key : recipe::schema()) {
    const size_t dot = key.name.find('.');
    const std::string_view part = dot == key.name.npos ? std::string_view() : key.name.substr(0, dot);
    if (part != section) out += fmt::format("{}:\n", part);
    section = part;
    const std::string_view leaf = part.empty() ? key.name : key.name.substr(dot + 1);
    out += fmt::format("{}{}: {}\n", part.empty() ? "" : "  ", leaf, recipe::format_value(recipe, key));
  }
  return out;
}

std::vector<std::string> changed_keys(const Recipe& a, const Recipe& b) {
  std::vector<std::string> out;
  for (const Key& key : recipe::schema()) {
    const std::string before = recipe::format_value(a, key), now = recipe::format_value(b, key);
    if (!key.free_on_resume && before != now) out.push_back(fmt::format("{}: {} -> {}", key.name, before, now));
  }
  const bool same_total = a.schedule.total == b.schedule.total && a.schedule.name == b.schedule.name;
  if (same_total && recipe::uses_schedule_end(b) && recipe::schedule_end(a) != recipe::schedule_end(b))
    out.push_back(fmt::format("train.updates: {} -> {} (the end of schedule.name {}, because schedule.total is 0)",
                              a.train.updates, b.train.updates, b.schedule.name));
  return out;
}

bool operator==(const Recipe& a, const Recipe& b) {
  for (const Key& key : recipe::schema())
    if (recipe::format_value(a, key) != recipe::format_value(b, key)) return false;
  return true;
}

}  // namespace selene
