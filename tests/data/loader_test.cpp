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
#include "data/prefetcher.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;

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

struct Options {
  int64_t batch_size = 2, max_length = 1000;
  Order order = Order::shuffled;
  uint64_t seed = 1;
};

std::shared_ptr<const FixedBatches> batches(const std::shared_ptr<Dataset>& d, const Options& o) {
  return std::make_shared<const FixedBatches>(d->examples(), o.batch_size, o.order, o.seed,
                                              [d](int64_t i) { return d->length(i); });
}

Loader loader(const std::shared_ptr<Dataset>& d, const Options& o, Frame frame = Frame::lra) {
  const Vocabulary v = build_vocabulary(*d, frame);
  return {d, batches(d, o), read_labelled(d), frame_symbols(v, o.max_length), pad_tokens(v.pad)};
}
Loader loader(int64_t n, const Options& o) { return loader(rows(n), o); }

std::vector<int64_t> epoch_order(int64_t n, const Options& o, int64_t epoch) {
  return batches(rows(n), o)->epoch_order(epoch);
}

const std::vector<int32_t>& tokens(const Batch& b, int64_t t = 0) { return b.at(tower_name("tokens", t)).integers; }
const std::vector<int32_t>& lengths(const Batch& b, int64_t t = 0) { return b.at(tower_name("lengths", t)).integers; }
int64_t width(const Batch& b, int64_t t = 0) { return b.at(tower_name("tokens", t)).shape[1]; }

bool same(const Batch& a, const Batch& b) {
  const auto alike = [](const std::vector<Array>& x, const std::vector<Array>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const Array& p, const Array& q) {
      return p.name == q.name && p.shape == q.shape && p.integers == q.integers && p.reals == q.reals;
    });
  };
  return a.B == b.B && a.examples == b.examples && a.epoch == b.epoch && a.position == b.position &&
         a.tokens == b.tokens && a.sample_size == b.sample_size && alike(a.inputs, b.inputs) &&
         alike(a.targets, b.targets);
}

}  // namespace

TEST_CASE("loader: a batch holds framed, padded rows in file order") {
  const auto d = rows(5);
  const Vocabulary v = build_vocabulary(*d, Frame::luna);
  const Loader l = loader(d, {.batch_size = 2, .max_length = 6, .order = Order::file}, Frame::luna);
  CHECK(l.batches_per_epoch() == 3);
  const Batch b = l.make_batch(0);  // rows of 1 and 6 symbols, with CLS and EOS 3 and 8, cut to 6
  CHECK(b.inputs.size() == 3);
  CHECK(b.B == 2);
  CHECK(b.sample_size == 2);
  CHECK(b.tokens == 9);
  CHECK(width(b) == 6);
  CHECK(lengths(b) == std::vector<int32_t>{3, 6});
  CHECK(b.at("longest").integers == std::vector<int32_t>{6});
  CHECK(tokens(b) == std::vector<int32_t>{v.cls_id, v.ids[0], 2, 1, 1, 1, v.cls_id, v.ids[1], v.ids[1], v.ids[1],
                                          v.ids[1], v.ids[1]});
  CHECK(b.at("labels").integers == std::vector<int32_t>{0, 1});
  CHECK(message_of([&] { b.at("pixels"); }) == "batch: has no array 'pixels'");
  CHECK(b.examples == std::vector<int64_t>{0, 1});
  const Batch last = l.make_batch(5);
  CHECK(last.B == 1);
  CHECK(last.epoch == 1);
  CHECK(last.position == 4);
  CHECK(last.examples == std::vector<int64_t>{4});
  CHECK(last.inputs.size() == 2);  // one row has no padding, so no lengths
}

TEST_CASE("loader: two towers") {
  const auto d = rows(3, 2);
  const Batch b = loader(d, {.batch_size = 3, .order = Order::file}).make_batch(0);
  REQUIRE(b.inputs.size() == 6);
  CHECK(lengths(b) == std::vector<int32_t>{1, 6, 2});
  CHECK(lengths(b, 1) == std::vector<int32_t>{2, 7, 3});
  CHECK(tokens(b, 1)[0] == 2);
}

TEST_CASE("loader: every epoch is a permutation of its own, in any order") {
  for (const Order order : {Order::shuffled, Order::by_length}) {
    const Options options{.batch_size = 8, .order = order, .seed = 4};
    const Loader l = loader(103, options);
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
      CHECK(seen == epoch_order(103, options, epoch));
      orders.insert(seen);
      std::sort(seen.begin(), seen.end());
      std::vector<int64_t> all(103);
      std::iota(all.begin(), all.end(), 0);
      CHECK(seen == all);
    }
    CHECK(orders.size() == 4);
    CHECK(epoch_order(103, {.batch_size = 8, .order = order, .seed = 5}, 0) != epoch_order(103, options, 0));
  }
}

TEST_CASE("loader: a batch is a function of its number alone") {
  for (const Order order : {Order::file, Order::shuffled, Order::by_length}) {
    const Options options{.batch_size = 4, .order = order, .seed = 11};
    const Loader a = loader(50, options), b = loader(50, options);
    std::vector<Batch> forward;
    for (int64_t i = 0; i < 40; ++i) forward.push_back(a.make_batch(i));
    for (int64_t i = 39; i >= 0; --i) REQUIRE(same(forward[size_t(i)], b.make_batch(i)));
    CHECK(same(forward[7], a.make_batch(7)));
  }
}

TEST_CASE("loader: the order never changes with later versions") {
  CHECK(epoch_order(8, {}, 0) == std::vector<int64_t>{5, 4, 0, 2, 7, 6, 3, 1});
  CHECK(epoch_order(8, {}, 1) == std::vector<int64_t>{0, 1, 3, 6, 5, 7, 4, 2});
}

TEST_CASE("loader: all permutations are equally likely") {
  std::map<std::vector<int64_t>, int> count;
  const auto l = batches(rows(4), {.seed = 3});
  for (int64_t epoch = 0; epoch < 4800; ++epoch) ++count[l->epoch_order(epoch)];
  REQUIRE(count.size() == 24);
  double chi = 0;  // 23 degrees of freedom: above 49.7 in one of a thousand seeds
  for (const auto& [order, n] : count) chi += (n - 200.0) * (n - 200.0) / 200.0;
  CHECK(!(chi > 49.7));
}

TEST_CASE("loader: by_length wastes little padding and mixes the batches") {
  const auto padding = [](const Loader& l) {
    int64_t padded = 0, used = 0;
    for (int64_t k = 0; k < l.batches_per_epoch(); ++k) {
      const Batch b = l.make_batch(k);
      padded += int64_t(tokens(b).size()), used += b.tokens;
    }
    return double(padded - used) / double(padded);
  };
  CHECK(padding(loader(1000, {.batch_size = 8})) > 0.3);
  CHECK(padding(loader(1000, {.batch_size = 8, .order = Order::by_length})) < 0.02);
  const Loader l = loader(1000, {.batch_size = 8, .order = Order::by_length});
  std::vector<int64_t> widths;
  for (int64_t k = 0; k < l.batches_per_epoch(); ++k) widths.push_back(width(l.make_batch(k)));
  CHECK_FALSE(std::is_sorted(widths.begin(), widths.begin() + 60));
}

TEST_CASE("loader: both towers of a batch have the width of the longer one") {
  const auto d = rows(4, 2);  // row 0 of tower 0 has 1 symbol, of tower 1 two; lengths go up to 9
  const int32_t pad = build_vocabulary(*d, Frame::lra).pad;
  const Loader l = loader(d, {.batch_size = 1, .order = Order::file});
  for (int64_t i = 0; i < 4; ++i) {
    const Batch b = l.make_batch(i);
    const int64_t longest = std::max(d->row(i, 0).size(), d->row(i, 1).size());
    for (int32_t t = 0; t < 2; ++t) {
      CHECK(width(b, t) == longest);
      REQUIRE(int64_t(tokens(b, t).size()) == longest);
      const auto length = int64_t(d->row(i, t).size());
      if (length < longest) CHECK(lengths(b, t) == std::vector{int32_t(length)});
      for (int64_t n = 0; n < longest; ++n) CHECK((tokens(b, t)[size_t(n)] == pad) == (n >= length));
    }
  }
}

TEST_CASE("loader: pixels are numbers from -1 to 1, unframed") {
  DatasetBuilder builder;
  builder.add_row(std::vector<uint8_t>{0, 255, 51});
  builder.add_row(std::vector<uint8_t>{102, 204, 153, 0});
  builder.add_label(3), builder.add_label(4);
  const auto d = std::make_shared<Dataset>(builder.finish(kind_named("image"), "made"));
  const Loader l(d, batches(d, {.order = Order::file}), read_labelled(d), frame_pixels(3), pad_pixels());
  const Batch b = l.make_batch(0);
  const Array& pixels = b.at("pixels");
  CHECK(pixels.integers.empty());
  CHECK(pixels.shape == std::vector<int64_t>{2, 3});
  CHECK(b.inputs.size() == 2);  // no lengths: no image is padded
  const std::vector<float> wanted{-1, 1, -0.6f, -0.2f, 0.6f, 0.2f};
  for (size_t i = 0; i < wanted.size(); ++i) CHECK(std::abs(pixels.reals[i] - wanted[i]) <= 1e-6f);
}

TEST_CASE("loader: impossible options are refused") {
  const auto d = rows(3);
  const auto order = [&](int64_t examples, int64_t batch) {
    return message_of([&] { FixedBatches(examples, batch, Order::file, 1, {}); });
  };
  CHECK(order(0, 1) == "0 examples, wanted 1 to 4294967295");
  CHECK(order(int64_t(1) << 32, 1) == "4294967296 examples, wanted 1 to 4294967295");
  CHECK(order(3, 0) == "batch size is 0 examples, wanted at least 1");
  CHECK(message_of([&] { loader(d, {.max_length = 0}); }) == "max_length is 0 tokens, wanted at least 1");
  CHECK(message_of([&] { loader(d, {}).make_batch(-1); }) == "batch -1, wanted 0 or more");
  CHECK(loader(d, {.batch_size = int64_t(1) << 40}).make_batch(1).B == 3);
}

TEST_CASE("loader: every stage can be replaced") {
  struct Pairs : BatchOrder {  // batch i is example i beside the last one
    int64_t batches_per_epoch() const override { return 4; }
    Chosen batch(int64_t index) const override { return {{index % 4, 4}, index / 4, index % 4}; }
  };
  const auto d = rows(5);
  const Loader l(
      d, std::make_shared<Pairs>(),
      [](int64_t i) {
        return Example{{{int32_t(i)}}, {0}};
      },
      [](Example& e) { e.rows[0].push_back(7); }, pad_tokens(0));
  const Batch b = l.make_batch(5);
  CHECK(b.epoch == 1);
  CHECK(b.examples == std::vector<int64_t>{1, 4});
  CHECK(tokens(b) == std::vector<int32_t>{1, 7, 4, 7});
}

TEST_CASE("prefetcher: the sequence in order, then an error") {
  const Loader l = loader(30, {.batch_size = 4});
  Prefetcher p([&](int64_t i) { return l.make_batch(i); }, 3, 2, 30);
  for (int64_t i = 3; i < 30; ++i) CHECK(same(p.next(), l.make_batch(i)));
  CHECK(message_of([&] { p.next(); }) == "prefetch: no more batches");
  CHECK(message_of([&] { p.next(); }) == "prefetch: no more batches");
}

TEST_CASE("prefetcher: runs ahead, but no further than its queue") {
  std::atomic<int> made{0};
  {
    Prefetcher p([&](int64_t) { return ++made, Batch{}; }, 0, 3);
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
      0);
  CHECK(p.next().position == 0);
  CHECK(p.next().position == 1);
  CHECK(message_of([&] { p.next(); }) == "broken");
  CHECK(message_of([&] { p.next(); }) == "broken");
  CHECK(message_of([] { Prefetcher([](int64_t) { return Batch{}; }, 0, 0); }) ==
        "prefetch: capacity 0, wanted at least 1");
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

}  // namespace selene::testing
