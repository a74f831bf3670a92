// Foreign text on a terminal: nothing but what can be seen.
#include "data/io/printable.h"
#include "tests/support/catch.h"

namespace selene::testing {

using namespace data;

TEST_CASE("printable: what people write stays as it is") {
  for (const char* text :
       {"", "a path/with blanks (1).yaml", "größe/Ωμέγα/数据/данные", "\U0001f642", "\\n <U+00A0>"})
    CHECK(printable(text) == text);
}

TEST_CASE("printable: control characters and what is invisible are named") {
  CHECK(printable("two\nlines\tand\rmore") == "two\\nlines\\tand\\rmore");
  CHECK(printable("\x1b[31mred\x07\x7f") == "\\x1b[31mred\\x07\\x7f");
  CHECK(printable(std::string_view("\0", 1)) == "\\x00");
  CHECK(printable("\xc2\x9b"
                  "2J\xc2\x85") == "<U+009B>2J<U+0085>");  // an escape sequence in one character
  CHECK(printable("1\xc2\xa0"
                  "000\xe2\x80\x8b\xef\xbb\xbf\xe3\x80\x80") == "1<U+00A0>000<U+200B><U+FEFF><U+3000>");
  for (const char* turn : {"\xe2\x80\xaa", "\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x81\xa9", "\xe2\x80\x8f"})
    CHECK(printable(turn).starts_with("<U+20"));
  CHECK(printable("a\n\tb\x1b", "\n\t") == "a\n\tb\\x1b");
}

TEST_CASE("printable: bytes that are not UTF-8 are shown one by one") {
  CHECK(printable("caf\xe9") == "caf\\xe9");
  CHECK(printable("\x9b"
                  "2J") == "\\x9b2J");
  for (const char* bad : {"\x80", "\xc0\xaf", "\xc1\x81", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xff", "\xe2\x82", "\xc3"})
    CHECK(printable(bad).starts_with("\\x"));
  CHECK(first_character("\xe2\x82\xac").code == 0x20ac);
  CHECK(first_character("\xf4\x8f\xbf\xbf").code == 0x10ffff);
}

TEST_CASE("printable: is itself printable, and cut where it is long") {
  std::string all;
  for (int c = 0; c < 256; ++c) all += char(c);
  CHECK(printable(printable(all)) == printable(all));
  CHECK(shown("a\x1b") == "\"a\\x1b\"");
  const std::string most(60, 'a');
  CHECK(shown_bare(most) == most);
  CHECK(shown_bare(most + "a") == most + "...");
  CHECK(shown_bare("a" + std::string(80, '\x01')).size() < 70);
}

}  // namespace selene::testing
