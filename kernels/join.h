// Lists in messages. Here, below everything, because every layer writes messages; fmt::join makes GCC 12 warn of a
// write that does not happen.
#pragma once
#include <string>
#include <string_view>

namespace selene {

/// The texts, a range of anything that std::string appends, with `between` between them.
template <class Texts>
std::string join(const Texts& texts, std::string_view between) {
  std::string out, gap;
  for (const auto& text : texts) out.append(gap).append(text), gap = between;
  return out;
}

}  // namespace selene
