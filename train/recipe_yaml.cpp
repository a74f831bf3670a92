// YAML text to a flat list of recipe values. yaml-cpp's events are read directly: they carry every mark, show
// repeated keys, and let nesting be refused before it is followed.
#include <cstdlib>
#include <istream>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "kernels/error.h"
#include "train/recipe_schema.h"

namespace selene::recipe {
namespace {

constexpr size_t DEEPEST = 8;  // levels; a real recipe has 2

struct Node {
  enum Kind { null, scalar, list, map } kind = null;
  YAML::Mark mark = {};             // 0-based line and column
  std::string text = {};            // scalar
  bool quoted = false;              // scalar
  std::vector<Node> children = {};  // list: items; map: key, value, key, value ...
};

std::string place_of(const std::string& origin, const YAML::Mark& mark) {
  return mark.is_null() ? origin : fmt::format("{}:{}:{}", origin, mark.line + 1, mark.column + 1);
}

/// Builds the tree of one document.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(const std::string& origin) : origin_(origin) {}
  Node root;

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0)
      fail(mark, "a second document begins here, or a line that stands further left than the first; wanted one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { add({.kind = Node::null, .mark = mark}); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "an alias (*name), wanted the value itself; recipes share values through extends");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& text) override {
    check_tag(mark, tag);
    add({.kind = Node::scalar, .mark = mark, .text = text, .quoted = tag == "!"});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(Node::list, mark, tag);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(Node::map, mark, tag);
  }
  void OnMapEnd() override { close(); }

 private:
  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& what) {
    throw Error(place_of(origin_, mark) + ": " + what);
  }
  void check_tag(const YAML::Mark& mark, const std::string& tag) {  // yaml-cpp: "?" plain, "!" quoted, "" collections
    if (tag.size() > 1) fail(mark, fmt::format("the tag {}, wanted a value without one", shown(tag)));
  }
  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag) {
    check_tag(mark, tag);
    if (open_.size() >= DEEPEST) fail(mark, fmt::format("nested more than {} levels deep, wanted 2", DEEPEST));
    open_.push_back({.kind = kind, .mark = mark});
  }
  void close() {
    Node node = std::move(open_.back());
    open_.pop_back();
    add(std::move(node));
  }
  void add(Node node) {
    if (open_.empty()) root = std::move(node);
    else open_.back().children.push_back(std::move(node));
  }

  const std::string& origin_;
  std::vector<Node> open_;
  int documents_ = 0;
};

/// yaml-cpp takes byte 4 for the end of the text, and other control characters (UTF-16 has them too) have no place
/// here.
void check_bytes(std::string_view text, const std::string& origin) {
  if (text.size() > largest_recipe)
    throw Error(fmt::format("{}: more than {} bytes, wanted a recipe", origin, largest_recipe));
  const char* form = text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") ? " (the text is UTF-16)" : "";
  int line = 1, column = 1;
  for (const char c : text) {
    const bool allowed = static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\r' || c == '\t';
    if (!allowed || c == 0x7f)
      throw Error(fmt::format("{}:{}:{}: byte {:#04x}{}, wanted printable text in UTF-8", origin, line, column,
                              unsigned(c), form));
    if (c == '\n') ++line, column = 1;
    else ++column;
  }
}

Node parse_tree(std::string_view text, const std::string& origin) {
  check_bytes(text, origin);
  Builder builder(origin);
  bool found = false;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) found = true;
  } catch (const YAML::Exception& e) {
    throw Error(fmt::format("{}: YAML syntax: {}", place_of(origin, e.mark), shown_bare(e.msg)));
  }
  const Node& root = builder.root;
  if (!found || root.kind == Node::null) throw Error(origin + ":1:1: the recipe is empty, wanted keys and values");
  if (root.kind != Node::map)
    throw Error(fmt::format("{}: a {}, wanted keys and values (key: value)", place_of(origin, root.mark),
                            root.kind == Node::list ? "list" : "single value"));
  return std::move(builder.root);
}

/// Turns the tree into dotted keys with values.
class Flattener {
 public:
  explicit Flattener(const std::string& origin) : origin_(origin) {}
  Document document;

  void top(const Node& root) {
    each(root, "", [this](const Node& key, const Node& value, const std::string& name) {
      if (name == "extends") extends(key, value);
      else if (is_section(name)) section(value, name);
      else entry(key, value, name);
    });
  }

 private:
  std::string at(const Node& node) const { return place_of(origin_, node.mark); }

  template <class F>
  void each(const Node& map, const std::string& prefix, const F& take) {
    for (size_t i = 0; i + 1 < map.children.size(); i += 2) {
      const Node &key = map.children[i], &value = map.children[i + 1];
      if (key.kind != Node::scalar) throw Error(at(key) + ": a key that is not a name, wanted key: value");
      const std::string name = prefix + key.text;
      const auto [first, is_new] = lines_.emplace(name, key.mark.line + 1);
      if (!is_new)
        throw Error(fmt::format("{}: {} is given twice, first in line {}", at(key), shown_bare(name), first->second));
      take(key, value, name);
    }
  }
  void extends(const Node& key, const Node& value) {
    const bool list = value.kind == Node::list && !value.children.empty();
    for (const Node& file : list ? value.children : std::vector<Node>{value}) {
      if (file.kind != Node::scalar || file.text.empty())
        throw Error(at(file.kind == Node::null && !list ? key : file) +
                    ": extends is no file name, wanted one recipe file or a list of them");
      document.parents.push_back({file.text, at(file)});
    }
  }
  void section(const Node& value, const std::string& name) {
    if (value.kind == Node::null) return;  // a section whose keys are all commented out
    if (value.kind != Node::map)
      throw Error(fmt::format("{}: {} is a {}, wanted a section with keys below it", at(value), name,
                              value.kind == Node::list ? "list" : "single value"));
    each(value, name + ".", [this](const Node& k, const Node& v, const std::string& full) { entry(k, v, full); });
  }
  void entry(const Node& key, const Node& value, const std::string& name) {
    const Key* known = find_key(name);
    if (!known) throw Error(fmt::format("{}: unknown key {}{}", at(key), shown_bare(name), suggest_key(name)));
    Value out{.place = at(value), .list = value.kind == Node::list, .quoted = value.quoted};
    if (value.kind == Node::null)
      throw Error(fmt::format("{}: {} has no value, wanted {}", at(key), name, type_name(*known)));
    if (value.kind == Node::map)
      throw Error(fmt::format("{}: {} is a map, wanted {}", at(value), name, type_name(*known)));
    if (!out.list) out.items = {value.text}, out.places = {out.place};
    for (const Node& item : value.children) {
      if (item.kind != Node::scalar || item.quoted)
        throw Error(
            fmt::format("{}: an item of {} is not a plain value, wanted {}", at(item), name, type_name(*known)));
      out.items.push_back(item.text), out.places.push_back(at(item));
    }
    document.entries.push_back({known, out});
  }

  const std::string& origin_;
  std::map<std::string, int> lines_;  // of the names seen so far
};

/// What stands in front of the error's place and cannot be seen: pasted from a web page it looks right. "" if
/// nothing.
std::string unseen(std::string_view text, const std::string& origin, std::string_view message) {
  if (message.find("<U+") != message.npos || !message.starts_with(origin + ":")) return "";
  const int last = std::atoi(std::string(message.substr(origin.size() + 1)).c_str());
  std::string found;
  std::string_view rest = text;
  for (int line = 1, column = 1; line <= last && !rest.empty();) {
    const data::Character c = data::first_character(rest);
    const bool indents = c.code == '\t' && rest.data() > text.data() && rest.data()[-1] == '\n';
    if (indents) found = fmt::format("; line {} begins with a TAB, wanted spaces", line);
    else if (c.code >= 0x80 && !c.visible() && !(line == 1 && column == 1))
      found = fmt::format("; column {} of line {} is {}, which cannot be seen", column, line,
                          data::printable(rest.substr(0, c.bytes)));
    if (c.code == '\n') ++line, column = 1;
    else ++column;
    rest.remove_prefix(c.bytes);
  }
  return found;
}

/// Calls f and adds to its errors what cannot be seen in the text.
template <class F>
auto naming_unseen(std::string_view text, const std::string& origin, const F& f) {
  try {
    return f();
  } catch (const Error& e) {
    throw Error(e.what() + unseen(text, origin, e.what()));
  }
}

using Values = std::vector<std::pair<std::string, std::string>>;

/// Maps and lists to "model.layers" and "schedule.milestones.0", in the text's order.
void flatten(const Node& node, const std::string& name, const std::string& origin, Values& out) {
  const auto below = [&](const std::string& key) { return name.empty() ? key : name + "." + key; };
  std::set<std::string> names;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const Node& child = node.children[i];
    if (node.kind == Node::list) {
      flatten(child, below(std::to_string(i)), origin, out);
    } else if (i % 2 == 0) {
      if (child.kind != Node::scalar || !names.insert(child.text).second)
        throw Error(place_of(origin, child.mark) + ": a key that is no name or given twice");
      flatten(node.children[i + 1], below(child.text), origin, out);
    }
  }
  if (node.kind == Node::scalar || node.kind == Node::null) out.emplace_back(name, node.text);
}

}  // namespace

Document read_document(std::string_view text, const std::string& origin) {
  return naming_unseen(text, origin, [&] {
    Flattener flattener(origin);
    flattener.top(parse_tree(text, origin));
    return std::move(flattener.document);
  });
}

}  // namespace selene::recipe

std::vector<std::pair<std::string, std::string>> selene::recipe_values(std::string_view text,
                                                                       const std::string& origin) {
  return recipe::naming_unseen(text, origin, [&] {
    recipe::Values values;
    recipe::flatten(recipe::parse_tree(text, origin), "", origin, values);
    return values;
  });
}
