#include "train/run/trainer.h"

#include <fmt/format.h>

#include <cmath>

#include "data/io/progress.h"
#include "data/io/stop.h"
#include "kernels/error.h"
#include "train/folder/log.h"
#include "train/folder/run_folder.h"
#include "train/measure/floor.h"
#include "train/run/run.h"
#include "train/run/threads.h"
#include "train/run/validation.h"
#include "train/step/schedule.h"
#include "train/tasks/measures.h"

namespace selene::train {

// Data that was changed under the run ends it, with a checkpoint of the updates until then.
data::Batch Run::next_batch() {
  try {
    return ahead_->next();
  } catch (const Error&) {
    keep_updates();
    throw;
  }
}

void Run::keep_updates() {
  if (state_.update > 0 && saved_ != state_.update) checkpoint();
}

void Run::one_update() {
  std::vector<data::Batch> batches;
  double sample_size = 0;
  for (int64_t i = 0; i < recipe_.train.accumulation; ++i) {
    const data::Batch& batch = batches.emplace_back(next_batch());
    sample_size += batch.sample_size, interval_examples_ += batch.B, interval_tokens_ += batch.tokens;
  }
  for (size_t i = 0; i < batches.size(); ++i) {
    session_->set_step(state_.update, int64_t(i), sample_size);
    graphs_->micro_batch(batches[i], int64_t(i));
  }
  graphs_->optimizer_step();
  tell_fallbacks();
  ++state_.update;
}

// What makes a run slower than it could be: a line for each reason, with the first shape that it is true of.
void Run::tell_fallbacks() {
  for (const Fallback& f : session_->context().stream().fallbacks(fallbacks_)) {
    ++fallbacks_;
    const std::string what = fmt::format("{} {}", name_of(f.operation), name_of(f.dtype));
    if (told_.insert(what + f.reason).second)
      log_info(fmt::format("{} runs slower kernels, for example {}: {}", what, f.shape, f.reason));
  }
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

std::string Run::broken_parameter() {
  Parameters& p = session_->parameters();
  for (int i = 0; i < int(p.count()); ++i)
    for (const float x : session_->context().values<float>(p.master(i)))
      if (!std::isfinite(x)) return p[i].name;
  return "";
}

// A model that has diverged is no result: nothing of it is kept.
void Run::diverged(const std::string& what) {
  const std::string where = broken_parameter();
  throw Error(fmt::format(
      "update {}: {} is not finite{}; the run stops, its checkpoints are as they were; a lower optim.lr or "
      "a longer schedule.warmup may help",
      state_.update, what, where.empty() ? "" : ", " + where + " holds NaN or Inf"));
}

void Run::add_measures(MetricsRow& row, const LossSums& sums, Told where) const {
  for (const auto& [measure, value] : measured(recipe_, sums, where)) row.add(measure->name, value);
}

void Run::log_interval() {
  check_finite();
  const LossSums sums = session_->loss_sums();
  loss_is_finite_ = std::isfinite(sums.loss);
  session_->set_loss_sums({});
  const double took = std::chrono::duration<double>(Clock::now() - interval_start_).count();
  MetricsRow row{"train", state_.update, {}};
  row.add("epoch", epoch());
  add_measures(row, sums, in_training);
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
  const int64_t per_epoch = loader_->batches_per_epoch();
  return micro_batches(state_.update) / per_epoch > micro_batches(state_.update - 1) / per_epoch;
}

void Run::validate() {
  Score s;
  try {
    s = score(*session_, task_->splits().valid, recipe_.train.validate_examples);
  } catch (const data::Interrupted&) {
    return log_warning(fmt::format("update {}: the validation was interrupted", state_.update));
  } catch (const Error&) {  // the data was changed, as in next_batch
    keep_updates();
    throw;
  }
  if (!std::isfinite(s.sums.nll)) diverged("the loss of the validation data");
  MetricsRow row{"valid", state_.update, {}};
  row.add("epoch", epoch());
  add_measures(row, s.sums, in_validation);
  row.add("parameters", double(session_->parameters().true_elements()));
  row.add("examples_per_s", s.examples_per_s()).add("wall_s", seconds());
  metrics_->append(row);
  log_info(key_values(row));
  state_.validation_due = false;
  const Measure& measure = *find_measure(recipe_.task, recipe_.train.best_metric);
  const double value = measure.of(s.sums);
  const bool better = !state_.has_best || (measure.higher_is_better ? value > state_.best : value < state_.best);
  if (better) {
    state_.has_best = true, state_.best = value, state_.best_update = state_.update, state_.worse_validations = 0;
  } else if (++state_.worse_validations >= recipe_.train.patience && recipe_.train.patience > 0) {
    log_info(fmt::format("stopped early: {} validations without a better {} than {} at update {}",
                         state_.worse_validations, recipe_.train.best_metric, state_.best, state_.best_update));
    stop_early_ = true;
  }
  // The best one is written in any case, and a checkpoint of before the validation learns what it said.
  if (better || finished() || saved_ == state_.update) checkpoint();
}

void Run::checkpoint() {
  check_finite();
  follow_folder();
  RunState s = state_;
  s.sums = session_->loss_sums();
  // With fp16 updates are skipped for a while before a run stops: the states of before are worth more.
  if (!(loss_is_finite_ && std::isfinite(s.sums.loss)) && !finished())
    return log_warning(fmt::format("update {}: the training loss is not finite; no checkpoint is written", s.update));
  if (!broken_parameter().empty()) diverged("the model");
  metrics_->sync();
  s.wall_s = seconds(), s.scaling = session_->optimizer().state();
  result_.checkpoint = save_run(checkpoints_, *session_, s);
  saved_ = s.update;
  tidy();
  log_debug(fmt::format("checkpoint {}", result_.checkpoint));
}

// What is due is durable before the validation, which may take long. Neither counts as time of training.
bool Run::save_and_validate(bool stopping) {
  const auto before = Clock::now();
  if (profile_) profile_->pause();
  stopping = stopping || data::stop_signal();
  const auto save = [&](bool due) {
    if (due && saved_ != state_.update) checkpoint();
  };
  save(stopping || state_.update % recipe_.train.checkpoint_every == 0 || state_.update == recipe_.train.updates);
  if (state_.validation_due && !stopping) {
    validate();
    save(stopping = data::stop_signal());
  }
  if (profile_) profile_->resume();
  interval_start_ += Clock::now() - before;
  return stopping;
}

// The number to compare with others: the best checkpoint on the test split, once, at the end.
void Run::test() {
  if (!task_->splits().test || !state_.has_best) return;
  for (const MetricsRow& row : read_metrics(metrics_path_).rows)
    if (row.kind == "test") return;
  const BestCheckpoint best = best_checkpoint(checkpoints_, state_.best_update);
  if (!best.found) throw Error(best.lost);
  if (!best.lost.empty())
    tell_once(
        {fmt::format("{}; it was the best checkpoint, update {} takes its place", best.lost, best.found->update)});
  load_weights(best.found->file, *session_);
  const Score s = score(*session_, task_->splits().test);
  if (!std::isfinite(s.sums.nll)) diverged("the loss of the test data");
  MetricsRow row{"test", state_.update, {}};
  add_measures(row, s.sums, in_validation);
  row.add("best_update", double(best.found->update));
  row.add("examples_per_s", s.examples_per_s()).add("wall_s", seconds());
  metrics_->append(row);
  metrics_->sync();
  log_info(key_values(row));
}

void Run::steps() {
  const TrainConfig& t = recipe_.train;
  ahead_ = std::make_unique<data::Prefetcher>(
      [this](int64_t own) { return loader_->make_batch(group_.number(own, recipe_.train.accumulation)); },
      state_.update * t.accumulation, recipe_.data.prefetch, t.updates * t.accumulation);
  if (options_.profile) profile_.emplace(session_->context().stream());
  const int64_t first = state_.update;
  data::Progress progress("train", "updates", t.updates, first, 0);
  // Where the run was stopped before a validation, that comes first.
  bool stopping = state_.validation_due && save_and_validate(false);
  while (!stopping && !finished()) {
    one_update();
    if (!module_) check_finite();
    if (state_.update % t.log_every == 0 || state_.update == t.updates) log_interval();
    state_.validation_due = at_validation();
    stopping = save_and_validate(options_.profile && state_.update - first == options_.profile);
    progress.set(state_.update);
  }
  progress.finish();
  if (profile_) profile_->write(folder_, state_.update - first);
}

RunResult Run::loop() {
  if (options_.dry_run) {
    tell_floor(*task_, *task_->splits().train, module_.get());
    return result_;
  }
  // A named checkpoint is read before the folder is made, so that a bad one leaves nothing behind.
  if (options_.resume != "auto" && options_.resume != "none") take_named();
  data::listen_for_stop();
  open_folder();
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
