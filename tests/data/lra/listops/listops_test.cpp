// ListOps expressions and the reader of the official files.
#include "data/lra/listops/listops.h"

#include <sstream>

#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/real_data.h"

namespace selene::testing {

using namespace data;

TEST_CASE("listops: values of hand-made expressions") {
  const std::pair<const char*, int> cases[] = {
      {"7", 7},
      {"[MAX 2 9 [MIN 4 7 ] 0 ]", 9},
      {"[MIN 4 7 ]", 4},
      {"[MIN 4 [MAX 3 2 ] 9 ]", 3},
      {"[MED 1 9 5 ]", 5},
      {"[MED 9 1 ]", 5},
      {"[MED 1 2 ]", 1},      // 1.5, rounded down
      {"[MED 8 3 4 9 ]", 6},  // sorted 3 4 8 9: mean of 4 and 8
      {"[MED 9 9 0 9 0 0 ]", 4},
      {"[SM 9 8 7 ]", 4},
      {"[SM 5 5 ]", 0},
      {"[SM [SM 9 9 ] [MED 3 4 ] [MAX 0 [MIN 6 8 ] ] ]", 7},  // 8 + 3 + 6 = 17
      {"[MAX 3 ]", 3},
      {"( ( ( ( [MAX 2 ) 9 ) 4 ) ] )", 9},
      {" ([MAX 2  9\t[MIN 4 7]])", 9},
  };
  for (const auto& [text, value] : cases) {
    INFO(text);
    CHECK(listops_value(std::string_view(text)) == value);
  }
}

TEST_CASE("listops: a malformed expression is refused with its reason") {
  const auto message = [](const char* text) { return message_of([&] { listops_value(std::string_view(text)); }); };
  CHECK(message("") == "empty expression");
  CHECK(message(" ( ) ") == "empty expression");
  CHECK(message("[MAX 2 12 ]") == "unknown token '12', wanted a digit, [MIN, [MAX, [MED, [SM or ]");
  CHECK(message("[AVG 2 1 ]").substr(0, 20) == "unknown token '[AVG'");
  CHECK(message("MAX").substr(0, 19) == "unknown token 'MAX'");
  CHECK(message("[MAX2 9 ]").substr(0, 21) == "unknown token '[MAX2'");
  CHECK(message("\x01\xff").substr(0, 24) == "unknown token '\\x01\\xff'");
  CHECK(message("[MAX 2 [SM 1 ]") == "an operator without its ]");
  CHECK(message("[MAX 2 [SM 1 2") == "2 operators without its ]");
  CHECK(message("[MAX 2 9 ] 3") == "token 5 stands after the end of the expression");
  CHECK(message("1 2") == "token 2 stands after the end of the expression");
  CHECK(message("]") == "token 1 is a ] without an operator");
  CHECK(message("[MAX 1 [SM ] ]") == "token 3: [SM has no arguments");
  const uint8_t wrong[] = {15};
  CHECK(message_of([&] { listops_value(wrong); }) == "symbol 15, wanted 0 to 14");
  CHECK(message_of([&] { listops_value(std::span<const uint8_t>()); }) == "empty expression");
}

TEST_CASE("listops: symbols have their documented order and texts") {
  CHECK(parse_listops("[MIN [MAX [MED [SM 0 9 ] 1 ] 2 ] 3 ]") ==
        std::vector<uint8_t>{10, 11, 12, 13, 0, 9, 14, 1, 14, 2, 14, 3, 14});
  REQUIRE(listops_symbol_names().size() == size_t(kListopsSymbolCount));
  CHECK(listops_symbol_names()[listops_sm] == "[SM");
  CHECK(listops_symbol_names()[listops_close] == "]");
}

TEST_CASE("listops: the official rendering") {
  for (const char* text :
       {"7", "( ( ( ( [MAX 2 ) 9 ) 4 ) ] )", "( ( ( [SM ( ( ( [MIN 1 ) 2 ) ] ) ) ( ( ( ( [MED 3 ) 6 ) 5 ) ] ) ) ] )"})
    CHECK(listops_text(parse_listops(text)) == text);
}

TEST_CASE("listops: a deep expression needs no deep stack") {
  std::string text;
  for (int i = 0; i < 200000; ++i) text += "[MAX ";
  text += "4";
  for (int i = 0; i < 200000; ++i) text += " ]";
  CHECK(listops_value(std::string_view(text)) == 4);
}

namespace {
template <class T>
std::vector<T> copy(std::span<const T> s) {
  return {s.begin(), s.end()};
}

Dataset read(const std::string& text) {
  std::istringstream in(text);
  return read_listops(in, "a.tsv");
}
std::string refused(const std::string& text) {
  return message_of([&] { read(text); });
}
}  // namespace

TEST_CASE("listops reader: CR LF, LF and a missing last line end give the same") {
  for (const char* text :
       {"Source\tTarget\r\n( ( ( [MAX 2 ) 9 ) ] )\t9\r\n5\t5\r\n",
        "Source\tTarget\n( ( ( [MAX 2 ) 9 ) ] )\t9\n5\t5\n", "Source\tTarget\n[MAX 2 9 ]\t9\n5\t5"}) {
    const Dataset d = read(text);
    CHECK(copy(d.symbols()) == std::vector<uint8_t>{listops_max, 2, 9, listops_close, 5});
    CHECK(copy(d.offsets()) == std::vector<int64_t>{0, 4, 5});
    CHECK(copy(d.labels()) == std::vector<int32_t>{9, 5});
    CHECK(d.classes() == 10);
    CHECK(d.kind == &kind_named("listops"));
    CHECK(d.examples() == 2);
    CHECK(d.row(0).size() == 4);
    CHECK(d.row(1)[0] == 5);
  }
}

TEST_CASE("listops reader: every error has its file and line") {
  const std::string head = "Source\tTarget\r\n[MAX 2 9 ]\t9\r\n";
  CHECK(refused("") == "a.tsv: no examples, wanted a header and at least one line");
  CHECK(refused("Source\tTarget\r\n") == "a.tsv: no examples, wanted a header and at least one line");
  CHECK(refused("[MAX 2 9 ]\t9\n") == "a.tsv:1: header '[MAX 2 9 ]\\t9', wanted 'Source', a TAB and 'Target'");
  CHECK(refused(head + "\r\n5\t5\r\n") == "a.tsv:3: is empty, wanted an example");
  CHECK(refused(head + "   \n5\t5\n") == "a.tsv:3: empty line, wanted an expression, a TAB and a label");
  CHECK(refused(head + "5 5\n") == "a.tsv:3: 1 columns, wanted 2: an expression, a TAB and a label");
  CHECK(refused(head + "5\t5\t5\n") == "a.tsv:3: 3 columns, wanted 2: an expression, a TAB and a label");
  CHECK(refused(head + "\t5\n") == "a.tsv:3: empty expression");
  CHECK(refused(head + "5\t\n") == "a.tsv:3: label '', wanted a number from 0 to 9");
  CHECK(refused(head + "5\tx\n") == "a.tsv:3: label 'x', wanted a number from 0 to 9");
  CHECK(refused(head + "5\t-1\n") == "a.tsv:3: label '-1', wanted a number from 0 to 9");
  CHECK(refused(head + "5\t10\n") == "a.tsv:3: label 10 is out of range, wanted 0 to 9");
  CHECK(refused(head + "[MAX 2 X\t5\n") == "a.tsv:3: unknown token 'X', wanted a digit, [MIN, [MAX, [MED, [SM or ]");
  CHECK(refused(head + "[MAX 2 9\t9\n") == "a.tsv:3: an operator without its ]");
}

TEST_CASE("listops reader: files") {
  const Folder folder;
  const std::string path = folder.file("a.tsv");
  CHECK(message_of([&] { read_listops(path); }) == path + ": cannot be opened: No such file or directory");
  CHECK(message_of([&] { read_listops(folder.path.string()); }) ==
        folder.path.string() + ": is a folder, wanted a TSV file");
  write_text(path, "Source\tTarget\r\n7\t7\r\n");
  CHECK(copy(read_listops(path).labels()) == std::vector<int32_t>{7});
  CHECK(listops_path("d", "train") == "d/basic_train.tsv");
  CHECK(listops_path("d", "valid") == "d/basic_val.tsv");
  CHECK(listops_path("d", "test") == "d/basic_test.tsv");
  CHECK(message_of([] { listops_path("d", "dev"); }) == "split 'dev', wanted train, valid or test");
}

// NYU's test set (Nangia and Bowman 2018): ANSWER TAB EXPRESSION a line, depth 20, no header.
TEST_CASE("listops: the answers of 10,000 published expressions", "[.real]") {
  const std::string folder = real_data("listops_d20s");
  if (folder.empty()) return;
  std::ifstream in(folder + "/test_d20s.tsv");
  int64_t lines = 0, right = 0;
  for (std::string line; std::getline(in, line); ++lines) {
    const std::vector<uint8_t> symbols = parse_listops(std::string_view(line).substr(2));
    right += line[1] == '\t' && listops_value(symbols) == line[0] - '0';
    REQUIRE(parse_listops(listops_text(symbols)) == symbols);
  }
  CHECK(lines == 10'000);
  CHECK(right == lines);
}

}  // namespace selene::testing
