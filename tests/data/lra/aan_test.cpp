// The reader of AAN pairs, and the Retrieval task's prepared data.
#include "data/lra/aan.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "data/lra/prepare.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;
namespace fs = std::filesystem;

Dataset read(const std::string& text, int64_t max_bytes = kAanMaxBytes) {
  std::istringstream in(text);
  return read_aan(in, "a.tsv", max_bytes);
}
std::string refused(const std::string& text) {
  return message_of([&] { read(text); });
}

/// Pairs "LETTER number" with the texts "LETTERnumber first" and "... second".
std::string pairs(char letter, int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += fmt::format("{}.0\tP1\tP2\tb'{}{} first'\tb'{}{} second'\n", i % 2, letter, i, letter, i);
  return text;
}

}  // namespace

TEST_CASE("aan: two towers, texts as they stand, LF, CR LF and a missing last line end") {
  const std::string first = "0.0\tA1\tB 2\tb'one\\n\"two\" \\xc3\\xa9'\tb\"it's\"";
  for (const std::string& text : {first + "\n1.0\tx\ty\t\x80\xff\tz\n", first + "\r\n1.0\tx\ty\t\x80\xff\tz\r\n",
                                  first + "\n1\tx\ty\t\x80\xff\tz", first + "\n1.0\t\t\t\x80\xff\tz"}) {
    const Dataset d = read(text);
    REQUIRE(d.examples() == 2);
    CHECK(d.kind->name == "retrieval");
    CHECK(d.towers() == 2);
    CHECK(text_of(d.row(0, 0)) == "b'one\\n\"two\" \\xc3\\xa9'");
    CHECK(text_of(d.row(0, 1)) == "b\"it's\"");
    CHECK(text_of(d.row(1, 0)) == "\x80\xff");
    CHECK(text_of(d.row(1, 1)) == "z");
    CHECK(d.labels()[0] == 0);
    CHECK(d.labels()[1] == 1);
  }
  const std::string zero("0.0\ta\tb\tx\0y\tz\n", 14);
  CHECK(text_of(read(zero).row(0, 0)) == std::string("x\0y", 3));
}

TEST_CASE("aan: only the first bytes of a text are kept") {
  const std::string text = "1.0\ta\tb\t" + std::string(3'000'000, 'x') + "\t" + std::string(4000, 'y') + "\n";
  CHECK(read(text).row(0, 0).size() == 4000);
  CHECK(read(text).row(0, 1).size() == 4000);
  CHECK(text_of(read("0.0\ta\tb\tabcdef\tghi\n", 4).row(0, 0)) == "abcd");
  CHECK(text_of(read("0.0\ta\tb\tabcdef\tghi\n", 4).row(0, 1)) == "ghi");
  CHECK(message_of([] { read("", 0); }) == "a.tsv: keep 0 bytes of a text, wanted at least 1");
}

TEST_CASE("aan: every error has its file and line") {
  const std::string good = "0.0\ta\tb\tx\ty\n", wanted = ", wanted 5: label, id1, id2, text1, text2";
  CHECK(refused("") == "a.tsv: no examples, wanted at least one line");
  CHECK(refused(good + "\n" + good) == "a.tsv:2: is empty, wanted an example");
  CHECK(refused(good + "0.0\ta\tb\tx\n") == "a.tsv:2: 4 columns" + wanted);
  CHECK(refused(good + good + "0.0\ta\tb\tx\ty\tz\tw\n") == "a.tsv:3: 7 columns" + wanted);
  CHECK(refused(good + "2.0\ta\tb\tx\ty\n") == "a.tsv:2: label '2.0', wanted 0.0 or 1.0");
  CHECK(refused("label\tid1\tid2\ttext1\ttext2\n") == "a.tsv:1: label 'label', wanted 0.0 or 1.0");
  CHECK(refused("\x01\xff\ta\tb\tx\ty\n") == "a.tsv:1: label '\\x01\\xff', wanted 0.0 or 1.0");
  CHECK(refused("\ta\tb\tx\ty\n") == "a.tsv:1: label '', wanted 0.0 or 1.0");
  CHECK(refused(good + "1.0\ta\tb\t\ty\n") == "a.tsv:2: text1 is empty");
  CHECK(refused(good + "1.0\ta\tb\tx\t\n") == "a.tsv:2: text2 is empty");
  CHECK(refused(good + "1.0\ta\tb\tx\t\r\n") == "a.tsv:2: text2 is empty");
}

TEST_CASE("aan: files") {
  const Folder folder;
  CHECK(aan_path("d", "train") == "d/new_aan_pairs.train.tsv");
  CHECK(aan_path("d", "valid") == "d/new_aan_pairs.eval.tsv");
  CHECK(aan_path("d", "test") == "d/new_aan_pairs.test.tsv");
  CHECK(message_of([] { aan_path("d", "eval"); }) == "split 'eval', wanted train, valid or test");
  const std::string path = folder.file("a.tsv");
  CHECK(message_of([&] { read_aan(path); }) == path + ": cannot be opened: No such file or directory");
  CHECK(message_of([&] { read_aan(folder.path.string()); }) ==
        folder.path.string() + ": is a folder, wanted a TSV file");
  write_text(path, pairs('t', 300));
  std::string notes;
  const Dataset d = read_aan(path, 4000, [&](int64_t, int64_t, const std::string& note) { notes += note + ";"; });
  CHECK(d.examples() == 300);
  CHECK(d.name == path);
  CHECK(notes == "0 pairs;256 pairs;300 pairs;");
}

TEST_CASE("retrieval: three files become three splits in a seeded order") {
  const Folder folder;
  const Kind& kind = kind_named("retrieval");
  for (const auto& [split, letter, count] :
       {std::tuple{"train", 't', 20}, std::tuple{"valid", 'v', 6}, std::tuple{"test", 's', 8}})
    write_text(aan_path(folder.path.string(), split), pairs(letter, count));
  const RetrievalPlan all{.folder = folder.file("all"), .from = folder.path.string()};
  RetrievalPlan few = all;
  few.folder = folder.file("few"), few.max_bytes = 5, few.caps = {11, 3, 0};
  int64_t calls = 0;
  const auto stop = [&](int64_t, int64_t, const std::string& note) {
    if (++calls == 3) throw Error("stopped at " + note);
  };
  CHECK(message_of([&] { prepare_retrieval(all, stop); }) == "stopped at 0 pairs");  // of the third file
  CHECK(!fs::exists(all.folder));
  REQUIRE(prepare_retrieval(all) == Prepared::made);
  REQUIRE(prepare_retrieval(few) == Prepared::made);
  CHECK(prepare_retrieval(all) == Prepared::already_there);
  const Dataset train = read_split(all.folder, kind, "train"), cut = read_split(few.folder, kind, "train");
  REQUIRE(train.examples() == 20);
  REQUIRE(cut.examples() == 11);
  std::set<std::string> seen;
  for (int64_t i = 0; i < 20; ++i) {
    const std::string one = text_of(train.row(i, 0)), two = text_of(train.row(i, 1));
    const size_t end = one.find(' ');
    CHECK(one.substr(0, end) == two.substr(0, end));  // the pair stays together
    CHECK(one.substr(end) == " first'");
    CHECK(two.substr(end) == " second'");
    CHECK(train.labels()[size_t(i)] == std::stoi(one.substr(3)) % 2);
    seen.insert(one);
    if (i < 11) CHECK(text_of(cut.row(i, 1)) == two.substr(0, 5));
  }
  CHECK(seen.size() == 20);
  CHECK(text_of(train.row(0, 0)) + text_of(train.row(1, 0)) != "b't0 first'b't1 first'");
  CHECK(read_split(few.folder, kind, "valid").examples() == 3);
  CHECK(read_split(few.folder, kind, "test").examples() == 8);
  CHECK(read_split(all.folder, kind, "test").row(0, 0)[2] == 's');
  const auto facts = nlohmann::json::parse(read_text(all.folder + "/dataset.json"));
  CHECK(facts["options"]["max_bytes"] == 4000);
  CHECK(facts["splits"]["valid"]["classes"] == nlohmann::json{{"unrelated", 3}, {"related", 3}});
  CHECK(facts["splits"]["valid"]["length"] == nlohmann::json{{"min", 11}, {"median", 11}, {"95 %", 12}, {"max", 12}});
  few.max_bytes = 0;
  CHECK(message_of([&] { prepare_retrieval(few); }) == "retrieval: keep 0 bytes of a text, wanted at least 1");
}

}  // namespace selene::testing
