// YAML texts as trees: a facade over the library, with the place of every value and limits against any text.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/error.h"

namespace selene::train {

/// Bytes of the longest text that is read.
constexpr uint64_t kLargestTree = 65536;

struct Node {
  enum Kind { null, scalar, list, map } kind = null;
  std::string place = {};  // "file:line:column"
  int line = 0;
  std::string text = {};            // scalar
  bool quoted = false;              // scalar
  std::vector<Node> children = {};  // list: items; map: key, value, key, value ...
};

/// Reads one YAML document whose top is a map; `origin` names it in errors, `what` it is ("recipe"). Throws Error
/// with the place: syntax, tags, aliases, several documents, control characters, deep nesting, too many bytes.
Node read_tree(std::string_view text, const std::string& origin, const std::string& what = "recipe");

/// What stands in front of the place that a message about the text begins with and cannot be seen: pasted from a web
/// page it looks right. Empty if nothing.
std::string unseen_characters(std::string_view text, const std::string& origin, std::string_view message);

/// Calls f and adds to its errors what cannot be seen in the text.
template <class F>
auto naming_unseen(std::string_view text, const std::string& origin, const F& f) {
  try {
    return f();
  } catch (const Error& e) {
    throw Error(e.what() + unseen_characters(text, origin, e.what()));
  }
}

}  // namespace selene::train
