// Foreign text made safe to print: whatever a file, a path or an option holds, a terminal shows it and does nothing
// else, and a person sees what is there.
#pragma once
#include <string>
#include <string_view>

namespace selene::data {

/// The character that a text begins with.
struct Character {
  char32_t code = 0;  // Unicode; of a byte that begins no UTF-8 character, that byte
  size_t bytes = 1;
  bool valid = false;  // UTF-8 (Unicode 15, table 3-7)
  /// Shown as it is, and not taken for another: no control character, no blank but the space, nothing that is
  /// invisible or turns the direction of writing.
  bool visible() const;
};
/// The first character of `text`, which is not empty.
Character first_character(std::string_view text);

/// `text` on one line, each character that is not visible() as an escape: \n, \t, \r; \x1b for another control
/// character or a byte that is not UTF-8; <U+200B> for the rest. Those in `kept` stay as they are. Of its own result
/// nothing is changed.
std::string printable(std::string_view text, std::string_view kept = "");
/// The same cut to about 60 bytes, for values in messages; with quotes around it.
std::string shown_bare(std::string_view text);
std::string shown(std::string_view text);

}  // namespace selene::data
