// The reader of IMDb reviews, and the Text task's prepared data.
#include "data/lra/imdb.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "data/io/xxhash64.h"
#include "data/lra/prepare.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/real_data.h"

namespace selene::testing {
namespace {

using namespace data;
namespace fs = std::filesystem;

/// A review below aclImdb: "train/neg/0_3.txt".
void put(const Folder& folder, const std::string& name, const std::string& text) {
  fs::create_directories((folder.path / name).parent_path());
  write_text(folder.file(name), text);
}

/// 20 training and 6 test reviews, each with a text of its own.
void put_small(const Folder& folder) {
  for (int i = 0; i < 10; ++i) {
    put(folder, fmt::format("train/neg/{}_1.txt", i), fmt::format("bad {}", i));
    put(folder, fmt::format("train/pos/{}_10.txt", i), fmt::format("good {}", i));
  }
  for (int i = 0; i < 3; ++i) {
    put(folder, fmt::format("test/neg/{}_4.txt", i), fmt::format("worse {}", i));
    put(folder, fmt::format("test/pos/{}_7.txt", i), fmt::format("better {}", i));
  }
}

std::vector<std::string> texts(const Dataset& d) {
  std::vector<std::string> all;
  for (int64_t i = 0; i < d.examples(); ++i) all.push_back(text_of(d.row(i)));
  return all;
}

std::string refused(const std::string& file, const std::string& text = "x") {
  const Folder folder;
  put_small(folder);
  put(folder, file, text);
  const std::string message = message_of([&] { read_imdb(folder.path.string(), "train"); });
  return message.starts_with(folder.path.string() + "/") ? message.substr(folder.path.string().size() + 1) : message;
}

}  // namespace

TEST_CASE("imdb: neg before pos, by number, stripped of white space, bytes as they are") {
  const Folder folder;
  put(folder, "train/pos/2_9.txt", "two\xff\x80<br />");
  put(folder, "train/pos/10_7.txt", "ten");
  put(folder, "train/neg/100_4.txt", " \t\r\n\v\fin  side \n");
  put(folder, "train/neg/9_1.txt", std::string("\0z", 2));
  put(folder, "train/unsup/0_0.txt", "not labelled");
  put(folder, "train/urls_neg.txt", "http");
  const Imdb imdb = read_imdb(folder.path.string(), "train");
  CHECK(texts(imdb.reviews) ==
        std::vector<std::string>{std::string("\0z", 2), "in  side", "two\xff\x80<br />", "ten"});
  CHECK(std::ranges::equal(imdb.reviews.labels(), std::array{0, 0, 1, 1}));
  CHECK(imdb.skipped == 0);
  CHECK(imdb.reviews.kind->name == "text");
  CHECK(imdb.reviews.name == folder.file("train"));
}

TEST_CASE("imdb: a long review is read whole") {
  const Folder folder;
  put_small(folder);
  std::string text(300'000, 'a');
  for (size_t i = 0; i < text.size(); ++i) text[i] = char('a' + i % 23);
  put(folder, "train/neg/10_1.txt", text);
  CHECK(text_of(read_imdb(folder.path.string(), "train").reviews.row(10)) == text);
}

TEST_CASE("imdb: reviews without text are skipped and counted") {
  const Folder folder;
  put_small(folder);
  put(folder, "train/neg/5_1.txt", "");
  put(folder, "train/pos/5_10.txt", " \n");
  const Imdb imdb = read_imdb(folder.path.string(), "train");
  CHECK(imdb.skipped == 2);
  CHECK(imdb.reviews.examples() == 18);
  CHECK(text_set(imdb.reviews).count("good 5") == 0);
}

TEST_CASE("imdb: a name of another form and a rating of the other side are refused") {
  for (const char* name : {"notes.txt", "1.txt", "_1.txt", "1_.txt", "1_1.text", "1_1.txt~", "x1_1.txt", "1_1_1.txt",
                           "-1_1.txt", "1234567890_1.txt", ".hidden"})
    CHECK(refused(fmt::format("train/neg/{}", name)) ==
          fmt::format("train/neg/{}: is no review: wanted a name ID_RATING.txt", name));
  CHECK(refused("train/neg/77_7.txt") == "train/neg/77_7.txt: rating 7 in neg, wanted 1 to 4");
  CHECK(refused("train/neg/77_0.txt") == "train/neg/77_0.txt: rating 0 in neg, wanted 1 to 4");
  CHECK(refused("train/pos/77_4.txt") == "train/pos/77_4.txt: rating 4 in pos, wanted 7 to 10");
  CHECK(refused("train/pos/77_11.txt") == "train/pos/77_11.txt: rating 11 in pos, wanted 7 to 10");
  CHECK(refused("train/pos/77_7.txt").empty());
  for (const char* name : {".DS_Store", "._77_7.txt", "Thumbs.db", "desktop.ini", "@eaDir", ".ipynb_checkpoints"}) {
    CAPTURE(name);
    CHECK(refused(fmt::format("train/pos/{}", name)).empty());
  }
}

TEST_CASE("imdb: missing and empty folders are named") {
  const Folder folder;
  const auto message = [&](const char* part) { return message_of([&] { read_imdb(folder.path.string(), part); }); };
  CHECK(message("unsup") == "part 'unsup', wanted train or test");
  CHECK(message("test") == folder.file("test/neg") +
                               ": cannot be read: No such file or directory; wanted a folder of reviews, as "
                               "aclImdb has it");
  fs::create_directories(folder.path / "test/neg");
  CHECK(message("test") == folder.file("test/neg") + ": is empty, wanted reviews ID_RATING.txt");
  fs::create_directories(folder.path / "test/neg/0_1.txt");
  fs::create_directories(folder.path / "test/pos/0_9.txt");
  CHECK(message("test") == folder.file("test/neg/0_1.txt") + ": is no file, wanted a review");
}

TEST_CASE("text: the test set validates, as in the Long Range Arena, or reviews are held out") {
  const Folder folder;
  put_small(folder);
  const Kind& kind = kind_named("text");
  TextPlan plan{.folder = folder.file("a"), .from = folder.path.string()};
  REQUIRE(prepare_text(plan) == Prepared::made);
  REQUIRE(prepare_text(plan) == Prepared::already_there);
  const Dataset train = read_split(plan.folder, kind, "train"), valid = read_split(plan.folder, kind, "valid"),
                test = read_split(plan.folder, kind, "test");
  CHECK(text_set(train) == text_set(read_imdb(plan.from, "train").reviews));
  CHECK(texts(train) != texts(read_imdb(plan.from, "train").reviews));  // in a random order
  CHECK(text_set(test) == text_set(read_imdb(plan.from, "test").reviews));
  CHECK(texts(valid) == texts(test));
  for (int64_t i = 0; i < train.examples(); ++i) CHECK(train.labels()[size_t(i)] == (train.row(i)[0] == 'g'));

  TextPlan held = plan;
  held.folder = folder.file("b"), held.held_out = 4;
  REQUIRE(prepare_text(held) == Prepared::made);
  const Dataset train4 = read_split(held.folder, kind, "train"), valid4 = read_split(held.folder, kind, "valid");
  CHECK(train4.examples() == 16);
  CHECK(valid4.examples() == 4);
  CHECK(texts(train4) == texts(train.first(16)));  // the same order
  auto both = text_set(train4);
  both.merge(text_set(valid4));
  CHECK(both == text_set(train));
  CHECK(texts(read_split(held.folder, kind, "test")) == texts(test));

  held.held_out = 20, held.folder = folder.file("c");
  CHECK(message_of([&] { prepare_text(held); }) ==
        "text: 20 training reviews are to be held out, wanted less than the 20 there are");
  CHECK(!fs::exists(held.folder));
  held.held_out = -1;
  CHECK(message_of([&] { prepare_text(held); }) == "text: -1 training reviews are to be held out, wanted 0 or more");
  held.held_out = 0, held.caps.valid = -3;
  CHECK(message_of([&] { prepare_text(held); }) == "text: valid is -3 examples, wanted 0 (all) or more");
  held.from = "";
  CHECK(message_of([&] { prepare_text(held); }) == "text: no folder to read from");
}

TEST_CASE("text: caps keep the first examples; dataset.json tells counts, lengths and what was skipped") {
  const Folder folder;
  put_small(folder);
  put(folder, "test/neg/7_1.txt", "\n");
  const Kind& kind = kind_named("text");
  const TextPlan all{.folder = folder.file("all"), .from = folder.path.string() + "/"};
  const TextPlan few{.folder = folder.file("few"), .from = all.from, .caps = {7, 2, 0}};
  const TextPlan other{.folder = folder.file("other"), .from = all.from, .seed = 2};
  for (const TextPlan& plan : {all, few, other}) REQUIRE(prepare_text(plan) == Prepared::made);
  const auto split = [&](const TextPlan& plan, const char* name) { return read_split(plan.folder, kind, name); };
  CHECK(texts(split(few, "train")) == texts(split(all, "train").first(7)));
  CHECK(texts(split(few, "valid")) == texts(split(all, "valid").first(2)));
  CHECK(texts(split(few, "test")) == texts(split(all, "test")));
  CHECK(texts(split(other, "train")) != texts(split(all, "train")));

  const auto facts = nlohmann::json::parse(read_text(all.folder + "/dataset.json"));
  CHECK(facts["skipped_empty_files"] == 1);
  CHECK(facts["options"]["validation"] == "the test set");
  CHECK(facts["options"]["from"] == folder.path.string());
  CHECK(facts["splits"]["train"]["examples"] == 20);
  CHECK(facts["splits"]["train"]["classes"] == nlohmann::json{{"negative", 10}, {"positive", 10}});
  CHECK(facts["splits"]["test"]["length"] == nlohmann::json{{"min", 7}, {"median", 7}, {"95 %", 8}, {"max", 8}});
  TextPlan more = few;
  more.folder = folder.file("more"), more.caps.test = 7;
  CHECK(holds(message_of([&] { prepare_text(more); }), "7 examples are wanted for test, there are 6; 0 takes all"));
  CHECK(!fs::exists(more.folder));
  TextPlan changed = few;
  changed.caps.train = 8;
  CHECK(holds(message_of([&] { prepare_text(changed); }), "made with other options"));
}

TEST_CASE("text: what the watch throws ends the job, and nothing is kept") {
  const Folder folder;
  put_small(folder);
  const TextPlan plan{.folder = folder.file("out"), .from = folder.path.string()};
  int64_t calls = 0;
  const auto stop = [&](int64_t done, int64_t, const std::string& note) {
    if (++calls == 3) throw Error(fmt::format("stopped at {} {}", done, note));
  };
  CHECK(message_of([&] { prepare_text(plan, stop); }) == "stopped at 20 reviews of test");
  CHECK(!fs::exists(plan.folder));
  for (const auto& entry : fs::directory_iterator(folder.path)) CHECK(entry.path().stem() != "out");
}

// Lengths, XXH64 and first bytes were taken from the files with Python (xxhash).
TEST_CASE("imdb: byte ids of ten known reviews; the real data is prepared in 20 s", "[.real]") {
  const std::string from = real_data("aclImdb");
  if (from.empty()) return;
  struct Known {
    const char* name;
    size_t length;  // bytes
    uint64_t hash;
    const char* start;
  };
  const Known known[] = {
      {"train/neg/0_3", 655, 0x7cff9d6f5f104159, "Story of a man w"},
      {"train/neg/639_3", 1050, 0x13ef92e3e8785788, "The clich\xc3\xa9 of t"},
      {"train/neg/10962_3", 52, 0x34d1b77de156716c, "This movie is te"},
      {"train/pos/0_9", 806, 0x2c830efd4eceaeb7, "Bromwell High is"},
      {"train/pos/326_10", 1660, 0xf93bfcce978d326e, "\"Jag \xc3\xa4r nyfiken"},
      {"train/pos/1175_9", 13704, 0xb7b03c184499a649, "Match 1: Tag Tea"},
      {"test/neg/134_1", 698, 0x5f92a819692565fe, "Fran\xc3\xa7ois Traffa"},
      {"test/neg/6850_2", 32, 0x37642a16d7997c04, "Read the book, f"},
      {"test/pos/0_10", 794, 0xf62c4981b9b4a0af, "I went and saw t"},
      {"test/pos/8647_10", 12988, 0x8ae0e342388923c1, "There's a sign o"},
  };
  const Dataset train = read_imdb(from, "train").reviews, test = read_imdb(from, "test").reviews;
  CHECK(train.symbols().size() == 33'132'823);
  CHECK(test.symbols().size() == 32'350'685);
  for (const Known& k : known) {
    INFO(k.name);
    const std::string name = k.name;
    const Dataset& data = name.starts_with("train") ? train : test;
    const int64_t id = std::stoll(name.substr(name.rfind('/') + 1));  // 0 to 12,499 on both sides
    const bool positive = holds(name, "/pos/");
    const auto row = data.row(id + (positive ? 12'500 : 0));
    CHECK(data.labels()[size_t(id + (positive ? 12'500 : 0))] == int32_t(positive));
    CHECK(row.size() == k.length);
    XxHash64 hash;
    hash.update(row.data(), row.size());
    CHECK(hash.digest() == k.hash);
    CHECK(text_of(row.first(16)) == k.start);
  }
  const Folder folder;
  const TextPlan plan{.folder = folder.file("text"), .from = from};
  check_time("IMDb", [&] { CHECK(prepare_text(plan) == Prepared::made); });
}

}  // namespace selene::testing
