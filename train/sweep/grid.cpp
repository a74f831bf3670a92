#include "train/sweep/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "data/dataset.h"
#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "train/recipe/fields.h"
#include "train/recipe/schema.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

Node read_file(const std::string& path) {
  return read_tree(data::read_regular_file(path, kLargestTree, "a grid"), path, "grid");
}

/// The first key of a section.
std::string_view key_in(std::string_view section) {
  const auto keys = schema();
  return std::find_if(keys.begin(), keys.end(), [&](const Key& key) { return section_of(key) == section; })->name;
}

/// The choices of a word.
std::string one_of(const Node& node, const std::string& name, const Strings& choices) {
  const std::string text = text_of(node, name);
  if (std::find(choices.begin(), choices.end(), text) == choices.end())
    throw Error(fmt::format("{}: {} is {}, wanted {}", node.place, name, data::shown(text), join(choices, ", ")));
  return text;
}

class Reader {
 public:
  explicit Reader(const std::string& path) : folder_(fs::path(path).parent_path()) { grid_.path = path; }

  Grid read(const Node& top) {
    Fields fields(top);
    const Strings measures = {"training", "steps", "nothing"};
    if (!fields.find("measure"))
      throw Error(fmt::format("{}: has no measure, wanted a grid (docs/sweeps.md) with measure: {}", top.place,
                              join(measures, ", ")));
    const std::string measure = one_of(fields.need("measure"), "measure", measures);
    grid_.measure = Measure(std::find(measures.begin(), measures.end(), measure) - measures.begin());
    grid_.out = text_of(fields.need("out"), "out");
    if (const Node* node = fields.find("numbers")) grid_.numbers = file_of(*node, "numbers");
    write(fields);
    if (grid_.measure != Measure::nothing) axes(fields);
    if (grid_.measure == Measure::training) training(fields);
    if (grid_.measure == Measure::steps) steps(fields);
    fields.need_all_asked();
    return grid_;
  }

 private:
  /// A file's path, which must be there.
  std::string file_of(const Node& node, const std::string& name) const {
    const std::string path = (folder_ / text_of(node, name)).lexically_normal().string();
    std::error_code ignored;
    if (!fs::exists(path, ignored)) throw Error(fmt::format("{}: {}: {} is not there", node.place, name, path));
    return path;
  }
  Strings files_of(const Node& node, const std::string& name) const {
    if (node.kind != Node::list) return {file_of(node, name)};
    texts_of(node, name);
    Strings files;
    for (const Node& item : node.children) files.push_back(file_of(item, name));
    return files;
  }

  /// "key=value" for each member of a map; a value is what a recipe would take.
  Strings sets_of(const Node& node, const std::string& name) const {
    Strings sets;
    const Fields fields(node, name);
    for (const auto& [key, value] : fields.members()) {
      if (is_section(key.text))
        throw Error(fmt::format("{}: {}: {} is a section, wanted its keys by their whole names, such as {}: VALUE",
                                key.place, name, key.text, key_in(key.text)));
      const Key* known = find_key(key.text);
      if (!known)
        throw Error(fmt::format("{}: {}: unknown key {}{}", key.place, name, data::shown_bare(key.text),
                                suggest_key(key.text)));
      if (key.text == "train.seed" && grid_.measure == Measure::training)
        throw Error(fmt::format("{}: {}: train.seed is what seeds gives, wanted it there alone", key.place, name));
      const Value given = value_of(*known, key, value);
      Recipe any;
      assign(any, *known, given);
      const std::string text = join(given.items, ", ");
      sets.push_back(fmt::format("{}={}", key.text, given.list ? "[" + text + "]" : text));
    }
    return sets;
  }

  /// Names are parts of folders' names.
  template <class F>
  std::vector<Choice> choices(const Node& node, const std::string& name, const F& fill) const {
    std::vector<Choice> out;
    const Fields fields(node, name);
    for (const auto& [key, value] : fields.members()) {
      if (!is_run_name(key.text))
        throw Error(fmt::format("{}: {} is no name for a folder, wanted letters, digits, '_', '-' and '.'", key.place,
                                data::shown(key.text)));
      out.push_back({key.text, {}, {}});
      fill(out.back(), value, fields.name_of(key.text));
    }
    if (out.empty()) throw Error(fmt::format("{}: {} is empty, wanted at least one", node.place, name));
    return out;
  }

  void write(Fields& fields) {
    if (const Node* node = fields.find("write")) {
      if (texts_of(*node, "write").empty()) return;
      for (const Node& item : node->kind == Node::list ? node->children : std::vector<Node>{*node})
        grid_.write.push_back(one_of(item, "write", {"table1", "table2", "table3", "figure1"}));
      if (grid_.numbers.empty()) throw Error(node->place + ": write without numbers, wanted the file of a paper's");
    }
  }

  void axes(Fields& fields) {
    const auto take_files = [&](Choice& choice, const Node& value, const std::string& name) {
      choice.files = files_of(value, name);
    };
    grid_.recipes = choices(fields.need("recipes"), "recipes", take_files);
    grid_.models = choices(fields.need("models"), "models", take_files);
    if (const Node* node = fields.find("set")) grid_.sets = sets_of(*node, "set");
    if (const Node* node = fields.find("instead")) {
      const Fields pairs(*node, "instead");
      for (const auto& [key, value] : pairs.members())
        grid_.instead.emplace(pair_of(key), files_of(value, pairs.name_of(key.text)));
    }
  }

  std::pair<std::string, std::string> pair_of(const Node& key) const {
    for (const Choice& recipe : grid_.recipes)
      for (const Choice& model : grid_.models)
        if (key.text == recipe.name + " " + model.name) return {recipe.name, model.name};
    throw Error(fmt::format("{}: {} is no pair, wanted a name of recipes and one of models", key.place,
                            data::shown(key.text)));
  }

  void training(Fields& fields) {
    grid_.variants = {{}};
    if (const Node* node = fields.find("variants"))
      grid_.variants = choices(*node, "variants", [&](Choice& choice, const Node& value, const std::string& name) {
        choice.sets = sets_of(value, name);
      });
    need_own_folders(fields);
    const Node& seeds = fields.need("seeds");
    if (seeds.kind == Node::list) {
      grid_.seeds = wholes_of(seeds, "seeds", 0);
      need_once(seeds, "seeds", grid_.seeds);
    } else {
      const int64_t count = whole_of(seeds, "seeds", 1);
      if (count > kMostSeeds)
        throw Error(fmt::format("{}: seeds is {}, wanted at most {}", seeds.place, count, kMostSeeds));
      grid_.seeds = first_seeds(count);
    }
    const Node *data = fields.find("data"), *prepared = fields.find("prepared");
    if (prepared && !data)
      throw Error(prepared->place + ": prepared without data, wanted the file that says how it is made");
    if (data) read_data(file_of(*data, "data"), fields);
  }

  static void need_once(const Node& node, const std::string& name, const std::vector<int64_t>& values) {
    if (const auto twin = twin_of(values)) throw Error(fmt::format("{}: {} has {} twice", node.place, name, *twin));
  }

  /// Model "e" with variant "p" and model "e-p" would be one.
  void need_own_folders(Fields& fields) const {
    std::map<std::string, std::string> seen;
    for (const Choice& model : grid_.models)
      for (const Choice& variant : grid_.variants) {
        const std::string name = model.name + suffix_of(variant), what = model.name + " with " + variant.name;
        const auto [other, is_new] = seen.emplace(name, what);
        if (!is_new)
          throw Error(fmt::format("{}: {} and {} would be in one folder, {}", fields.need("models").place,
                                  other->second, what, name));
      }
  }

  void read_data(const std::string& path, Fields& grid) {
    grid_.prepared = text_of(grid.need("prepared"), "prepared");
    const Node top = read_file(path);
    const Fields sources(top);
    for (const auto& [key, value] : sources.members()) {
      Fields fields(value, key.text);
      DataSource& source = grid_.data[key.text];
      source.prepare = texts_of(fields.need("prepare"), fields.name_of("prepare"));
      need_examples(fields, source.prepare[0]);
      if (const Node* node = fields.find("from")) source.from = texts_of(*node, fields.name_of("from"));
      for (const auto& [name, count] :
           {std::pair{"train", &source.train}, {"valid", &source.valid}, {"test", &source.test}})
        if (const Node* node = fields.find(name)) *count = whole_of(*node, fields.name_of(name), 1);
      fields.need_all_asked();
    }
  }

  /// A text without labels is no number of examples, and its files stand in `prepare`.
  static void need_examples(Fields& fields, const std::string& kind) {
    const bool bare = std::any_of(data::kinds().begin(), data::kinds().end(),
                                  [&](const data::Kind& k) { return k.name == kind && k.class_names.empty(); });
    for (const char* name : {"from", "train", "valid", "test"})
      if (const Node* node = fields.find(name); node && bare)
        throw Error(fmt::format("{}: {} is for kinds with labels, wanted none for {}", node->place,
                                fields.name_of(name), kind));
  }

  void steps(Fields& fields) {
    const Node& lengths = fields.need("lengths");
    grid_.lengths = wholes_of(lengths, "lengths", 1);
    need_once(lengths, "lengths", grid_.lengths);
    for (const auto& [name, count] :
         {std::pair{"rounds", &grid_.rounds}, {"steps", &grid_.steps}, {"batch", &grid_.batch}})
      if (const Node* node = fields.find(name)) *count = whole_of(*node, name, 1);
    if (const Node* node = fields.find("precision"))
      grid_.precision = one_of(*node, "precision", {"fp32", "bf16", "fp16"});
    if (grid_.recipes.size() > 1)
      throw Error(fields.need("recipes").place + ": recipes has several, wanted one whose steps are timed");
  }

  const fs::path folder_;
  Grid grid_;
};

}  // namespace

std::string suffix_of(const Choice& variant) { return variant.sets.empty() ? "" : "-" + variant.name; }

std::vector<int64_t> first_seeds(int64_t count) {
  std::vector<int64_t> seeds;
  for (int64_t seed = 1; seed <= count; ++seed) seeds.push_back(seed);
  return seeds;
}

std::optional<int64_t> twin_of(const std::vector<int64_t>& values) {
  for (auto value = values.begin(); value != values.end(); ++value)
    if (std::find(values.begin(), value, *value) != value) return *value;
  return std::nullopt;
}

Grid read_grid(const std::string& path) { return Reader(path).read(read_file(path)); }

}  // namespace selene::train
