#include "train/run/validation.h"

#include <chrono>

#include "data/io/stop.h"
#include "data/prefetcher.h"
#include "kernels/error.h"

namespace selene::train {

Score score(Session& session, const std::shared_ptr<const data::Dataset>& data, int64_t examples,
            const OnBatch& on_batch) {
  const Task& task = session.task();
  const auto part = examples ? std::make_shared<const data::Dataset>(task.first(*data, examples)) : data;
  const data::Loader loader = task.loader(part, data::Order::file);
  const int64_t batches = loader.batches_per_epoch();
  const LossSums kept = session.loss_sums();
  session.set_loss_sums({});
  Score score;
  const auto start = std::chrono::steady_clock::now();
  data::Prefetcher ahead([&](int64_t i) { return loader.make_batch(i); }, 0, task.recipe().data.prefetch, batches);
  try {
    for (int64_t i = 0; i < batches; ++i) {
      data::check_stop();
      const data::Batch batch = ahead.next();
      session.evaluate(batch, [&](const Tensor& outputs) {
        if (on_batch) on_batch(batch, outputs);
      });
      score.examples += batch.B;
    }
  } catch (const Error&) {
    session.set_loss_sums(kept);
    throw;
  }
  score.sums = session.loss_sums();
  session.set_loss_sums(kept);
  score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return score;
}

}  // namespace selene::train
