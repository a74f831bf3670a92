// The two-tower model of Retrieval on pairs in AAN's form: it learns 64 of them by heart, and which text is which
// counts.
#include "data/lra/aan.h"
#include "data/lra/stand_in.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/training_fixture.h"
#include "train/run/validation.h"

namespace selene::testing {
namespace {

using namespace train;

constexpr int64_t kPairs = 64, kBytes = 40;

Recipe two_towers(const std::string& features) {
  ModelConfig model;
  model.layers = 1, model.dim = 32, model.heads = 2, model.ffn_dim = 64, model.own.at("luna.projection_length") = 8;
  model.towers = 2, model.tower_features = features, model.pooling = "mean";
  model.dropout = model.attention_dropout = 0;
  Recipe r = testing::small_recipe(model);
  r.data.kind = "retrieval", r.data.max_length = kBytes + 2;
  r.optim = {}, r.optim.lr = 5e-3;
  r.schedule.name = "fixed", r.train.label_smoothing = 0, r.train.batch_size = kPairs;
  return r;
}

/// 64 pairs of a stand-in, half of them related.
std::shared_ptr<const data::Dataset> pairs() {
  const testing::Folder folder;
  data::StandInPlan plan;
  plan.folder = folder.file("aan"), plan.train = kPairs, plan.valid = plan.test = 2;
  data::make_stand_in_aan(plan);
  return std::make_shared<const data::Dataset>(data::read_aan(data::aan_path(plan.folder, "train"), kBytes));
}

}  // namespace

TEST_CASE("the two-tower model learns 64 pairs by heart") {
  const auto set = pairs();
  REQUIRE(set->examples() == kPairs);
  const data::Vocabulary vocabulary = data::build_vocabulary(*set, data::Frame::luna);
  for (const char* features : {"concat", "four"}) {
    CAPTURE(features);
    const Recipe recipe = two_towers(features);
    Classification task(recipe, vocabulary);
    task.fit({set.get()});
    const data::Batch batch = task.loader(set, data::Order::file).make_batch(0);
    REQUIRE(batch.inputs.size() == 4);  // all rows have one length
    const MemoryPlan plan = plan_memory(task, {batch}, true);
    Session session(task, std::make_unique<Context>(plan), true);
    const auto accuracy = [&] {
      const LossSums sums = score(session, set).sums;
      CHECK(sums.count == kPairs);
      return std::pair(sums.correct / sums.count, sums.nll / sums.count);
    };
    CHECK(accuracy().first < 0.8);
    for (int64_t i = 0; i < 100; ++i) testing::update(session, {batch}, i);
    CHECK(accuracy().first == 1);
    CHECK(accuracy().second < 0.05);
  }
}

}  // namespace selene::testing
