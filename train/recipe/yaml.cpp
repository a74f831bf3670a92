// YAML text to a flat list of recipe values.
#include <map>
#include <set>

#include <fmt/format.h>

#include "kernels/error.h"
#include "train/recipe/schema.h"
#include "train/recipe/tree.h"

namespace selene::train {
namespace {

/// Turns the tree into dotted keys with values.
class Flattener {
 public:
  Document document;

  void top(const Node& root) {
    each(root, "", [this](const Node& key, const Node& value, const std::string& name) {
      if (name == "extends") extends(key, value);
      else if (is_section(name)) section(value, name);
      else entry(key, value, name);
    });
  }

 private:
  template <class F>
  void each(const Node& map, const std::string& prefix, const F& take) {
    for (size_t i = 0; i + 1 < map.children.size(); i += 2) {
      const Node &key = map.children[i], &value = map.children[i + 1];
      if (key.kind != Node::scalar) throw Error(key.place + ": a key that is not a name, wanted key: value");
      const std::string name = prefix + key.text;
      const auto [first, is_new] = lines_.emplace(name, key.line);
      if (!is_new)
        throw Error(
            fmt::format("{}: {} is given twice, first in line {}", key.place, shown_bare(name), first->second));
      take(key, value, name);
    }
  }
  void extends(const Node& key, const Node& value) {
    const bool list = value.kind == Node::list;
    if (list && value.children.empty())
      throw Error(value.place + ": extends is an empty list, wanted one recipe file or a list of them");
    for (const Node& file : list ? value.children : std::vector<Node>{value}) {
      if (file.kind != Node::scalar || file.text.empty())
        throw Error((file.kind == Node::null && !list ? key : file).place +
                    ": extends is no file name, wanted one recipe file or a list of them");
      document.parents.push_back({file.text, file.place});
    }
  }
  void section(const Node& value, const std::string& name) {
    if (value.kind == Node::null) return;  // a section whose keys are all commented out
    if (value.kind != Node::map)
      throw Error(fmt::format("{}: {} is a {}, wanted a section with keys below it", value.place, name,
                              value.kind == Node::list ? "list" : "single value"));
    each(value, name + ".", [this](const Node& k, const Node& v, const std::string& full) {
      if (is_section(full)) section(v, full);
      else entry(k, v, full);
    });
  }
  void entry(const Node& key, const Node& value, const std::string& name) {
    const Key* known = find_key(name);
    if (!known) throw Error(fmt::format("{}: unknown key {}{}", key.place, shown_bare(name), suggest_key(name)));
    document.entries.push_back({known, value_of(*known, key, value)});
  }

  std::map<std::string, int> lines_;  // of the names seen so far
};

using Values = std::vector<std::pair<std::string, std::string>>;

/// Maps and lists to "model.layers" and "schedule.milestones.0", in the text's order.
void flatten(const Node& node, const std::string& name, Values& out) {
  const auto below = [&](const std::string& key) { return name.empty() ? key : name + "." + key; };
  std::set<std::string> names;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const Node& child = node.children[i];
    if (node.kind == Node::list) {
      flatten(child, below(std::to_string(i)), out);
    } else if (i % 2 == 0) {
      if (child.kind != Node::scalar || !names.insert(child.text).second)
        throw Error(child.place + ": a key that is no name or given twice");
      flatten(node.children[i + 1], below(child.text), out);
    }
  }
  if (node.kind == Node::scalar || node.kind == Node::null) out.emplace_back(name, node.text);
}

}  // namespace

Value value_of(const Key& known, const Node& key, const Node& value) {
  Value out{.place = value.place, .list = value.kind == Node::list, .quoted = value.quoted};
  if (value.kind == Node::null)
    throw Error(fmt::format("{}: {} has no value, wanted {}", key.place, known.name, type_name(known)));
  if (value.kind == Node::map)
    throw Error(fmt::format("{}: {} is a map, wanted {}", value.place, known.name, type_name(known)));
  if (!out.list) out.items = {value.text}, out.places = {out.place};
  for (const Node& item : value.children) {
    if (item.kind != Node::scalar || item.quoted)
      throw Error(
          fmt::format("{}: an item of {} is not a plain value, wanted {}", item.place, known.name, type_name(known)));
    out.items.push_back(item.text), out.places.push_back(item.place);
  }
  return out;
}

Document read_document(std::string_view text, const std::string& origin) {
  return naming_unseen(text, origin, [&] {
    Flattener flattener;
    flattener.top(read_tree(text, origin));
    return std::move(flattener.document);
  });
}

std::vector<std::pair<std::string, std::string>> recipe_values(std::string_view text, const std::string& origin) {
  return naming_unseen(text, origin, [&] {
    Values values;
    flatten(read_tree(text, origin), "", values);
    return values;
  });
}

}  // namespace selene::train
