// The data loader beside the model it feeds: batches of a recipe's data made by one thread, and the recipe's training
// steps.
#include <fmt/format.h>

#include <algorithm>

#include "data/io/json.h"
#include "tools/programs/bench.h"
#include "train/step/memory_plan.h"

namespace selene::bench {

void loader(const Arguments& a, const train::Recipe& recipe, const Backend* module) {
  const std::unique_ptr<train::Task> task = train::open_task(recipe);
  const auto& set = task->splits().train;
  const int64_t B = recipe.train.batch_size;
  const data::Loader batches = task->loader(set, data::Order::shuffled);
  batches.make_batch(0);  // the epoch's order is made once
  int64_t tokens = 0, made = 0;
  const double loading = seconds_of([&] {
    for (; made < std::max<int64_t>(a.steps, 4096 / B); ++made) tokens += batches.make_batch(made).tokens;
  });
  const MemoryPlan plan =
      train::with_room(train::plan_memory(*task, train::planned_shapes(*task, {set.get()}), true, module));
  train::Session session(*task, std::make_unique<Context>(plan, module), true);
  double least = 0, step_tokens = 0;  // of the fastest step, by tokens a second
  for (int64_t i = 0; i < a.steps + 1; ++i) {
    const data::Batch batch = batches.make_batch(i);
    const double s = seconds_of([&] {
      session.set_step(i, 0, batch.sample_size);
      session.micro_batch(batch, 0);
      session.optimizer().step();
      session.loss_sums();
    });
    const double rate = double(batch.tokens) / s;
    if (i > 0 && rate > step_tokens) step_tokens = rate, least = s;
  }
  const double load_rate = double(tokens) / loading;
  if (a.json) {
    const data::Json j{{"recipe", recipe.name},
                       {"batch", B},
                       {"batches", made},
                       {"loader_tokens_per_s", load_rate},
                       {"model_tokens_per_s", step_tokens},
                       {"ratio", load_rate / step_tokens}};
    return fmt::print("{}\n", j.dump());
  }
  fmt::print(
      "{}: loader {:.4g} tokens/s on one thread ({:.3f} ms a batch of {}), model {:.4g} tokens/s (best step {:.1f} "
      "ms): "
      "{:.0f} times\n",
      recipe.name, load_rate, 1e3 * loading / double(made), B, step_tokens, 1e3 * least, load_rate / step_tokens);
}

}  // namespace selene::bench
