// Characters as data and the task that predicts the next one.
#include "train/tasks/language_model.h"

#include <cmath>

#include "data/prepared.h"
#include "data/text/characters.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/training_fixture.h"
#include "train/run/validation.h"

namespace selene::testing {
namespace {

using namespace train;
using Points = std::vector<int32_t>;

Recipe causal(int64_t block) {
  ModelConfig model;
  model.attention = "full", model.layers = 1, model.dim = 16, model.heads = 2, model.ffn_dim = 32;
  model.dropout = model.attention_dropout = 0;
  Recipe r = small_recipe(model);
  r.task = "language_model", r.data.kind = "characters", r.data.max_length = block;
  r.train.batch_size = 2, r.train.label_smoothing = 0;
  return r;
}

std::shared_ptr<const data::Dataset> texts(const std::vector<std::string>& all, Points* characters) {
  std::vector<Points> points;
  for (const std::string& text : all) points.push_back(data::decode_text(text, "made"));
  *characters = data::characters_of(points);
  return std::make_shared<const data::Dataset>(data::character_set("made", *characters, points));
}

}  // namespace

TEST_CASE("characters: UTF-8 in, code points out") {
  CHECK(data::decode_text("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "x") == Points{0x61, 0xe9, 0x20ac, 0x1f600});
  CHECK(data::decode_text("\xef\xbb\xbf"
                          "a",
                          "x") == Points{0x61});
  for (const char* bad : {"a\xff", "a\xc3", "a\xc0\x80", "a\xed\xa0\x80", "a\xf5\x80\x80\x80", "a\x80"})
    CHECK(message_of([&] { data::decode_text(bad, "x"); }).starts_with("x: byte 2 is not UTF-8"));
  for (const char* empty : {"", "\xef\xbb\xbf"})
    CHECK(message_of([&] { data::decode_text(empty, "x"); }) == "x: is empty, wanted text");
}

TEST_CASE("characters: prepared and read again, narrow and wide") {
  const Folder folder;
  std::string wide = "abc";
  for (int i = 0; i < 300; ++i)
    wide += {char(0xe4 + i / 4096), char(0x80 | (i >> 6 & 0x3f)), char(0x80 | (i & 0x3f))};
  for (const std::string& text : {std::string("hello"), wide}) {
    Points characters;
    const auto made = texts({text, "oh"}, &characters);
    CHECK(made->column("text").dtype == (text == wide ? DType::u16 : DType::u8));
    data::write_prepared(folder.path.string(), "train", *made, "{}");
    const data::Dataset read = data::open_prepared(folder.file("train.safetensors"), "train");
    CHECK(read.digest() == made->digest());
    CHECK(read.examples() == 2);
    CHECK(read.column("text").ids(1, 0, 2) == made->column("text").ids(1, 0, 2));
  }
  Points characters;
  texts({"ab"}, &characters);
  const data::Dataset other = data::character_set("other", characters, {data::decode_text("azb", "x")});
  CHECK(other.column("text").ids(0, 0, 3) == Points{1, 0, 2});  // 0: the model never saw it
  CHECK(data::character_text(other, 0) ==
        "a\xef\xbf\xbd"
        "b");
}

TEST_CASE("language model: every symbol is predicted once, from the one before it") {
  Points characters;
  const auto set = texts({"abcde", "ba"}, &characters);
  LanguageModelling task(causal(2), characters);
  CHECK(task.symbols() == 7);
  const Task::Extent extent = task.extent(*set);
  CHECK(extent.examples == 4);
  CHECK(extent.longest == 2);
  const data::Loader loader = task.loader(set, data::Order::file);
  const data::Batch one = loader.make_batch(0), two = loader.make_batch(1);
  CHECK(one.at("tokens").integers == Points{6, 1, 2, 3});  // 6 stands before a text
  CHECK(one.at("next").integers == Points{1, 2, 3, 4});
  CHECK(two.at("tokens").integers == Points{4, 0, 6, 2});
  CHECK(two.at("next").integers == Points{5, data::kNoLabel, 2, 1});
  CHECK(two.at("lengths").integers == Points{1, 2});
  CHECK(two.sample_size == 3);
  const data::Dataset first = task.first(*set, 3);
  CHECK(task.extent(first).examples == 3);
  CHECK(first.column("text").elements() == 5);
  CHECK(task.extent(task.first(*set, 2)).examples == 2);
  CHECK(task.extent(task.first(*set, 9)).examples == 4);
  const auto again = LanguageModelling::reopen(task.recipe(), task.facts(), "file");
  CHECK(again->facts() == task.facts());
  CHECK(message_of([&] {
          LanguageModelling::reopen(task.recipe(), {{"characters", "[3,2]"}}, "file");
        }) == "file: characters: wanted ascending numbers of Unicode");
  CHECK(message_of([&] { task.check(data::character_set("else", {1}, {{1}})); }) ==
        "else: was prepared with other characters than the model's training text");
}

TEST_CASE("language model: a model that knows nothing needs log2 V bits, and it learns a text by heart") {
  Points characters;
  const auto set = texts({"the cat sat on the mat and the dog sat on the log"}, &characters);
  Recipe recipe = causal(16);
  recipe.optim = {}, recipe.optim.lr = 5e-3, recipe.schedule.name = "fixed";
  LanguageModelling task(recipe, characters);
  const data::Loader loader = task.loader(set, data::Order::file);
  const std::vector<data::Batch> batches{loader.make_batch(0), loader.make_batch(1)};
  const MemoryPlan plan = plan_memory(task, planned_shapes(task, {set.get()}), true);
  const auto bits = [&](Session& session) {
    const LossSums sums = score(session, set).sums;
    CHECK(sums.count == 49);  // characters of the text
    return sums.nll / sums.count / std::log(2);
  };
  Session nothing(task, std::make_unique<Context>(with_room(plan)), true);
  Parameters& p = nothing.parameters();
  for (int i = 0; i < int(p.count()); ++i)
    p.set(nothing.context(), i, std::vector<float>(size_t(p[i].shape.numel()), 0.0f).data());
  CHECK(std::abs(bits(nothing) - std::log2(double(task.symbols()))) < 1e-6);
  Session session(task, std::make_unique<Context>(with_room(plan)), true);
  for (int64_t i = 0; i < 200; ++i) {
    session.set_step(i, 0, batches[size_t(i % 2)].sample_size);
    session.micro_batch(batches[size_t(i % 2)], 0);
    session.optimizer().step();
  }
  CHECK(bits(session) < 0.3);
}

}  // namespace selene::testing
