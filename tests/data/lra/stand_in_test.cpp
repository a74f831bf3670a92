// Stand-ins: the readers of the real data take them, their classes can be told apart, and a seed decides every
// byte.
#include "data/lra/stand_in.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/lra/aan.h"
#include "data/lra/cifar10.h"
#include "data/lra/imdb.h"
#include "data/lra/prepare.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;
namespace fs = std::filesystem;

/// Every file but the two that tell the seed.
std::map<std::string, std::string> contents(const std::string& folder) {
  auto files = files_of(folder);
  files.erase("dataset.json"), files.erase("STAND-IN.txt");
  return files;
}

std::set<std::string> words(const std::string& text) {
  std::set<std::string> found;
  std::string word;
  for (char c : text + " ") {
    if (c >= 'a' && c <= 'z') {
      word += c;
    } else {
      if (word.size() > 1) found.insert(word);
      word.clear();
    }
  }
  return found;
}

}  // namespace

TEST_CASE("stand-in: a seed decides every byte, and a file says what it is") {
  const Folder folder;
  for (const auto& make : {make_stand_in_imdb, make_stand_in_cifar10, make_stand_in_aan}) {
    StandInPlan plan{.folder = folder.file("a"), .train = 20, .valid = 4, .test = 6};
    REQUIRE(make(plan, {}) == Prepared::made);
    REQUIRE(make(plan, {}) == Prepared::already_there);
    const auto a = contents(plan.folder);
    CHECK(read_text(plan.folder + "/STAND-IN.txt").starts_with("Synthetic data in the layout of "));
    plan.folder = folder.file("b");
    make(plan, {});
    CHECK(contents(plan.folder) == a);
    plan.seed = 2;
    CHECK(holds(message_of([&] { make(plan, {}); }), "made with other options"));
    plan.force = true;
    CHECK(make(plan, {}) == Prepared::made);
    CHECK(contents(plan.folder) != a);
    plan.test = 1;
    CHECK(message_of([&] { make(plan, {}); }) == "stand-in: test is 1 examples, wanted 2 to 1000000");
    const auto stop = [](int64_t done, int64_t, const std::string&) {
      throw Error(fmt::format("stopped at {}", done));
    };
    plan.test = 6, plan.folder = folder.file("c");
    CHECK(message_of([&] { make(plan, stop); }) == "stopped at 0");
    CHECK(!fs::exists(plan.folder));
    fs::remove_all(folder.file("a"));
    fs::remove_all(folder.file("b"));
  }
}

TEST_CASE("stand-in: reviews have the lengths of real ones, and judging words follow the class") {
  const Folder folder;
  REQUIRE(make_stand_in_imdb({.folder = folder.file("aclImdb"), .train = 600, .test = 10}) == Prepared::made);
  const Dataset train = read_imdb(folder.file("aclImdb"), "train").reviews;
  CHECK(train.examples() == 600);
  CHECK(std::ranges::count(train.labels(), 1) == 300);
  CHECK(read_imdb(folder.file("aclImdb"), "test").reviews.examples() == 10);
  std::vector<size_t> lengths;
  int64_t right = 0, other = 0;
  for (int64_t i = 0; i < 600; ++i) {
    lengths.push_back(train.row(i).size());
    const auto found = words(text_of(train.row(i)));
    int64_t good = 0;
    for (const char* w : {"great", "wonderful", "excellent", "best", "good", "fun"}) good += int64_t(found.count(w));
    for (const char* w : {"awful", "boring", "terrible", "worst", "bad", "lame"}) good -= int64_t(found.count(w));
    right += good != 0 && (good > 0) == (train.labels()[size_t(i)] == 1), other += good == 0;
  }
  std::ranges::sort(lengths);
  CHECK(lengths[300] > 800);  // the real median is 979
  CHECK(lengths[300] < 1200);
  CHECK(lengths.back() > 3500);
  CHECK(lengths.back() < 5050);
  CHECK(double(right) > 0.85 * double(600 - other));
  CHECK(other < 120);
}

// The nearest of the ten mean images, from the training part, must be right far more often than by chance.
TEST_CASE("stand-in: images of a class resemble each other") {
  const Folder folder;
  REQUIRE(make_stand_in_cifar10({.folder = folder.file("c"), .train = 996, .test = 200}) == Prepared::made);
  const Dataset train = read_cifar10(folder.file("c"), "train"), test = read_cifar10(folder.file("c"), "test");
  CHECK(train.examples() == 1000);  // five files of 200
  REQUIRE(test.examples() == 200);
  std::vector<double> means(10 * 1024, 0), counts(10, 0);
  for (int64_t i = 0; i < train.examples(); ++i) {
    const size_t c = size_t(train.labels()[size_t(i)]);
    counts[c] += 1;
    for (size_t p = 0; p < 1024; ++p) means[c * 1024 + p] += train.row(i)[p];
  }
  int64_t right = 0;
  for (int64_t i = 0; i < test.examples(); ++i) {
    std::vector<double> distance(10, 0);
    for (size_t c = 0; c < 10; ++c)
      for (size_t p = 0; p < 1024; ++p) {
        const double d = test.row(i)[p] - means[c * 1024 + p] / counts[c];
        distance[c] += d * d;
      }
    right += std::ranges::min_element(distance) - distance.begin() == test.labels()[size_t(i)];
  }
  INFO(right << " of 200");
  CHECK(right > 80);
  CHECK(*std::ranges::min_element(counts) > 60);
}

TEST_CASE("stand-in: related texts share rare words, and look as Python prints bytes") {
  const Folder folder;
  REQUIRE(make_stand_in_aan({.folder = folder.file("tsv"), .train = 200, .valid = 30, .test = 40}) == Prepared::made);
  const Dataset train = read_aan(aan_path(folder.file("tsv"), "train"), 10'000);
  CHECK(train.examples() == 200);
  CHECK(std::ranges::count(train.labels(), 1) == 100);
  CHECK(read_aan(aan_path(folder.file("tsv"), "valid")).examples() == 30);
  CHECK(read_aan(aan_path(folder.file("tsv"), "test")).examples() == 40);
  std::map<std::string, int64_t> frequency;  // texts with the word
  std::string all;
  for (int64_t i = 0; i < 200; ++i)
    for (int32_t t = 0; t < 2; ++t) {
      const std::string text = text_of(train.row(i, t));
      CHECK(((text.starts_with("b'") && text.ends_with("'")) || (text.starts_with("b\"") && text.ends_with("\""))));
      CHECK(std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; }));
      CHECK(text.size() <= 6000);
      for (const std::string& w : words(text)) ++frequency[w];
      all += text;
    }
  CHECK(holds(all, "\\n"));
  CHECK(holds(all, "\\xe2\\x80\\x93"));
  CHECK(holds(all, "b\""));
  double shared[2] = {0, 0};  // rare words of both texts of a pair
  for (int64_t i = 0; i < 200; ++i) {
    const auto one = words(text_of(train.row(i, 0))), two = words(text_of(train.row(i, 1)));
    for (const std::string& w : one) shared[train.labels()[size_t(i)]] += frequency[w] < 60 && two.count(w) > 0;
  }
  INFO(shared[0] << " and " << shared[1]);
  CHECK(shared[1] > 5 * shared[0]);
}

TEST_CASE("stand-in: all three can be prepared") {
  const Folder folder;
  const auto at = [&](const char* name) { return folder.file(name); };
  make_stand_in_imdb({.folder = at("imdb"), .train = 20, .test = 10});
  make_stand_in_cifar10({.folder = at("cifar"), .train = 20, .test = 10});
  make_stand_in_aan({.folder = at("aan"), .train = 20, .valid = 10, .test = 10});
  CHECK(prepare_text({.folder = at("text"), .from = at("imdb"), .held_out = 5}) == Prepared::made);
  CHECK(prepare_image({.folder = at("image"), .from = at("cifar")}) == Prepared::made);
  CHECK(prepare_retrieval({.folder = at("retrieval"), .from = at("aan")}) == Prepared::made);
  for (const char* kind : {"text", "image", "retrieval"})
    for (const char* split : {"train", "valid", "test"})
      CHECK(read_split(at(kind), kind_named(kind), split).examples() > 0);
}

}  // namespace selene::testing
