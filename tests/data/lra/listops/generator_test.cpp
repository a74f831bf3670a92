// The generator: its distribution, its independence of threads, and the folder that selene-prepare makes.
#include "data/lra/listops/generator.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "data/lra/listops/listops.h"
#include "data/lra/listops/prepare.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;
namespace fs = std::filesystem;

std::vector<ListopsTree> generate(const ListopsOptions& options, int64_t count, int threads,
                                  ListopsProgress* progress = nullptr) {
  std::vector<ListopsTree> trees;
  const auto done = generate_listops(options, count, threads, [&](const ListopsTree& t) { trees.push_back(t); });
  if (progress) *progress = done;
  return trees;
}

const ListopsOptions kSmall{.min_length = 9, .max_length = 64, .max_depth = 10, .max_args = 10, .seed = 5};

struct Counts {
  std::vector<double> lengths;
  std::array<double, 10> labels{};
  double operators = 0, closes = 0, tokens = 0;
};

Counts count(const std::vector<ListopsTree>& trees) {
  Counts c;
  for (const ListopsTree& t : trees) {
    c.lengths.push_back(double(t.symbols.size()));
    c.tokens += double(t.symbols.size());
    ++c.labels[t.value];
    for (uint8_t s : t.symbols) c.operators += s >= listops_min && s <= listops_sm, c.closes += s == listops_close;
  }
  std::sort(c.lengths.begin(), c.lengths.end());
  return c;
}

int depth_of(const ListopsTree& t) {
  int depth = 1, deepest = 1;
  for (uint8_t s : t.symbols) {
    if (s >= listops_min && s <= listops_sm) deepest = std::max(deepest, ++depth);
    if (s == listops_close) --depth;
  }
  return deepest;
}

}  // namespace

// Reference: the generator of the Long Range Arena, 20,000 accepted trees (mean 1035; quantiles and shares below).
// The tolerances are 4 standard errors of n trees, plus those of the reference and its rounding.
TEST_CASE("listops generator: statistics of the published sampling rule") {
  const int n = 4000;
  ListopsProgress progress;
  const auto trees = generate({}, n, 2, &progress);
  const Counts c = count(trees);
  const auto error = [&](double p) { return 4 * std::sqrt(p * (1 - p) * (1.0 / n + 1.0 / 20000)) + 0.0005; };
  const double rate = double(progress.accepted) / double(progress.draws);
  CHECK(!(std::abs(rate - 0.082) > 4 * std::sqrt(0.082 * 0.918 / double(progress.draws)) + 0.003));
  CHECK(!(std::abs(c.tokens / n - 1035) > 4 * 400 / std::sqrt(double(n))));
  const std::pair<double, double> quantiles[] = {{.05, 539}, {.25, 701}, {.5, 953}, {.75, 1309}, {.95, 1804}};
  for (const auto& [share, length] : quantiles) {
    const auto below = std::lower_bound(c.lengths.begin(), c.lengths.end(), length) - c.lengths.begin();
    INFO("quantile " << share << ": " << double(below) / n);
    CHECK(!(std::abs(double(below) / n - share) > error(share)));
  }
  CHECK(!(std::abs(c.operators / c.tokens - 0.142) > 0.002));
  CHECK(c.operators == c.closes);
  const double labels[] = {.168, .093, .073, .082, .089, .088, .077, .075, .085, .170};
  for (int i = 0; i < 10; ++i) {
    INFO("label " << i << ": " << c.labels[size_t(i)] / n);
    CHECK(!(std::abs(c.labels[size_t(i)] / n - labels[i]) > error(labels[i])));
  }
  const auto deep = std::count_if(trees.begin(), trees.end(), [](const auto& t) { return depth_of(t) == 10; });
  CHECK(deep > n * 99 / 100);
  CHECK(c.lengths.front() >= 501);
  CHECK(c.lengths.back() <= 1999);
  CHECK(std::all_of(trees.begin(), trees.end(), [](const auto& t) { return depth_of(t) <= 10; }));
}

TEST_CASE("listops generator: labels are the values, trees obey the options and differ") {
  const ListopsOptions options{.min_length = 4, .max_length = 30, .max_depth = 3, .max_args = 5, .seed = 9};
  std::set<std::string> seen;
  for (const ListopsTree& t : generate(options, 3000, 1)) {
    CHECK(listops_value(t.symbols) == t.value);
    CHECK((t.symbols.size() >= 4 && t.symbols.size() <= 30));
    CHECK(depth_of(t) <= 3);
    CHECK(seen.insert(listops_text(t.symbols)).second);
  }
}

TEST_CASE("listops generator: both bounds of the length are inclusive") {
  std::set<size_t> lengths;
  for (const ListopsTree& t : generate({.min_length = 10, .max_length = 12}, 300, 1))
    lengths.insert(t.symbols.size());
  CHECK(lengths == std::set<size_t>{10, 11, 12});
  CHECK(generate({.min_length = 1, .max_length = 1}, 10, 1).size() == 10);
}

TEST_CASE("listops generator: a draw is a function of seed and number, never changed by later versions") {
  const auto first = [](uint64_t seed) {
    ListopsOptions options = kSmall;
    options.seed = seed;
    for (uint64_t i = 0;; ++i)
      if (const auto tree = draw_listops(options, i)) return std::to_string(i) + " " + listops_text(tree->symbols);
  };
  CHECK(first(5) ==
        "11 ( ( ( ( ( ( [MAX 9 ) 1 ) 7 ) 7 ) ( ( ( ( ( ( [SM 6 ) 5 ) 6 ) ( ( ( ( ( ( [MIN 6 ) 8 ) 1 ) 0 ) ( ( ( ( "
        "[MIN 2 ) 5 ) 4 ) ] ) ) ] ) ) ( ( ( ( ( ( ( ( [MAX 9 ) 0 ) 9 ) 0 ) ( ( ( [MAX 3 ) 3 ) ] ) ) 9 ) 1 ) ] ) ) ] "
        ") ) ] )");
  CHECK(first(6) ==
        "12 ( ( ( ( ( ( ( [SM ( ( ( ( ( ( ( ( [MAX 4 ) 5 ) 1 ) 2 ) 9 ) 7 ) 8 ) ] ) ) 4 ) 5 ) 3 ) 6 ) 5 ) ] )");
}

TEST_CASE("listops generator: the same for any number of threads, and a prefix of a longer run") {
  ListopsProgress one, three;
  const auto a = generate(kSmall, 2000, 1, &one), b = generate(kSmall, 2000, 3, &three), c = generate(kSmall, 700, 2);
  REQUIRE(b.size() == a.size());
  for (size_t i = 0; i < a.size(); ++i) REQUIRE((a[i].symbols == b[i].symbols && a[i].value == b[i].value));
  for (size_t i = 0; i < c.size(); ++i) REQUIRE(a[i].symbols == c[i].symbols);
  CHECK(one.draws == three.draws);
  CHECK(one.accepted == three.accepted);
  ListopsOptions other = kSmall;
  other.seed = 6;
  CHECK(generate(other, 1, 1)[0].symbols != a[0].symbols);
}

TEST_CASE("listops generator: impossible options end with a reason") {
  const auto message = [](ListopsOptions o, int64_t n = 1) { return message_of([&] { generate(o, n, 2); }); };
  CHECK(message({.min_length = 20, .max_length = 10}) == "listops: min_length is 20, wanted 1 to 10");
  CHECK(message({.max_args = 1}) == "listops: max_args is 1, wanted 2 to 100");
  CHECK(message({.max_depth = 0}) == "listops: max_depth is 0, wanted 1 to 100");
  CHECK(message({.max_length = 0}) == "listops: max_length is 0, wanted 1 to 1000000000");
  CHECK(message({.min_length = 2, .max_length = 3}) ==
        "listops: no tree has 2 to 3 tokens: a digit has 1, the smallest operator 4");
  CHECK(message({.min_length = 13, .max_length = 20, .max_depth = 2}) ==
        "listops: min_length is 13, but the longest tree of depth 2 with 10 arguments has 12 tokens");
  const std::string few = message({.min_length = 1, .max_length = 1}, 11);
  CHECK(few.substr(0, 34) == "listops: 10 different examples aft");
}

TEST_CASE("listops prepare: round trip from the generator through the files") {
  const Folder folder;
  ListopsPlan plan{.folder = folder.file("new/data"),
                   .options = kSmall,
                   .train = 300,
                   .valid = 20,
                   .test = 10,
                   .threads = 2,
                   .tsv = true};
  REQUIRE(prepare_listops(plan) == Prepared::made);
  const auto trees = generate(kSmall, 330, 1);
  size_t next = 0;
  for (const auto& [split, n] : {std::pair{"train", 300}, {"valid", 20}, {"test", 10}}) {
    for (const Dataset& d : {read_split(plan.folder, kind_named("listops"), split),
                             read_listops(listops_path(plan.folder, split))}) {  // official form, same tokens
      REQUIRE(d.examples() == n);
      for (int64_t i = 0; i < n; ++i) {
        const auto row = d.row(i);
        REQUIRE(std::vector<uint8_t>(row.begin(), row.end()) == trees[next + size_t(i)].symbols);
        REQUIRE(d.labels()[size_t(i)] == trees[next + size_t(i)].value);
      }
    }
    next += size_t(n);
  }
  const std::string text = read_text(listops_path(plan.folder, "test"));
  CHECK(text.substr(0, 15) == "Source\tTarget\r\n");
  CHECK(std::count(text.begin(), text.end(), '\r') == 11);
  const auto j = nlohmann::json::parse(read_text(plan.folder + "/dataset.json"));
  CHECK(j.at("options").at("train") == 300);
  CHECK(j.at("options").at("max_length") == 64);
  CHECK(j.at("acceptance_rate").get<double>() > 0.01);
  CHECK(entries_in(folder.file("new")) == 1);
}

TEST_CASE("listops prepare: what is there is kept, refused or replaced") {
  const Folder folder;
  ListopsPlan plan{.folder = folder.file("d/"), .options = kSmall, .train = 20, .valid = 2, .test = 2};
  fs::create_directory(plan.folder);  // an empty folder is taken
  REQUIRE(prepare_listops(plan) == Prepared::made);
  const std::string before = read_text(prepared_path(plan.folder, "train"));
  plan.threads = 3;
  CHECK(prepare_listops(plan) == Prepared::already_there);
  plan.options.seed = 77;
  CHECK(holds(message_of([&] { prepare_listops(plan); }), "made with other options"));
  CHECK(read_text(prepared_path(plan.folder, "train")) == before);
  plan.force = true;
  write_text(plan.folder + "mine.txt", "x");
  CHECK(holds(message_of([&] { prepare_listops(plan); }), "mine.txt: does not belong"));
  fs::remove(plan.folder + "mine.txt");
  CHECK(prepare_listops(plan) == Prepared::made);
  CHECK(read_text(prepared_path(plan.folder, "train")) != before);
  CHECK(entries_in(folder.path) == 1);
  fs::remove(prepared_path(plan.folder, "test"));  // damaged: made again, but only with force
  CHECK(prepare_listops(plan) == Prepared::made);
  CHECK(fs::exists(prepared_path(plan.folder, "test")));
}

TEST_CASE("listops prepare: folders that cannot be used") {
  const Folder folder;
  write_text(folder.file("file"), "x");
  ListopsPlan plan{.folder = folder.file("file"), .options = kSmall, .train = 2, .valid = 2, .test = 2};
  CHECK(message_of([&] { prepare_listops(plan); }) == folder.file("file") + ": is a file, wanted a new folder");
  plan.folder = folder.file("file/sub");
  CHECK(holds(message_of([&] { prepare_listops(plan); }), "Not a directory"));
  plan.folder = folder.path.string();
  plan.force = true;
  CHECK(holds(message_of([&] { prepare_listops(plan); }), "holds files but no dataset.json"));
  plan.folder = "/proc/selene/data";
  CHECK(message_of([&] { prepare_listops(plan); }).substr(0, 12) == "/proc/selene");
  plan.folder = "";
  CHECK(message_of([&] { prepare_listops(plan); }) == "listops: no output folder");
  plan.folder = folder.file("new");
  plan.valid = 0;
  CHECK(message_of([&] { prepare_listops(plan); }) == "listops: valid is 0 examples, wanted 1 to 1000000000");
  CHECK(entries_in(folder.path) == 1);
}

TEST_CASE("listops prepare: an interrupted or killed run leaves no data set") {
  const Folder folder;
  ListopsPlan plan{.folder = folder.file("d"), .options = kSmall, .train = 2000, .valid = 2, .test = 2};
  CHECK_THROWS_AS(prepare_listops(plan, [](int64_t, int64_t, const std::string&) { throw Error("stop"); }), Error);
  CHECK(entries_in(folder.path) == 0);
  const Watch die = [](int64_t, int64_t, const std::string&) { std::raise(SIGKILL); };
  REQUIRE(signal_of([&] { prepare_listops(plan, die); }) == SIGKILL);
  CHECK(holds(message_of([&] { read_split(plan.folder, kind_named("listops"), "train"); }), "is not whole"));
  CHECK(entries_in(plan.folder) == 1);  // the temporary folder, which the next run removes
  CHECK(prepare_listops(plan) == Prepared::made);
  CHECK(entries_in(plan.folder) == 4);
}

}  // namespace selene::testing
