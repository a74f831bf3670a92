#include "train/recipe/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "data/io/printable.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "train/recipe/schema.h"

namespace selene::train {
namespace {

[[noreturn]] void fail(const Node& node, const std::string& name, std::string_view wanted) {
  const std::string found = node.kind == Node::null   ? "empty"
                            : node.kind == Node::list ? "a list"
                            : node.kind == Node::map  ? "a map"
                            : node.text.empty()       ? "empty"
                                                      : data::shown(node.text);
  throw Error(fmt::format("{}: {} is {}, wanted {}", node.place, data::shown_bare(name), found, wanted));
}

template <class T>
bool read(const std::string& text, T& out) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out);
  return status == std::errc() && end == text.data() + text.size();
}

// One value or a list of at least one, each by `read_one`.
template <class T, class F>
std::vector<T> each_of(const Node& node, const std::string& name, const F& read_one) {
  std::vector<T> out;
  if (node.kind != Node::list) return {read_one(node)};
  if (node.children.empty()) throw Error(fmt::format("{}: {} is an empty list", node.place, data::shown_bare(name)));
  for (const Node& item : node.children) out.push_back(read_one(item));
  return out;
}

}  // namespace

Fields::Fields(const Node& map, std::string name) : map_(map), name_(std::move(name)) {
  if (map.kind != Node::map) fail(map, name_.empty() ? "the file" : name_, "keys and values");
  for (size_t i = 0; i + 1 < map.children.size(); i += 2) {
    const Node& key = map.children[i];
    if (key.kind != Node::scalar || key.text.empty()) throw Error(key.place + ": a key that is not a name");
    for (const Member& other : members_)
      if (other.key.text == key.text)
        throw Error(fmt::format("{}: {} is given twice, first in line {}", key.place,
                                data::shown_bare(name_of(key.text)), other.key.line));
    members_.push_back({key, map.children[i + 1]});
  }
}

const Node* Fields::find(std::string_view key) {
  if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) asked_.emplace_back(key);
  for (const Member& member : members_)
    if (member.key.text == key) return member.value.kind == Node::null ? nullptr : &member.value;
  return nullptr;
}

const Node& Fields::need(std::string_view key) {
  if (const Node* found = find(key)) return *found;
  throw Error(fmt::format("{}: has no {}, wanted it with a value", map_.place, name_of(key)));
}

void Fields::need_all_asked() const {
  for (const Member& member : members_)
    if (std::find(asked_.begin(), asked_.end(), member.key.text) == asked_.end())
      throw Error(fmt::format("{}: unknown key {}, wanted {}", member.key.place,
                              data::shown_bare(name_of(member.key.text)), join(asked_, ", ")));
}

std::string Fields::name_of(std::string_view key) const {
  return name_.empty() ? std::string(key) : fmt::format("{}.{}", name_, key);
}

std::string text_of(const Node& node, const std::string& name) {
  if (node.kind != Node::scalar || node.text.empty()) fail(node, name, "a text");
  return node.text;
}

int64_t whole_of(const Node& node, const std::string& name, int64_t least) {
  int64_t value = 0;
  if (node.kind != Node::scalar || node.quoted || !read(node.text, value) || value < least)
    fail(node, name, fmt::format("a whole number from {}", least));
  return value;
}

double number_of(const Node& node, const std::string& name) {
  double value = 0;
  if (node.kind != Node::scalar || node.quoted || !read(node.text, value)) fail(node, name, "a number");
  return value;
}

std::vector<std::string> texts_of(const Node& node, const std::string& name) {
  return each_of<std::string>(node, name, [&](const Node& n) { return text_of(n, name); });
}

std::vector<int64_t> wholes_of(const Node& node, const std::string& name, int64_t least) {
  return each_of<int64_t>(node, name, [&](const Node& n) { return whole_of(n, name, least); });
}

std::vector<double> numbers_of(const Node& node, const std::string& name) {
  return each_of<double>(node, name, [&](const Node& n) { return number_of(n, name); });
}

}  // namespace selene::train
