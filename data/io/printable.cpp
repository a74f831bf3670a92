#include "data/io/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace selene::data {
namespace {

constexpr size_t kLongestShown = 60;  // bytes

struct Block {
  char32_t first, last;
};
// What looks like nothing, like a plain space or like other text (Unicode 15: general categories Cc, Cf, Zs, Zl, Zp,
// and the fillers); the space itself is visible.
constexpr Block kHidden[] = {{0, 0x1f},        {0x7f, 0xa0},       {0xad, 0xad},      {0x34f, 0x34f},
                             {0x61c, 0x61c},   {0x115f, 0x1160},   {0x1680, 0x1680},  {0x17b4, 0x17b5},
                             {0x180e, 0x180e}, {0x2000, 0x200f},   {0x2028, 0x202f},  {0x205f, 0x206f},
                             {0x3000, 0x3000}, {0x3164, 0x3164},   {0xfeff, 0xfeff},  {0xffa0, 0xffa0},
                             {0xfff9, 0xfffb}, {0x1d173, 0x1d17a}, {0xe0000, 0xe007f}};

std::string escape(const Character& c) {
  if (c.code == '\n') return "\\n";
  if (c.code == '\t') return "\\t";
  if (c.code == '\r') return "\\r";
  if (!c.valid || c.code < 0x80) return fmt::format("\\x{:02x}", unsigned(c.code));
  return fmt::format("<U+{:04X}>", unsigned(c.code));
}

}  // namespace

bool Character::visible() const {
  if (code < 0x7f) return code >= 0x20;
  const auto within = [this](const Block& b) { return code >= b.first && code <= b.last; };
  return valid && std::none_of(std::begin(kHidden), std::end(kHidden), within);
}

Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0);
  const Character broken{first, 1, false};
  if ((first >= 0x80 && first < 0xc2) || first > 0xf4) return broken;
  if (first < 0x80) return {first, 1, true};
  const size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  char32_t code = first & (0x7fu >> size);
  for (size_t i = 1; i < size; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return broken;
    code = code << 6 | (byte(i) & 0x3f);
  }
  const bool overlong = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return overlong || surrogate || code > 0x10ffff ? broken : Character{code, size, true};
}

std::string printable(std::string_view text, std::string_view kept) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character c = first_character(text);
    if (c.visible() || kept.find(text[0]) != kept.npos) out += text.substr(0, c.bytes);
    else out += escape(c);
    text.remove_prefix(c.bytes);
  }
  return out;
}

std::string shown_bare(std::string_view text) {
  std::string out;
  while (!text.empty() && out.size() < kLongestShown) {
    const size_t bytes = first_character(text).bytes;
    out += printable(text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
  return text.empty() ? out : out + "...";
}

std::string shown(std::string_view text) { return fmt::format("\"{}\"", shown_bare(text)); }

}  // namespace selene::data
