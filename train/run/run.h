// One run of the trainer, from the opening of its folder to the final test: train/run/trainer.cpp trains,
// train/run/run_start.cpp finds out where to begin.
#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "data/io/durable_file.h"
#include "data/prefetcher.h"
#include "engine/backend.h"
#include "train/folder/metrics.h"
#include "train/measure/profile.h"
#include "train/run/run_state.h"
#include "train/run/trainer.h"
#include "train/step/step_graphs.h"
#include "train/tasks/measures.h"

namespace selene::train {

class Run {
 public:
  Run(const Recipe& recipe, const RunOptions& options);
  RunResult loop();

 private:
  void open_folder();
  void take(const Checkpoint& from, bool of_this_folder);
  void replace_lost_best(const std::string& folder);
  void take_named();
  void set_newer_aside();
  void take_newest();
  void resume();
  void tell_once(const std::vector<std::string>& lines);
  void tidy();
  void follow_folder();
  data::Batch next_batch();
  void keep_updates();
  void one_update();
  void tell_fallbacks();
  void check_finite();
  std::string broken_parameter();
  [[noreturn]] void diverged(const std::string& what);
  void add_measures(MetricsRow& row, const LossSums& sums, Told where) const;
  void log_interval();
  bool save_and_validate(bool stopping);
  void validate();
  void test();
  void steps();
  bool finished() const { return !state_.validation_due && (state_.update >= recipe_.train.updates || stop_early_); }
  void checkpoint();
  std::optional<int64_t> best() const { return state_.has_best ? std::optional(state_.best_update) : std::nullopt; }
  double seconds() const { return state_.wall_s + std::chrono::duration<double>(Clock::now() - start_).count(); }
  bool at_validation() const;
  // Of all ranks together.
  int64_t micro_batches(int64_t updates) const { return updates * recipe_.train.accumulation * group_.size; }
  double epoch() const { return double(micro_batches(state_.update)) / double(loader_->batches_per_epoch()); }

  using Clock = std::chrono::steady_clock;
  Recipe recipe_;
  RunOptions options_;
  std::string folder_, checkpoints_, metrics_path_;
  Group group_;
  std::unique_ptr<Task> task_;
  std::unique_ptr<Backend> module_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<StepGraphs> graphs_;
  std::unique_ptr<data::Loader> loader_;
  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<data::Prefetcher> ahead_;
  std::optional<Profile> profile_;
  RunState state_;
  RunResult result_;
  std::optional<data::FolderLock> lock_;  // two trainers in one folder would mix their metrics and checkpoints
  int64_t interval_examples_ = 0, interval_tokens_ = 0;
  int64_t saved_ = -1;          // update of the newest checkpoint in the folder that this run began from or wrote
  std::set<std::string> told_;  // what is said once
  int64_t fallbacks_ = 0;       // of the stream, that were looked at
  Clock::time_point start_, interval_start_;
  bool stop_early_ = false, loss_is_finite_ = true;
};

/// Where a run of this recipe lives.
std::string run_folder(const Recipe& recipe, const RunOptions& options);

/// The result of a run of this very recipe that was finished and tested already, whose newest checkpoint is whole:
/// its data need not be there.
std::optional<RunResult> finished_before(const Recipe& recipe, const RunOptions& options);

}  // namespace selene::train
