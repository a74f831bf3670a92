#include "tests/support/training_fixture.h"

#include <algorithm>

#include "kernels/philox.h"
#include "tests/support/op_case.h"

namespace selene::testing {

using namespace train;

Recipe small_recipe(const ModelConfig& model) {
  Recipe r;
  r.name = "test";
  r.model = model;
  r.optim.lr = 1e-2, r.optim.clip_norm = 0.5, r.optim.weight_decay = 0.01;
  r.schedule.warmup = 2, r.schedule.init_lr = 1e-3;
  r.train.seed = 11, r.train.label_smoothing = 0.1, r.train.updates = 100;
  return r;
}

std::unique_ptr<Task> small_task(const Recipe& recipe) {
  const ModelSize size{Symbols{9, 1}, 5, std::max<int64_t>(20, recipe.model.max_positions)};
  return std::make_unique<Classification>(recipe, size);
}

data::Batch random_batch(const ModelConfig& model, int64_t B, int64_t N, uint64_t seed) {
  PhiloxStream random(seed, 77);
  data::Batch batch = small_task(small_recipe(model))->shape(B, N);
  for (int64_t t = 0; t < model.towers; ++t) {
    const bool pixels = model.input == "pixels", padded = !pixels && B > 1 && N > 1;
    data::Array& content = batch.at(data::tower_name(pixels ? "pixels" : "tokens", t));
    std::vector<int32_t> lengths;
    for (int64_t b = 0; b < B; ++b) {
      const int64_t length = b == 0 || !padded ? N : N - int64_t(random.below(uint32_t(N / 2 + 1)));
      lengths.push_back(int32_t(length));
      for (int64_t n = 0; n < N; ++n) {
        const size_t at = size_t(b * N + n);
        if (!pixels) content.integers[at] = n < length ? 2 + int32_t(random.below(7)) : 1;
        else content.reals[at] = float(random.uniform());
      }
    }
    if (padded) batch.at(data::tower_name("lengths", t)).integers = lengths;
  }
  for (int32_t& label : batch.at("labels").integers) label = int32_t(random.below(5));
  return batch;
}

std::unique_ptr<Session> small_session(const Recipe& recipe, int64_t B, int64_t N, const Backend* module,
                                       Group group) {
  static std::vector<std::unique_ptr<Task>> tasks;
  const Task& task = *tasks.emplace_back(small_task(recipe));
  const MemoryPlan plan = plan_memory(task, {task.shape(B, N)}, true, module);
  return std::make_unique<Session>(task, std::make_unique<Context>(plan, module), true, group);
}

std::vector<float> logits_of(Session& session, const data::Batch& batch) {
  std::vector<float> logits;
  session.evaluate(batch, [&](const Tensor& outputs) { logits = session.context().values<float>(outputs); });
  return logits;
}

void update(Session& session, const std::vector<data::Batch>& batches, int64_t finished) {
  double sample_size = 0;
  for (const data::Batch& batch : batches) sample_size += batch.sample_size;
  for (size_t i = 0; i < batches.size(); ++i) {
    session.set_step(finished, int64_t(i), sample_size);
    session.micro_batch(batches[i], int64_t(i));
  }
  session.optimizer().step();
}

std::vector<float> floats(Session& session, const Tensor& flat) {
  const std::vector<double> v = download_doubles(session.context(), flat);
  return {v.begin(), v.end()};
}

std::vector<std::vector<float>> state_of(Session& session) {
  const Parameters& p = session.parameters();
  std::vector<std::vector<float>> state;
  for (const Tensor* t : {&p.values(), &p.compute_values()}) state.push_back(floats(session, *t));
  for (const OptimizerBuffer& buffer : session.optimizer().buffers()) state.push_back(floats(session, buffer.flat));
  return state;
}

}  // namespace selene::testing
