// Loader, prefetcher and baselines.
#include "data/loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "data/baselines.h"
#include "data/lra/listops/listops.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

using namespace selene;
using namespace selene::data;
using selene::testing::message_of;

namespace {

/// n rows of lengths 1 to 9; row i begins with symbol i % 10 and has label i % 7.
std::shared_ptr<Dataset> rows(int64_t n, int32_t towers = 1) {
  static const Kind one = kind_named("listops"), two{"pairs", one.symbol_names, one.class_names, 2, false};
  DatasetBuilder d;
  for (int64_t i = 0; i < n; ++i) {
    d.add_label(int32_t(i % 7));
    for (int32_t t = 0; t < towers; ++t)
      d.add_row(std::vector<uint8_t>(size_t(1 + (i * 5 + t) % 9), uint8_t((i + t) % 10)));
  }
  return std::make_shared<Dataset>(d.finish(towers == 2 ? two : one, "made"));
}

Loader loader(int64_t n, LoaderOptions options, Frame frame = Frame::lra) {
  const auto d = rows(n);
  return Loader(d, build_vocabulary(*d, frame), options);
}

bool same(const Batch& a, const Batch& b) {
  return a.B == b.B && a.labels == b.labels && a.examples == b.examples && a.epoch == b.epoch &&
         a.position == b.position && a.towers.size() == b.towers.size() &&
         std::equal(a.towers.begin(), a.towers.end(), b.towers.begin(), [](const Tower& x, const Tower& y) {
           return x.N == y.N && x.tokens == y.tokens && x.lengths == y.lengths;
         });
}

}  // namespace

TEST_CASE("loader: a batch holds framed, padded rows in file order") {
  const auto d = rows(5);
  const Loader l(d, build_vocabulary(*d, Frame::luna), {.batch_size = 2, .max_length = 6, .order = Order::file});
  const Vocabulary& v = l.vocabulary();
  CHECK(l.batches_per_epoch() == 3);
  const Batch b = l.make_batch(0);  // rows of 1 and 6 symbols, with CLS and EOS 3 and 8, cut to 6
  REQUIRE(b.towers.size() == 1);
  const Tower& t = b.towers[0];
  CHECK(b.B == 2);
  CHECK(t.N == 6);
  CHECK(t.lengths == std::vector<int32_t>{3, 6});
  CHECK(t.tokens == std::vector<int32_t>{v.cls_id, v.ids[0], 2, 1, 1, 1, v.cls_id, v.ids[1], v.ids[1], v.ids[1],
                                         v.ids[1], v.ids[1]});
  CHECK(t.pixels.empty());
  CHECK(b.labels == std::vector<int32_t>{0, 1});
  CHECK(b.examples == std::vector<int64_t>{0, 1});
  const Batch last = l.make_batch(5);
  CHECK(last.B == 1);
  CHECK(last.epoch == 1);
  CHECK(last.position == 4);
  CHECK(last.examples == std::vector<int64_t>{4});
  CHECK(last.towers[0].N == last.towers[0].lengths[0]);
}

TEST_CASE("loader: two towers") {
  const auto d = rows(3, 2);
  const Loader l(d, build_vocabulary(*d, Frame::lra), {.batch_size = 3, .order = Order::file});
  const Batch b = l.make_batch(0);
  REQUIRE(b.towers.size() == 2);
  CHECK(b.towers[0].lengths == std::vector<int32_t>{1, 6, 2});
  CHECK(b.towers[1].lengths == std::vector<int32_t>{2, 7, 3});
  CHECK(b.towers[1].tokens[0] == 2);
}

TEST_CASE("loader: every epoch is a permutation of its own, in any order") {
  for (const Order order : {Order::shuffled, Order::by_length}) {
    const Loader l = loader(103, {.batch_size = 8, .order = order, .seed = 4});
    std::set<std::vector<int64_t>> orders;
    for (int64_t epoch = 0; epoch < 4; ++epoch) {
      std::vector<int64_t> seen;
      for (int64_t k = 0; k < l.batches_per_epoch(); ++k) {
        const Batch b = l.make_batch(epoch * l.batches_per_epoch() + k);
        CHECK(b.epoch == epoch);
        CHECK(b.position == int64_t(seen.size()));
        CHECK(b.B == (k == 12 ? 7 : 8));
        seen.insert(seen.end(), b.examples.begin(), b.examples.end());
      }
      CHECK(seen == l.epoch_order(epoch));
      orders.insert(seen);
      std::sort(seen.begin(), seen.end());
      std::vector<int64_t> all(103);
      std::iota(all.begin(), all.end(), 0);
      CHECK(seen == all);
    }
    CHECK(orders.size() == 4);
    CHECK(loader(103, {.batch_size = 8, .order = order, .seed = 5}).epoch_order(0) != l.epoch_order(0));
  }
}

TEST_CASE("loader: a batch is a function of its number alone") {
  for (const Order order : {Order::file, Order::shuffled, Order::by_length}) {
    const LoaderOptions options{.batch_size = 4, .order = order, .seed = 11};
    const Loader a = loader(50, options), b = loader(50, options);
    std::vector<Batch> forward;
    for (int64_t i = 0; i < 40; ++i) forward.push_back(a.make_batch(i));
    for (int64_t i = 39; i >= 0; --i) REQUIRE(same(forward[size_t(i)], b.make_batch(i)));
    CHECK(same(forward[7], a.make_batch(7)));
  }
}

TEST_CASE("loader: the order never changes with later versions") {
  CHECK(loader(8, {.batch_size = 2, .seed = 1}).epoch_order(0) == std::vector<int64_t>{5, 4, 0, 2, 7, 6, 3, 1});
  CHECK(loader(8, {.batch_size = 2, .seed = 1}).epoch_order(1) == std::vector<int64_t>{0, 1, 3, 6, 5, 7, 4, 2});
}

TEST_CASE("loader: all permutations are equally likely") {
  std::map<std::vector<int64_t>, int> count;
  const Loader l = loader(4, {.batch_size = 2, .seed = 3});
  for (int64_t epoch = 0; epoch < 4800; ++epoch) ++count[l.epoch_order(epoch)];
  REQUIRE(count.size() == 24);
  double chi = 0;  // 23 degrees of freedom: above 49.7 in one of a thousand seeds
  for (const auto& [order, n] : count) chi += (n - 200.0) * (n - 200.0) / 200.0;
  CHECK(!(chi > 49.7));
}

TEST_CASE("loader: by_length wastes little padding and mixes the batches") {
  const auto padding = [](const Loader& l) {
    int64_t padded = 0, used = 0;
    for (int64_t k = 0; k < l.batches_per_epoch(); ++k) {
      const Tower t = l.make_batch(k).towers[0];
      padded += int64_t(t.tokens.size());
      used += std::accumulate(t.lengths.begin(), t.lengths.end(), int64_t(0));
    }
    return double(padded - used) / double(padded);
  };
  CHECK(padding(loader(1000, {.batch_size = 8})) > 0.3);
  CHECK(padding(loader(1000, {.batch_size = 8, .order = Order::by_length})) < 0.02);
  const Loader l = loader(1000, {.batch_size = 8, .order = Order::by_length});
  std::vector<int64_t> lengths;
  for (int64_t k = 0; k < l.batches_per_epoch(); ++k) lengths.push_back(l.make_batch(k).towers[0].N);
  CHECK_FALSE(std::is_sorted(lengths.begin(), lengths.begin() + 60));
}

TEST_CASE("loader: both towers of a batch have the width of the longer one") {
  const auto d = rows(4, 2);  // row 0 of tower 0 has 1 symbol, of tower 1 two; lengths go up to 9
  const Loader l(d, build_vocabulary(*d, Frame::lra), {.batch_size = 1, .order = Order::file});
  for (int64_t i = 0; i < 4; ++i) {
    const Batch b = l.make_batch(i);
    REQUIRE(b.towers.size() == 2);
    const int64_t longest = std::max(b.towers[0].lengths[0], b.towers[1].lengths[0]);
    for (int32_t t = 0; t < 2; ++t) {
      const Tower& tower = b.towers[size_t(t)];
      CHECK(tower.N == longest);
      REQUIRE(int64_t(tower.tokens.size()) == longest);
      CHECK(tower.lengths[0] == int32_t(d->row(i, t).size()));
      for (int64_t n = 0; n < longest; ++n)
        CHECK((tower.tokens[size_t(n)] == l.vocabulary().pad) == (n >= tower.lengths[0]));
    }
  }
}

TEST_CASE("loader: pixels are numbers from -1 to 1, unframed") {
  DatasetBuilder builder;
  builder.add_row(std::vector<uint8_t>{0, 255, 51});
  builder.add_row(std::vector<uint8_t>{102, 204, 153, 0});
  builder.add_label(3), builder.add_label(4);
  const auto d = std::make_shared<Dataset>(builder.finish(kind_named("image"), "made"));
  const Loader l(d, build_vocabulary(*d, Frame::lra),
                 {.batch_size = 2, .max_length = 3, .order = Order::file, .pixels = true});
  const Batch b = l.make_batch(0);
  CHECK(b.towers[0].tokens.empty());
  CHECK(b.towers[0].N == 3);
  CHECK(b.towers[0].lengths == std::vector<int32_t>{3, 3});
  const std::vector<float> wanted{-1, 1, -0.6f, -0.2f, 0.6f, 0.2f};
  for (size_t i = 0; i < wanted.size(); ++i) CHECK(std::abs(b.towers[0].pixels[i] - wanted[i]) <= 1e-6f);
}

TEST_CASE("loader: impossible options are refused") {
  const auto d = rows(3), none = std::make_shared<Dataset>();
  none->name = "none.tsv";
  const Vocabulary v = build_vocabulary(*d, Frame::lra);
  CHECK(message_of([&] { Loader(none, v, {}); }) == "none.tsv: no examples");
  CHECK(message_of([&] { Loader(d, v, {.batch_size = 0}); }) == "batch size is 0 examples, wanted at least 1");
  CHECK(message_of([&] { Loader(d, v, {.max_length = 0}); }) == "max_length is 0 tokens, wanted at least 1");
  CHECK(message_of([&] { Loader(d, v, {}).make_batch(-1); }) == "batch -1, wanted 0 or more");
  const auto other = rows(3);
  Kind renamed = *other->kind;
  renamed.symbol_names[0] = "zero";
  other->kind = &renamed;
  CHECK(message_of([&] { Loader(other, v, {}); }) == "made: its symbols are not those of the vocabulary");
  CHECK(Loader(d, v, {.batch_size = int64_t(1) << 40}).make_batch(1).B == 3);
}

TEST_CASE("prefetcher: the sequence in order, then an error") {
  const Loader l = loader(30, {.batch_size = 4});
  Prefetcher p([&](int64_t i) { return l.make_batch(i); }, 3, 5, 2, 30);
  for (int64_t i = 3; i < 30; i += 5) CHECK(same(p.next(), l.make_batch(i)));
  CHECK(message_of([&] { p.next(); }) == "prefetch: no more batches");
  CHECK(message_of([&] { p.next(); }) == "prefetch: no more batches");
}

TEST_CASE("prefetcher: runs ahead, but no further than its queue") {
  std::atomic<int> made{0};
  {
    Prefetcher p([&](int64_t) { return ++made, Batch{}; }, 0, 1, 3);
    p.next();
    for (int i = 0; i < 2000 && made < 5; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(made == 5);  // one taken, three waiting, one that does not fit yet
  }                    // an endless sequence stops here
  CHECK(made == 5);
}

TEST_CASE("prefetcher: an exception comes out where its batch was") {
  Prefetcher p(
      [](int64_t i) {
        if (i == 2) throw Error("broken");
        Batch b;
        b.position = i;
        return b;
      },
      0, 1);
  CHECK(p.next().position == 0);
  CHECK(p.next().position == 1);
  CHECK(message_of([&] { p.next(); }) == "broken");
  CHECK(message_of([&] { p.next(); }) == "broken");
  CHECK(message_of([] { Prefetcher([](int64_t) { return Batch{}; }, 0, 0); }) ==
        "prefetch: stride 0 and capacity 4, wanted at least 1");
}

TEST_CASE("baselines: majority and first symbol") {
  const auto make = [](std::initializer_list<std::pair<const char*, int>> examples) {
    DatasetBuilder d;
    for (const auto& [text, label] : examples) {
      d.add_row(parse_listops(text));
      d.add_label(label);
    }
    return d.finish(kind_named("listops"), "made");
  };
  const Dataset train = make({{"[MAX 1 9 ]", 9}, {"[MAX 9 2 ]", 9}, {"[MAX 8 2 ]", 8}, {"[MIN 0 2 ]", 0}, {"5", 5}});
  // Majority 9. By first symbol: [MAX 9, [MIN 0, 5 5; [SM is new and gets 9.
  const Dataset test = make({{"[MAX 9 3 ]", 9}, {"[MAX 8 3 ]", 8}, {"[MIN 0 3 ]", 0}, {"5", 5}, {"[SM 4 5 ]", 9}});
  const Baselines b = baselines(train, test);
  CHECK(b.majority_label == 9);
  CHECK(b.majority == 2.0 / 5);
  CHECK(b.first_symbol == 4.0 / 5);
  CHECK(baselines(make({{"4", 4}, {"3", 3}}), test).majority_label == 3);
  CHECK(message_of([&] { baselines(train, Dataset{}); }) == ": no examples");
}
