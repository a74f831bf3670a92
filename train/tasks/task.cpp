// Reading a recipe's data, and scoring a model on a data set.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "data/io/checksum.h"
#include "data/io/stop.h"
#include "data/prepared.h"
#include "kernels/error.h"
#include "train/folder/log.h"
#include "train/run/trainer.h"

namespace selene::train {
namespace {

constexpr int64_t kPlannedLengths = 96;

int64_t longest_row(const data::Dataset& d, const data::Vocabulary& v, int64_t max_length) {
  int64_t longest = 0;
  for (int64_t i = 0; i < d.examples(); ++i) longest = std::max(longest, d.length(i));
  return std::min(v.framed_length(longest), max_length);
}

void tell_cut(const data::Dataset& d, const data::Vocabulary& v, int64_t max_length) {
  if (const int64_t cut = v.count_cut(d, max_length))
    log_warning(fmt::format("{}: {} of {} examples are longer than data.max_length = {} tokens and lose their tail",
                            d.name, cut, d.examples(), max_length));
}

/// Error where a split has images of another size than the training set. That it was made with other options of
/// selene-prepare is only told: the same example might be in both.
void need_alike(const data::Dataset& split, const data::Dataset& train) {
  if (split.kind->image && split.length(0) != train.length(0))
    throw Error(fmt::format("{}: has images of {} pixels, {} of {}", split.name, split.length(0), train.name,
                            train.length(0)));
  if (!split.file || !train.file) return;
  const std::string found = data::metadata_string(*split.file, "options"),
                    wanted = data::metadata_string(*train.file, "options");
  if (found != wanted)
    log_warning(fmt::format("{}: was made with other options than {}, so they may share examples ({:.200}; {:.200})",
                            split.name, train.name, found, wanted));
}

}  // namespace

ModelSize model_size(const Recipe& recipe, const data::Vocabulary& vocabulary,
                     const std::vector<const data::Dataset*>& sets) {
  ModelSize size{{vocabulary.size, vocabulary.pad}, sets[0]->classes(), recipe.data.max_length};
  if (recipe.model.positions != "sinusoidal") return size;  // a learned table is a parameter
  size.max_positions = 1;
  for (const data::Dataset* d : sets)
    size.max_positions = std::max(size.max_positions, longest_row(*d, vocabulary, recipe.data.max_length));
  return size;
}

TaskData load_task(const Recipe& recipe) {
  const data::Kind& kind = data::kind_named(recipe.data.task);
  const auto read = [&](const char* split) {
    return std::make_shared<const data::Dataset>(data::read_split(recipe.data.path, kind, split));
  };
  TaskData task;
  task.train = read("train"), task.valid = read("valid");
  need_alike(*task.valid, *task.train);
  if (data::has_split(recipe.data.path, kind, "test")) task.test = read("test");
  else log_warning(fmt::format("{}: has no test split; the run will end without a test", recipe.data.path));
  task.vocabulary =
      data::build_vocabulary(*task.train, data::frame_named(recipe.data.frame), recipe.model.pooling != "p");
  tell_cut(*task.train, task.vocabulary, recipe.data.max_length);
  tell_cut(*task.valid, task.vocabulary, recipe.data.max_length);
  std::vector<const data::Dataset*> sets{task.train.get(), task.valid.get()};
  if (task.test) need_alike(*task.test, *task.train), sets.push_back(task.test.get());
  task.size = model_size(recipe, task.vocabulary, sets);
  return task;
}

data::LoaderOptions loader_options(const Recipe& recipe, int64_t batch_size, data::Order order) {
  return {batch_size, recipe.data.max_length, order, uint64_t(recipe.train.seed), recipe.model.input == "pixels"};
}

data::Loader file_order(std::shared_ptr<const data::Dataset> data, const data::Vocabulary& vocabulary,
                        const Recipe& recipe, int64_t batch_size) {
  return data::Loader(std::move(data), vocabulary, loader_options(recipe, batch_size, data::Order::file));
}

std::vector<data::Batch> planned_shapes(const Recipe& recipe, const std::vector<const data::Dataset*>& sets,
                                        const data::Vocabulary& vocabulary) {
  int64_t longest = 1;
  for (const data::Dataset* d : sets)
    longest = std::max(longest, longest_row(*d, vocabulary, recipe.data.max_length));
  // A shorter batch has other blocks, which may leave other gaps: look at every length where there are few, the
  // longest last, and at the incomplete batch that ends an epoch.
  std::set<int64_t> sizes;
  for (const data::Dataset* d : sets)
    for (const int64_t B :
         {d->examples() % recipe.train.batch_size, std::min(d->examples(), recipe.train.batch_size)})
      if (B > 0) sizes.insert(B);
  std::vector<data::Batch> shapes;
  const int64_t lengths = std::min<int64_t>(longest, kPlannedLengths);
  for (int64_t i = 1; i <= lengths; ++i)
    for (const int64_t B : sizes)
      shapes.push_back(shape_batch(B, (longest * i + lengths - 1) / lengths, recipe.model));
  return shapes;
}

Score score(Session& session, const data::Loader& loader, int64_t examples, int64_t prefetch,
            const OnBatch& on_batch) {
  if (examples && examples < loader.data().examples()) {
    const data::Loader fewer(std::make_shared<const data::Dataset>(loader.data().first(examples)),
                             loader.vocabulary(), loader.options());
    return score(session, fewer, 0, prefetch, on_batch);
  }
  const int64_t batches = loader.batches_per_epoch();
  const LossSums kept = session.loss_sums();
  session.set_loss_sums({});
  const auto start = std::chrono::steady_clock::now();
  data::Prefetcher ahead([&](int64_t i) { return loader.make_batch(i); }, 0, 1, prefetch, batches);
  try {
    for (int64_t i = 0; i < batches; ++i) {
      data::check_stop();
      const data::Batch batch = ahead.next();
      const std::vector<float> logits = session.evaluate(batch);
      if (on_batch) on_batch(batch, logits);
    }
  } catch (const Error&) {
    session.set_loss_sums(kept);
    throw;
  }
  const LossSums sums = session.loss_sums();
  session.set_loss_sums(kept);
  const double n = std::max(sums.count, 1.0);
  return {sums.nll / n, sums.correct / n, int64_t(sums.count),
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

}  // namespace selene::train
