// The dry run's plan is exact: a real run peaks at it, fits in it, and does not fit in one block less.
#include <algorithm>

#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/model_fixture.h"
#include "tests/support/threads.h"
#include "tests/support/training_fixture.h"

namespace selene::testing {
namespace {

using namespace train;

constexpr int64_t kB = 3, kN = 17;

std::vector<Recipe> recipes() {
  std::vector<Recipe> all;
  for (const NamedConfig& variant : model_variants())
    for (const char* recompute : {"none", "feed_forward", "layers"}) {
      Recipe r = small_recipe(variant.config);
      r.name = variant.name + ", recompute " + recompute;
      r.train.recompute = recompute;
      r.train.accumulation = 3;
      const bool layers = r.train.recompute == "layers";
      r.train.precision = layers ? "bf16" : "fp32";
      r.optim.clip_mode = layers ? "each" : "total";
      all.push_back(r);
    }
  return all;
}

void run_all(Session& s, const Recipe& r) {
  std::vector<data::Batch> batches;
  for (uint64_t i = 0; i < 3; ++i) batches.push_back(random_batch(r.model, kB, kN, i));
  update(s, batches, 0);
  s.evaluate(batches[0]);
}

std::string failure(const Recipe& r, const MemoryPlan& plan) {
  return message_of([&] {
    const auto task = small_task(r);
    Session s(*task, std::make_unique<Context>(plan), true);
    run_all(s, r);
  });
}

bool starts(const std::string& text, const std::string& with) { return text.compare(0, with.size(), with) == 0; }

}  // namespace

TEST_CASE("the plan of a dry run is the peak of a real one, suffices, and is the least that does") {
  const Threads one(1);
  for (const Recipe& r : recipes()) {
    INFO(r.name);
    const auto task = small_task(r);
    const MemoryPlan plan = plan_memory(*task, {task->shape(kB, kN)}, true);
    {
      Session roomy(*task, std::make_unique<Context>(MemoryPlan{8 << 20, 8 << 20, 0}), true);
      run_all(roomy, r);
      const MemoryPlan peak = roomy.context().plan();
      CHECK(peak.persistent == plan.persistent);
      CHECK(peak.step == plan.step);
      CHECK(peak.state == plan.state);
      CHECK(roomy.context().step().live() == 0);
    }
    CHECK(failure(r, plan).empty());
    CHECK(starts(failure(r, {plan.persistent, plan.step - Arena::kAlignment, plan.state}), "step arena: "));
    CHECK(starts(failure(r, {plan.persistent - Arena::kAlignment, plan.step, plan.state}), "persistent arena: "));
  }
}

TEST_CASE("a plan for several shapes is the largest of them") {
  const auto task = small_task(small_recipe(small_luna()));
  const auto plan = [&](const std::vector<data::Batch>& shapes, bool training) {
    return plan_memory(*task, shapes, training);
  };
  const data::Batch wide = task->shape(8, 5), longer = task->shape(2, 20);
  CHECK(plan({wide, longer}, true).step == std::max(plan({wide}, true).step, plan({longer}, true).step));
  CHECK(plan({longer}, false).step < plan({longer}, true).step);
  CHECK(plan({longer}, false).persistent < plan({longer}, true).persistent);
}

TEST_CASE("memory is flat over fifty updates") {
  const Threads one(1);
  const Recipe r = small_recipe(small_luna());
  const auto s = small_session(r, kB, kN);
  int64_t peak = 0, used = 0;
  for (int64_t u = 0; u < 50; ++u) {
    update(*s, {random_batch(r.model, kB, kN, uint64_t(u))}, u);
    if (u == 1) peak = s->context().step().peak(), used = s->context().persistent().used();
    CHECK(s->context().step().live() == 0);
  }
  CHECK(s->context().step().peak() == peak);
  CHECK(s->context().persistent().used() == used);
}

TEST_CASE("what is planned for a data set holds every length up to its longest") {
  Recipe r;  // the quick start's sizes: its batches of 63 tokens need more than those of 66
  r.model.layers = 2, r.model.dim = 128, r.model.heads = 4, r.model.ffn_dim = 512, r.model.head_dim = 256;
  r.train.batch_size = 64, r.data.kind = "text", r.data.max_length = 66;
  data::DatasetBuilder builder;
  for (int64_t i = 0; i < 64; ++i) {
    builder.add_row(std::vector<uint8_t>(64, 'a'));
    builder.add_label(0);
  }
  const data::Dataset set = builder.finish(data::kind_named("text"), "made");
  const data::Vocabulary vocabulary = data::build_vocabulary(set, data::Frame::luna);
  const Classification task(r, vocabulary);
  const std::vector<data::Batch> shapes = planned_shapes(task, {&set});
  CHECK(shapes.back().at("tokens").shape == std::vector<int64_t>{64, 66});
  const int64_t room = with_room(plan_memory(task, shapes, true)).step;
  for (int64_t N = 1; N <= 66; ++N) {
    CAPTURE(N);
    CHECK(plan_memory(task, {task.shape(64, N)}, true).step <= room);
  }
}

}  // namespace selene::testing
