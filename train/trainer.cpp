#include "train/trainer.h"

#include <fmt/format.h>
#include <omp.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "data/durable_file.h"
#include "data/progress.h"
#include "data/regular_file.h"
#include "data/stop.h"
#include "kernels/error.h"
#include "train/floor.h"
#include "train/log.h"
#include "train/profile.h"
#include "train/run_state.h"
#include "train/schedule.h"
#include "train/step_graphs.h"
#include "train/threads.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;

std::string run_folder(const Recipe& recipe, const RunOptions& options) {
  return options.out.empty() ? "runs/" + recipe.name : options.out;
}

class Run {
 public:
  Run(const Recipe& recipe, const RunOptions& options);
  RunResult loop();

 private:
  void open_folder();
  void take(const Checkpoint& from);
  void resume();
  data::Batch next_batch();
  void one_update();
  void check_finite();
  void check_loss(const char* data, double loss);
  void log_interval();
  void validate();
  void test();
  void steps();
  bool finished() const { return state_.update >= recipe_.train.updates || stop_early_; }
  void checkpoint(bool best);
  double seconds() const { return state_.wall_s + std::chrono::duration<double>(Clock::now() - start_).count(); }
  bool at_validation() const;
  double epoch() const {
    return double(state_.update * recipe_.train.accumulation) / double(loader_->batches_per_epoch());
  }

  using Clock = std::chrono::steady_clock;
  Recipe recipe_;
  RunOptions options_;
  std::string folder_, checkpoints_, metrics_path_;
  TaskData task_;
  std::unique_ptr<Module> module_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<StepGraphs> graphs_;
  std::unique_ptr<data::Loader> loader_;
  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<data::Prefetcher> ahead_;
  RunState state_;
  RunResult result_;
  std::optional<data::FolderLock> lock_;  // two trainers in one folder would mix their metrics and checkpoints
  int64_t interval_examples_ = 0, interval_tokens_ = 0;
  Clock::time_point start_, interval_start_;
  bool stop_early_ = false, loss_is_finite_ = true;
};

Run::Run(const Recipe& recipe, const RunOptions& options)
    : recipe_(recipe), options_(options), task_(load_task(recipe)) {
  std::string why;
  module_ = choose_device(options.device, &why);
  log_info(module_ ? "device: " + module_->describe()
                   : fmt::format("device: CPU, {} threads, {}{}", omp_get_max_threads(), instruction_set(),
                                 why.empty() ? "" : " (" + why + ")"));
  need_device(recipe_, module_.get());
  std::vector<const data::Dataset*> sets{task_.train.get(), task_.valid.get()};
  if (task_.test) sets.push_back(task_.test.get());
  const MemoryPlan plan =
      tell_plan(recipe_, task_.size, planned_shapes(recipe_, sets, task_.vocabulary), module_.get());
  if (options.dry_run) return;
  session_ = std::make_unique<Session>(recipe_, task_.size, std::make_unique<Context>(plan, module_.get()), true);
  state_.train_data = task_.train->digest();
  graphs_ = std::make_unique<StepGraphs>(*session_, options.graph && !options.profile);
  log_info(fmt::format("model: {} parameters", session_->parameters().true_elements()));
  const data::Order order = recipe_.data.group_by_length ? data::Order::by_length : data::Order::shuffled;
  loader_ = std::make_unique<data::Loader>(task_.train, task_.vocabulary,
                                           loader_options(recipe_, recipe_.train.batch_size, order));
}

void Run::open_folder() {
  folder_ = run_folder(recipe_, options_);
  checkpoints_ = folder_ + "/checkpoints", metrics_path_ = folder_ + "/metrics.jsonl";
  std::error_code failed;
  if (fs::is_directory(folder_, failed) && !fs::is_empty(folder_) && !fs::exists(checkpoints_))
    throw Error(fmt::format("{}: is not empty and not the folder of a run; give another --out", folder_));
  fs::create_directories(checkpoints_, failed);
  if (failed) throw Error(fmt::format("{}: the run folder can't be made: {}", folder_, failed.message()));
  if (lock_.emplace(checkpoints_).taken())
    throw Error(fmt::format("{}: another selene-train works in this run folder", checkpoints_));
  for (const std::string& place : {folder_, checkpoints_}) data::remove_leftovers(place);
  open_log(folder_ + "/log.txt");
}

void Run::take(const Checkpoint& from) {
  const std::string now = state_.train_data;
  state_ = load_run(from, *session_);
  if (state_.train_data != now)
    throw Error(
        fmt::format("{}: was trained on other examples than {} has (digest {}, now {}); go on with the old data, "
                    "or start anew in another --out folder",
                    from.file.path(), task_.train->name, state_.train_data, now));
  result_.checkpoint = from.file.path();
}

void Run::resume() {
  if (options_.resume == "auto") {
    const NewestCheckpoint newest = newest_valid_checkpoint(checkpoints_);
    for (const RefusedCheckpoint& r : newest.refused) log_warning(fmt::format("checkpoint refused: {}", r.reason));
    if (newest.found) take(*newest.found);
  } else if (options_.resume == "none" && !list_checkpoints(checkpoints_).empty()) {
    throw Error(fmt::format(
        "{}: has checkpoints of an earlier run, and --resume none would mix the two; give another --out", folder_));
  }
  if (!result_.checkpoint.empty()) {
    log_info(fmt::format("resumed from {} (update {})", result_.checkpoint, state_.update));
    stop_early_ = recipe_.train.patience > 0 && state_.worse_validations >= recipe_.train.patience;
    if (finished()) {
      log_info(fmt::format("the run is finished: update {}, train.updates is {}; nothing to train", state_.update,
                           recipe_.train.updates));
      return;
    }
    truncate_after(metrics_path_, state_.update);
  } else {
    log_info("started anew");
    fs::remove(metrics_path_);
  }
  data::write_durably(folder_ + "/recipe.yaml", to_yaml(recipe_));
}

// Data that was changed under the run ends it, with a checkpoint of the updates until then.
data::Batch Run::next_batch() {
  try {
    return ahead_->next();
  } catch (const Error&) {
    if (state_.update > 0) checkpoint(false);
    throw;
  }
}

void Run::one_update() {
  std::vector<data::Batch> batches;
  int64_t examples = 0;
  for (int64_t i = 0; i < recipe_.train.accumulation; ++i) {
    batches.push_back(next_batch());
    examples += batches.back().B;
    for (const data::Tower& tower : batches.back().towers)
      for (const int32_t n : tower.lengths) interval_tokens_ += n;
  }
  for (size_t i = 0; i < batches.size(); ++i) {
    session_->set_step(state_.update, int64_t(i), double(examples));
    graphs_->micro_batch(batches[i], int64_t(i));
  }
  graphs_->optimizer_step();
  ++state_.update;
  interval_examples_ += examples;
}

// NaN is reported, never repaired: the device has left the parameters as they were before. On the CPU looking costs
// nothing; elsewhere once an interval.
void Run::check_finite() {
  const UpdateState s = session_->optimizer().state();
  if (!s.stopped) return;
  const std::string scale =
      recipe_.train.precision == "fp16" ? fmt::format(" at the smallest loss scale, {}", s.scale) : "";
  throw Error(
      fmt::format("update {}: the gradient of {} is not finite{}; the run stops, its checkpoints are as they were",
                  s.bad_update + 1, session_->optimizer().first_not_finite(), scale));
}

// A model that has diverged is no result: nothing of it is kept as the best.
void Run::check_loss(const char* data, double loss) {
  if (std::isfinite(loss)) return;
  Parameters& p = session_->parameters();
  std::string where;
  for (int i = 0; i < int(p.count()) && where.empty(); ++i)
    for (const float x : session_->context().values<float>(p.master(i)))
      if (!std::isfinite(x)) where = p[i].name;
  throw Error(
      fmt::format("update {}: the loss of the {} data is not finite{}; the run stops, its checkpoints are as "
                  "they were; a lower optim.lr or a longer schedule.warmup may help",
                  state_.update, data, where.empty() ? "" : " and " + where + " holds NaN or Inf"));
}

void Run::log_interval() {
  check_finite();
  const LossSums sums = session_->loss_sums();
  loss_is_finite_ = std::isfinite(sums.loss);
  session_->set_loss_sums({});
  const double took = std::chrono::duration<double>(Clock::now() - interval_start_).count();
  MetricsRow row{"train", state_.update, {}};
  row.add("epoch", epoch()).add("loss", sums.loss / sums.count).add("accuracy", sums.correct / sums.count);
  row.add("lr", learning_rate(recipe_.schedule, recipe_.optim.lr, recipe_.train.updates, state_.update - 1));
  row.add("grad_norm", session_->optimizer().norm());
  if (recipe_.train.precision == "fp16") {
    const UpdateState scaling = session_->optimizer().state();
    row.add("loss_scale", scaling.scale).add("skipped", double(scaling.skipped));
  }
  row.add("examples_per_s", double(interval_examples_) / took)
      .add("tokens_per_s", double(interval_tokens_) / took)
      .add("wall_s", seconds());
  metrics_->append(row);
  log_info(key_values(row));
  interval_examples_ = interval_tokens_ = 0, interval_start_ = Clock::now();
}

bool Run::at_validation() const {
  if (state_.update == recipe_.train.updates) return true;
  if (const int64_t every = recipe_.train.validate_every) return state_.update % every == 0;
  const int64_t per_epoch = loader_->batches_per_epoch(), seen = state_.update * recipe_.train.accumulation;
  return seen / per_epoch > (seen - recipe_.train.accumulation) / per_epoch;
}

void Run::validate() {
  const auto before = Clock::now();
  const data::Loader loader = file_order(task_.valid, task_.vocabulary, recipe_, recipe_.train.batch_size);
  Score s;
  try {
    s = score(*session_, loader, recipe_.train.validate_examples, recipe_.data.prefetch);
  } catch (const data::Interrupted&) {
    return log_warning(fmt::format("update {}: the validation was interrupted", state_.update));
  }
  check_loss("validation", s.loss);
  MetricsRow row{"valid", state_.update, {}};
  row.add("epoch", epoch()).add("loss", s.loss).add("accuracy", s.accuracy);
  row.add("parameters", double(session_->parameters().true_elements()));
  row.add("examples_per_s", double(s.examples) / s.seconds).add("wall_s", seconds());
  metrics_->append(row);
  log_info(key_values(row));
  const bool by_loss = recipe_.train.best_metric == "loss";
  const double value = by_loss ? s.loss : s.accuracy;
  const bool better = !state_.has_best || (by_loss ? value < state_.best : value > state_.best);
  if (better) {
    state_.has_best = true, state_.best = value, state_.best_update = state_.update, state_.worse_validations = 0;
    checkpoint(true);
  } else if (++state_.worse_validations >= recipe_.train.patience && recipe_.train.patience > 0) {
    log_info(fmt::format("stopped early: {} validations without a better {} than {} at update {}",
                         state_.worse_validations, recipe_.train.best_metric, state_.best, state_.best_update));
    stop_early_ = true;
  }
  interval_start_ += Clock::now() - before;
}

void Run::checkpoint(bool best) {
  if (!best && checkpoint_name(state_.update) == fs::path(result_.checkpoint).filename()) return;  // written already
  const auto before = Clock::now();
  check_finite();
  RunState s = state_;
  s.sums = session_->loss_sums();
  // With fp16 updates are skipped for a while before a run stops: the states of before are worth more.
  if (!(loss_is_finite_ && std::isfinite(s.sums.loss)) && !finished())
    return log_warning(fmt::format("update {}: the training loss is not finite; no checkpoint is written", s.update));
  metrics_->sync();
  s.wall_s = seconds(), s.scaling = session_->optimizer().state();
  result_.checkpoint = save_run(checkpoints_, *session_, s, task_.vocabulary.to_json(), best);
  log_debug(fmt::format("checkpoint {}", result_.checkpoint));
  interval_start_ += Clock::now() - before;
}

// The number to compare with others: the best checkpoint on the test split, once, at the end.
void Run::test() {
  if (!task_.test || !state_.has_best) return;
  for (const MetricsRow& row : read_metrics(metrics_path_).rows)
    if (row.kind == "test") return;
  load_weights(open_checkpoint(checkpoints_ + "/best").file, *session_);
  const data::Loader loader = file_order(task_.test, task_.vocabulary, recipe_, recipe_.train.batch_size);
  const Score s = score(*session_, loader, 0, recipe_.data.prefetch);
  check_loss("test", s.loss);
  MetricsRow row{"test", state_.update, {}};
  row.add("loss", s.loss).add("accuracy", s.accuracy).add("best_update", double(state_.best_update));
  row.add("examples_per_s", double(s.examples) / s.seconds).add("wall_s", seconds());
  metrics_->append(row);
  log_info(key_values(row));
}

void Run::steps() {
  const TrainConfig& t = recipe_.train;
  ahead_ = std::make_unique<data::Prefetcher>([this](int64_t i) { return loader_->make_batch(i); },
                                              state_.update * t.accumulation, 1, recipe_.data.prefetch,
                                              t.updates * t.accumulation);
  std::optional<Profile> profile;
  if (options_.profile) profile.emplace(session_->context().stream());
  const int64_t first = state_.update;
  data::Progress progress("train", "updates", t.updates, first, 0);
  while (!finished()) {
    one_update();
    if (!module_) check_finite();
    bool stopping = options_.profile && state_.update - first == options_.profile;
    if (state_.update % t.log_every == 0 || state_.update == t.updates) log_interval();
    if (at_validation()) validate();
    stopping = stopping || data::stop_signal();
    if (state_.update % t.checkpoint_every == 0 || finished() || stopping) checkpoint(false);
    progress.set(state_.update);
    if (stopping) break;
  }
  progress.finish();
  if (profile) profile->write(folder_, state_.update - first);
}

RunResult Run::loop() {
  if (options_.dry_run) {
    tell_floor(recipe_, task_.size, planned_shapes(recipe_, {task_.train.get()}, task_.vocabulary).back(),
               module_.get());
    return result_;
  }
  // A named checkpoint is read before the folder is made, so that a bad one leaves nothing behind.
  const bool named = options_.resume != "auto" && options_.resume != "none";
  if (named) take(open_checkpoint(options_.resume));
  data::listen_for_stop();
  open_folder();
  if (named && !fs::exists(checkpoints_ + "/best")) state_.has_best = false, state_.worse_validations = 0;
  resume();
  metrics_ = std::make_unique<MetricsWriter>(metrics_path_);
  start_ = interval_start_ = Clock::now();
  if (!finished()) steps();
  result_.update = state_.update, result_.finished = finished();
  result_.interrupted = !result_.finished && data::stop_signal();
  if (!result_.finished) return result_;
  try {
    test();
  } catch (const data::Interrupted&) {
    log_warning("the training is finished, its final test is missing; the same command makes it");
    result_.finished = false, result_.interrupted = true;
  }
  return result_;
}

/// The result of a run of this very recipe that was finished and tested already, whose newest checkpoint is whole:
/// its data need not be there.
std::optional<RunResult> finished_before(const Recipe& recipe, const RunOptions& options) {
  const std::string folder = run_folder(recipe, options), metrics = folder + "/metrics.jsonl";
  if (options.dry_run || options.resume != "auto" || !fs::exists(metrics)) return std::nullopt;
  const std::string written = folder + "/recipe.yaml";
  if (!fs::exists(written) || data::read_regular_file(written, largest_recipe, "a recipe") != to_yaml(recipe))
    return std::nullopt;
  const NewestCheckpoint newest = newest_valid_checkpoint(folder + "/checkpoints");
  if (!newest.found || !newest.refused.empty()) return std::nullopt;
  for (const MetricsRow& row : read_metrics(metrics).rows)
    if (row.kind == "test" && row.update == newest.found->update) {
      log_info(fmt::format("{}: this run is finished and tested; nothing to train", folder));
      return RunResult{row.update, true, false, newest.found->file.path()};
    }
  return std::nullopt;
}

}  // namespace

RunResult train(const Recipe& recipe, const RunOptions& options) {
  if (const auto before = finished_before(recipe, options)) return *before;
  use_threads(recipe.train.threads);
  try {
    return Run(recipe, options).loop();
  } catch (const Error& e) {
    log_to_file(LogLevel::error, e.what());
    throw;
  }
}

}  // namespace selene::train
