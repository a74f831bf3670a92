// Recipes from files, text and --set, back to YAML, and compared. What a key is: train/recipe/schema.cpp.
#include "train/recipe/recipe.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "data/io/regular_file.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "train/recipe/schema.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostFiles = 32;  // of one recipe

/// The file's text; `place` says which line led to it.
std::string read_file(const std::string& path, const std::string& place) {
  try {
    return data::read_regular_file(path, kLargestRecipe, "a recipe");
  } catch (const Error& e) {
    throw Error(place + e.what());
  }
}

void apply(Recipe& out, Places& places, const Document& document) {
  for (const auto& [key, value] : document.entries) {
    assign(out, *key, value);
    places.insert_or_assign(std::string(key->name), value.place);
  }
}

/// Files with their parents, merged in order.
class Composition {
 public:
  Recipe recipe;
  Places places;

  /// A file of the command line: later ones win, whatever has led to it before.
  void add_file(const std::string& path) {
    const std::string real = real_path(path);
    if (std::find(given_.begin(), given_.end(), real) != given_.end())
      throw Error(fmt::format("{}: is given twice, wanted each file once", path));
    given_.push_back(real);
    recipe.description.clear();
    merge(path, real, "");
  }

 private:
  static std::string real_path(const std::string& path) {
    std::error_code ignored;
    return fs::weakly_canonical(path, ignored).string();
  }

  /// `place` says which line led to the file, with ": ".
  void add_parent(const std::string& path, const std::string& place) {
    const std::string real = real_path(path);
    if (std::find(open_.begin(), open_.end(), real) != open_.end())
      throw Error(
          fmt::format("{}recipes extend each other in a circle: {} -> {}", place, join(names_, " -> "), path));
    if (std::find(read_.begin(), read_.end(), real) == read_.end()) merge(path, real, place);
  }

  void merge(const std::string& path, const std::string& real, const std::string& place) {
    if (read_.size() == kMostFiles)
      throw Error(fmt::format("{}{}: is file {} of one recipe, wanted at most {} with all that they extend", place,
                              path, kMostFiles + 1, kMostFiles));
    names_.push_back(path), open_.push_back(real), read_.push_back(real);
    const Document document = read_document(read_file(path, place), path);
    std::vector<std::string> parents;
    for (const auto& [file, where] : document.parents) {
      const std::string parent = (fs::path(path).parent_path() / file).lexically_normal().string();
      if (std::find(parents.begin(), parents.end(), parent) != parents.end())
        throw Error(fmt::format("{}: extends {} twice, wanted it once", where, shown_bare(file)));
      parents.push_back(parent);
      add_parent(parent, where + ": ");
    }
    // A run's folder is its own: a parent's name is not inherited.
    const std::string stem = fs::path(path).stem().string();
    recipe.name = is_run_name(stem) ? stem : "";
    places.erase("name");
    apply(recipe, places, document);
    names_.pop_back(), open_.pop_back();
  }

  std::vector<std::string> names_, open_;  // of the files that led here: as they were opened, and their real paths
  std::vector<std::string> read_, given_;  // real paths
};

Composition compose(const std::vector<std::string>& paths) {
  Composition out;
  std::vector<std::string> names, descriptions;
  for (const std::string& path : paths) {
    out.add_file(path);
    if (!out.recipe.name.empty()) names.push_back(out.recipe.name);
    if (!out.recipe.description.empty()) descriptions.push_back(out.recipe.description);
  }
  const bool named = names.size() == paths.size();
  out.recipe.name = named ? join(names, "-") : "";
  if (paths.size() > 1 || !out.places.contains("name")) out.places["name"] = join(paths, ", ");
  out.recipe.description = join(descriptions, ", ");
  return out;
}

/// Without the spaces around it.
std::string without_blanks(const std::string& text) {
  const size_t first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
  return first == text.npos ? "" : text.substr(first, last - first + 1);
}

/// "[1, 2]", "1,2" and "" are lists; everything else stays as it is.
Value set_value(const std::string& place, std::string text, bool list) {
  Value value{.place = place, .list = list};
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
  const std::string place = fmt::format("--set {}", shown_bare(set));
  const size_t equals = set.find('=');
  if (equals == set.npos) throw Error(place + ": no '=', wanted key=value");
  const std::string name = set.substr(0, equals);
  if (name.empty()) throw Error(place + ": no key before '=', wanted key=value");
  if (is_section(name)) throw Error(fmt::format("{}: {} is a section, wanted one of its keys", place, name));
  const Key* key = find_key(name);
  if (!key) throw Error(fmt::format("{}: unknown key {}{}", place, shown_bare(name), suggest_key(name)));
  const bool list = std::holds_alternative<std::vector<int64_t>*>(key->slot(out));
  assign(out, *key, set_value(place, set.substr(equals + 1), list));
  places.insert_or_assign(name, place);
}

void apply_sets(Recipe& out, Places& places, const std::vector<std::string>& sets) {
  for (const std::string& set : sets) apply_set(out, places, set);
}

Composition checked(const std::vector<std::string>& paths, const std::vector<std::string>& sets) {
  Composition out = compose(paths);
  apply_sets(out.recipe, out.places, sets);
  check(out.recipe, out.places, join(paths, ", "));
  return out;
}

/// `comment` gives what stands after the value of a key.
template <class F>
std::string yaml_of(const Recipe& recipe, const F& comment) {
  std::string out;
  std::string_view section;
  for (const Key& key : schema()) {
    if (missing_choice(recipe, key)) continue;
    const std::string_view part = section_of(key);
    const auto indent = [&](std::string_view name) {
      return std::string(2 * size_t(std::count(name.begin(), name.end(), '.')), ' ');
    };
    if (part != section) out += fmt::format("{}{}:\n", indent(part), part.substr(part.rfind('.') + 1));
    section = part;
    out += fmt::format("{}{}: {}{}\n", indent(key.name), key.name.substr(key.name.rfind('.') + 1),
                       format_value(recipe, key), comment(key.name));
  }
  return out;
}

}  // namespace

Recipe compose_recipe(const std::vector<std::string>& paths, const std::vector<std::string>& sets) {
  return checked(paths, sets).recipe;
}

Recipe load_recipe(const std::string& path, const std::vector<std::string>& sets) {
  return compose_recipe(std::vector<std::string>{path}, sets);
}

std::string sourced_yaml(const std::vector<std::string>& paths, const std::vector<std::string>& sets) {
  const Composition made = checked(paths, sets);
  return yaml_of(made.recipe, [&](std::string_view key) {
    const auto place = made.places.find(key);
    return fmt::format("  # {}", place == made.places.end() ? "default" : shown_bare(place->second));
  });
}

Recipe parse_recipe(std::string_view text, const std::string& origin, const std::vector<std::string>& sets) {
  Recipe out;
  Places places;
  const Document document = read_document(text, origin);
  if (!document.parents.empty())
    throw Error(document.parents[0].place + ": extends in a recipe that is not a file, wanted every value in it");
  apply(out, places, document);
  apply_sets(out, places, sets);
  check(out, places, origin);
  return out;
}

std::string to_yaml(const Recipe& recipe) {
  return yaml_of(recipe, [](std::string_view) { return ""; });
}

std::vector<std::string> changed_keys(const Recipe& a, const Recipe& b) {
  std::vector<std::string> out;
  for (const Key& key : schema()) {
    const std::string before = format_value(a, key), now = format_value(b, key);
    if (!key.free_on_resume && before != now) out.push_back(fmt::format("{}: {} -> {}", key.name, before, now));
  }
  const bool same_total = a.schedule.total == b.schedule.total && a.schedule.name == b.schedule.name;
  if (same_total && uses_schedule_end(b) && schedule_end(a) != schedule_end(b))
    out.push_back(fmt::format("train.updates: {} -> {} (the end of schedule.name {}, because schedule.total is 0)",
                              a.train.updates, b.train.updates, b.schedule.name));
  return out;
}

bool operator==(const Recipe& a, const Recipe& b) {
  for (const Key& key : schema())
    if (format_value(a, key) != format_value(b, key)) return false;
  return true;
}

}  // namespace selene::train
