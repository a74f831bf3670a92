// Lists in messages. Here, below everything, because every layer writes messages; fmt::join makes GCC 12 warn of a
// write that does not happen.
#pragma once
#include <functional>
#include <string>
#include <string_view>

namespace selene {

/// The texts, a range of anything that std::string appends, with `between` between them; of each its `text`. (Not a
/// view that transforms: clang 14 does not take those of GCC's library.)
template <class Texts, class Text = std::identity>
std::string join(const Texts& texts, std::string_view between, Text text = {}) {
  std::string out;
  std::string_view gap;
  for (const auto& one : texts) out.append(gap).append(std::invoke(text, one)), gap = between;
  return out;
}

}  // namespace selene
