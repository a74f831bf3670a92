// The lines of texts as different tools write them.
#include "data/io/lines.h"

#include <sstream>

#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;

/// "number:line" of every line, with a bar between.
std::string read(const std::string& text) {
  std::istringstream in(text);
  Lines lines(in, "f");
  std::string all;
  for (std::string line; lines.next(line);)
    all += (all.empty() ? "" : "|") + std::to_string(lines.number()) + ":" + line;
  return all;
}

std::string refused(const std::string& text) {
  return message_of([&] { read(text); });
}

}  // namespace

TEST_CASE("lines: line ends, a byte order mark, blank lines around") {
  CHECK(read("").empty());
  CHECK(read("\n\r\n").empty());
  for (const char* text : {"a\nb\n", "a\nb", "a\r\nb\r\n", "a\r\nb",
                           "\xef\xbb\xbf"
                           "a\nb\n\n\r\n"}) {
    CAPTURE(text);
    CHECK(read(text) == "1:a|2:b");
  }
  CHECK(read("\n\xef\xbb\xbf\n") == "2:\xef\xbb\xbf");
  CHECK(read("\xef\xbb\xbf\n\n a \nb") == "3: a |4:b");
  CHECK(read("a\rb\nc") == "1:a\rb|2:c");
}

TEST_CASE("lines: what is no text of lines is named") {
  CHECK(refused("a\n\n\nb\n") == "f:2: is empty, wanted an example");
  CHECK(refused("a\rb\rc\r") == "f: its lines end in CR alone, wanted LF or CR LF");
  CHECK(refused(std::string("a\0\n\0", 4)) == "f: begins with a byte of 0, wanted text (is it UTF-16?)");
  CHECK(refused("\xff\xfe"
                "a") == "f: is UTF-16 text; write it as UTF-8");
  CHECK(refused("\x1f\x8b\b") == "f: is compressed by gzip; unpack it");
  CHECK(refused("PK\x03\x04") == "f: is a zip archive; unpack it");
  for (const char* page : {"<!DOCTYPE html>\n", "<!doctype html>\n", "<HTML><body>\n"})
    CHECK(refused(page) == "f: is a web page; what was wanted was not downloaded");
  for (const char* packed : {"BZh91AY&SY\x64\x8c", "BZh1\x17rE8P\x90"})
    CHECK(refused(packed) == "f: is compressed by bzip2; unpack it");
  CHECK(read("BZh is a film\nBZh91AY") == "1:BZh is a film|2:BZh91AY");
}

}  // namespace selene::testing
