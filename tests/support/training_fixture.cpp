#include "tests/support/training_fixture.h"

#include <algorithm>

#include "kernels/philox.h"
#include "tests/support/op_case.h"

namespace selene::testing {

Recipe small_recipe(const ModelConfig& model) {
  Recipe r;
  r.name = "test";
  r.model = model;
  r.optim.lr = 1e-2, r.optim.clip_norm = 0.5, r.optim.weight_decay = 0.01;
  r.schedule.warmup = 2, r.schedule.init_lr = 1e-3;
  r.train.seed = 11, r.train.label_smoothing = 0.1, r.train.updates = 100;
  return r;
}

train::ModelSize small_size(const ModelConfig& model) {
  return {Symbols{9, 1}, 5, std::max<int64_t>(20, model.max_positions)};
}

data::Batch random_batch(const ModelConfig& model, int64_t B, int64_t N, uint64_t seed) {
  PhiloxStream random(seed, 77);
  data::Batch batch = train::shape_batch(B, N, model);
  for (data::Tower& tower : batch.towers)
    for (int64_t b = 0; b < B; ++b) {
      const int64_t length = b == 0 ? N : N - int64_t(random.below(uint32_t(N / 2 + 1)));
      tower.lengths[size_t(b)] = int32_t(length);
      for (int64_t n = 0; n < N; ++n) {
        const size_t at = size_t(b * N + n);
        if (!tower.tokens.empty()) tower.tokens[at] = n < length ? 2 + int32_t(random.below(7)) : 1;
        if (!tower.pixels.empty()) tower.pixels[at] = n < length ? float(random.uniform()) : 0;
      }
    }
  for (int32_t& label : batch.labels) label = int32_t(random.below(5));
  return batch;
}

std::unique_ptr<train::Session> small_session(const Recipe& recipe, int64_t B, int64_t N, const Backend* module) {
  const train::ModelSize size = small_size(recipe.model);
  const MemoryPlan plan = train::Session::plan(recipe, size, {train::shape_batch(B, N, recipe.model)}, true, module);
  return std::make_unique<train::Session>(recipe, size, std::make_unique<Context>(plan, module), true);
}

void update(train::Session& session, const std::vector<data::Batch>& batches, int64_t finished) {
  int64_t examples = 0;
  for (const data::Batch& batch : batches) examples += batch.B;
  for (size_t i = 0; i < batches.size(); ++i) {
    session.set_step(finished, int64_t(i), double(examples));
    session.micro_batch(batches[i], int64_t(i));
  }
  session.optimizer().step();
}

std::vector<float> floats(train::Session& session, const Tensor& flat) {
  const std::vector<double> v = download_doubles(session.context(), flat);
  return {v.begin(), v.end()};
}

std::vector<std::vector<float>> state_of(train::Session& session) {
  const Parameters& p = session.parameters();
  std::vector<std::vector<float>> state;
  for (const Tensor* t : {&p.values(), &p.compute_values(), &p.moment1(), &p.moment2()})
    state.push_back(floats(session, *t));
  return state;
}

}  // namespace selene::testing
