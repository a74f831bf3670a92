// yaml-cpp's events are read directly: they carry every mark, show repeated keys, and let nesting be refused before
// it is followed.
#include "train/recipe/tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <cstdlib>
#include <istream>
#include <sstream>

#include "data/io/printable.h"
#include "kernels/error.h"

namespace selene::train {

using data::shown;
using data::shown_bare;

namespace {

constexpr size_t kDeepest = 8;  // levels; a real recipe has 2

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
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { add(at({.kind = Node::null}, mark)); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "an alias (*name), wanted the value itself; recipes share values through extends");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& text) override {
    check_tag(mark, tag);
    add(at({.kind = Node::scalar, .text = text, .quoted = tag == "!"}, mark));
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
  Node at(Node node, const YAML::Mark& mark) {
    node.place = place_of(origin_, mark), node.line = mark.line + 1;
    return node;
  }
  void check_tag(const YAML::Mark& mark, const std::string& tag) {  // yaml-cpp: "?" plain, "!" quoted, "" collections
    if (tag.size() > 1) fail(mark, fmt::format("the tag {}, wanted a value without one", shown(tag)));
  }
  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag) {
    check_tag(mark, tag);
    if (open_.size() >= kDeepest)
      fail(mark, fmt::format("nested more than {} levels deep, wanted at most 3", kDeepest));
    open_.push_back(at({.kind = kind}, mark));
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
void check_bytes(std::string_view text, const std::string& origin, const std::string& what) {
  if (text.size() > kLargestTree)
    throw Error(fmt::format("{}: more than {} bytes, wanted a {}", origin, kLargestTree, what));
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

}  // namespace

Node read_tree(std::string_view text, const std::string& origin, const std::string& what) {
  check_bytes(text, origin, what);
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
  if (!found || root.kind == Node::null)
    throw Error(fmt::format("{}:1:1: the {} is empty, wanted keys and values", origin, what));
  if (root.kind != Node::map)
    throw Error(fmt::format("{}: a {}, wanted keys and values (key: value)", root.place,
                            root.kind == Node::list ? "list" : "single value"));
  return std::move(builder.root);
}

std::string unseen_characters(std::string_view text, const std::string& origin, std::string_view message) {
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

}  // namespace selene::train
