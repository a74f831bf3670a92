#include <fmt/format.h>
#include <omp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

#include "data/io/clutter.h"
#include "data/io/regular_file.h"
#include "kernels/error.h"
#include "train/folder/log.h"
#include "train/folder/run_folder.h"
#include "train/run/run.h"
#include "train/step/memory_plan.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;

bool same_place(const fs::path& a, const fs::path& b) {
  std::error_code none;
  return fs::equivalent(a, b, none);
}

/// Whether a folder is there that a run must not fill. What operating systems leave everywhere does not count.
bool holds_something_else(const std::string& folder) {
  std::error_code none;
  if (fs::exists(folder + "/checkpoints", none)) return false;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, none))
    if (!data::is_clutter(entry.path().filename().string())) return true;
  return false;
}

bool holds_recipe(const std::string& path) {
  try {
    parse_recipe(data::read_regular_file(path, kLargestRecipe, "a recipe"), path);
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Killed runs' temporary files, in both folders of a run.
void remove_all_leftovers(const std::string& folder) {
  for (const std::string& place : {folder, folder + "/checkpoints"}) data::remove_leftovers(place);
}

// What a start does where nothing is left to train, unless another process does it.
void tidy_finished(const std::string& folder, const RunCheckpoints& all, int64_t keep) {
  const std::string checkpoints = folder + "/checkpoints";
  if (data::FolderLock(checkpoints).taken()) return;
  remove_all_leftovers(folder);
  if (!all.lost.empty()) log_warning(fmt::format("{}; it was the best checkpoint", all.lost));
  const int64_t last = all.newest->update;
  const std::optional<int64_t> best = all.validated ? std::optional(all.best->update) : std::nullopt;
  for (const std::string& line : put_links_right(checkpoints, last, best)) log_warning(line);
  for (const std::string& line : remove_old(checkpoints, keep, last, best)) log_warning(line);
}

}  // namespace

std::string run_folder(const Recipe& recipe, const RunOptions& options) {
  return options.out.empty() ? "runs/" + recipe.name : options.out;
}

Run::Run(const Recipe& recipe, const RunOptions& options)
    : recipe_(recipe), options_(options), task_(open_task(recipe)) {
  std::string why;
  module_ = choose_device(options.device, &why);
  log_info(module_ ? "device: " + module_->describe()
                   : fmt::format("device: CPU, {} threads, {}{}", omp_get_max_threads(), instruction_set(),
                                 why.empty() ? "" : " (" + why + ")"));
  need_device(recipe_, module_.get());
  if (!module_ && recipe_.train.tf32) log_info("train.tf32 changes nothing on the CPU");
  const Splits& splits = task_->splits();
  std::vector<const data::Dataset*> sets{splits.train.get(), splits.valid.get()};
  if (splits.test) sets.push_back(splits.test.get());
  const MemoryPlan plan = tell_plan(*task_, sets, module_.get());
  if (options.dry_run) return;
  session_ = std::make_unique<Session>(*task_, std::make_unique<Context>(plan, module_.get()), true, group_);
  state_.train_data = splits.train->digest(), state_.valid_data = splits.valid->digest();
  state_.test_data = splits.test ? splits.test->digest() : "";
  graphs_ = std::make_unique<StepGraphs>(*session_, options.graph && !options.profile);
  log_info(fmt::format("model: {} parameters", session_->parameters().true_elements()));
  const data::Order order = recipe_.data.group_by_length ? data::Order::by_length : data::Order::shuffled;
  loader_ = std::make_unique<data::Loader>(task_->loader(splits.train, order));
}

void Run::open_folder() {
  folder_ = run_folder(recipe_, options_);
  checkpoints_ = folder_ + "/checkpoints", metrics_path_ = folder_ + "/metrics.jsonl";
  std::error_code failed;
  if (fs::exists(metrics_path_, failed) && !fs::exists(checkpoints_, failed))
    throw Error(fmt::format("{}: has the metrics of a run and no checkpoints; put them back, or give another --out",
                            folder_));
  if (holds_something_else(folder_))
    throw Error(fmt::format("{}: is not empty and not the folder of a run; give another --out", folder_));
  if (fs::exists(folder_, failed) && !fs::is_directory(folder_, failed))
    throw Error(fmt::format("{}: is a file, wanted a new folder or the folder of a run", folder_));
  fs::create_directories(checkpoints_, failed);
  if (std::error_code none; failed && fs::is_symlink(folder_, none))
    throw Error(fmt::format("{}: is a link to {}, which is not there", folder_, fs::read_symlink(folder_).string()));
  if (failed) throw Error(fmt::format("{}: the run folder can't be made: {}", folder_, failed.message()));
  // Better now than when the first checkpoint is due.
  for (const std::string& place : {folder_, checkpoints_})
    if (access(place.c_str(), W_OK | X_OK) != 0)
      throw Error(fmt::format("{}: cannot be written into: {}", place, strerror(errno)));
  if (lock_.emplace(checkpoints_).taken())
    throw Error(fmt::format("{}: another selene-train works in this run folder", checkpoints_));
  remove_all_leftovers(folder_);
  open_log(folder_ + "/log.txt");
}

void Run::tell_once(const std::vector<std::string>& lines) {
  for (const std::string& line : lines)
    if (told_.insert(line).second) log_warning(line);
}

// Log, metrics and lock go with a folder that somebody moves, and so do the checkpoints; one under the old name would
// be another run's.
void Run::follow_folder() {
  const std::string now = lock_->place();
  if (now.empty()) throw Error(fmt::format("{}: was removed while the run used it; the run stops", checkpoints_));
  if (same_place(now, checkpoints_)) return;
  log_warning(fmt::format("{}: has become {}; the run goes on there", checkpoints_, now));
  checkpoints_ = now, folder_ = fs::path(now).parent_path(), metrics_path_ = folder_ + "/metrics.jsonl";
}

// Links and old checkpoints: after every checkpoint, and at every start, as the run may have ended between the two.
void Run::tidy() {
  tell_once(put_links_right(checkpoints_, saved_ < 0 ? std::nullopt : std::optional(saved_), best()));
  if (saved_ >= 0) tell_once(remove_old(checkpoints_, recipe_.train.keep, saved_, best()));
}

// Where the best checkpoint is gone this one takes its place, until the next validation.
void Run::replace_lost_best(const std::string& folder) {
  if (!state_.has_best || state_.best_update == state_.update) return;
  const std::string lost = best_checkpoint(folder, state_.best_update).lost;
  if (lost.empty()) return;
  log_warning(fmt::format("{}; it was the best checkpoint, update {} takes its place", lost, state_.update));
  state_.best_update = state_.update, state_.worse_validations = 0;
  const bool higher = find_measure(recipe_.task, recipe_.train.best_metric)->higher_is_better;
  state_.best = higher ? std::numeric_limits<double>::lowest() : std::numeric_limits<double>::max();
}

// Scores on other examples cannot be compared; in another folder the best score starts anew.
void Run::take(const Checkpoint& from, bool of_this_folder) {
  const RunState now = state_;
  state_ = state_of(from, recipe_);
  const auto need_same = [&](const char* what, const std::string& name, const std::string& old,
                             const std::string& found, const char* help) {
    if (old != found)
      throw Error(fmt::format(
          "{}: was {} on other examples than {} has (digest {}, now {}); go on with the old data, "
          "or {}",
          from.file.path(), what, name, old.empty() ? "none" : old, found.empty() ? "none" : found, help));
  };
  need_same("trained", task_->splits().train->name, state_.train_data, now.train_data,
            "start anew in another --out folder");
  if (of_this_folder) {
    const char* help = "take --resume FILE into another --out folder, where the best score starts anew";
    need_same("validated", task_->splits().valid->name, state_.valid_data, now.valid_data, help);
    const std::string test =
        task_->splits().test ? task_->splits().test->name : "the test split of " + recipe_.data.path;
    if (!state_.test_data.empty()) need_same("to be tested", test, state_.test_data, now.test_data, help);
    saved_ = state_.update;
    replace_lost_best(fs::path(from.file.path()).parent_path());
  } else {
    state_.valid_data = now.valid_data, state_.test_data = now.test_data;
    state_.has_best = false, state_.worse_validations = 0;
  }
  restore_run(from, state_, *session_);
  result_.checkpoint = from.file.path();
}

void Run::take_named() {
  const std::string run = checkpoint_folder(options_.resume);  // means its newest here
  const MeantFile meant = meant_file(run.empty() ? options_.resume : run + "/last");
  tell_once(meant.told);
  const fs::path folder = fs::path(meant.path).parent_path();
  const std::string here = run_folder(recipe_, options_) + "/checkpoints";
  take(open_checkpoint(meant.path), same_place(folder.empty() ? "." : folder, here));
}

void Run::take_newest() {
  const NewestCheckpoint newest = newest_valid_checkpoint(checkpoints_);
  if (newest.found)
    for (const RefusedCheckpoint& r : newest.refused) log_warning(fmt::format("checkpoint refused: {}", r.reason));
  // Whatever is wrong with them (another version, rights, a disk's error), a new run in their place would end them.
  if (!newest.found && !newest.refused.empty())
    throw Error(
        fmt::format("{}: none of its {} checkpoints can be taken ({}); mend or move them, or give another --out",
                    checkpoints_, newest.refused.size(), newest.refused.front().reason));
  if (newest.found) take(*newest.found, true);
}

// The next start would take up the newer ones, without the updates that came between.
void Run::set_newer_aside() {
  for (const CheckpointName& newer : list_checkpoints(checkpoints_)) {
    if (newer.update <= state_.update) break;
    std::error_code failed;
    fs::rename(newer.path, newer.path + ".aside", failed);
    if (failed) throw Error(fmt::format("{}: cannot be set aside: {}", newer.path, failed.message()));
    log_warning(fmt::format("{} is newer than what the run goes on from; it is kept as {}.aside", newer.path,
                            checkpoint_name(newer.update)));
  }
}

void Run::resume() {
  if (options_.resume == "auto") {
    take_newest();
  } else if (saved_ >= 0) {
    set_newer_aside();
  } else if (!list_checkpoints(checkpoints_).empty()) {
    throw Error(
        fmt::format("{}: has checkpoints of an earlier run, and --resume {} would mix the two; give another --out",
                    folder_, options_.resume));
  }
  tidy();
  if (!result_.checkpoint.empty()) {
    log_info(fmt::format("resumed from {} (update {})", result_.checkpoint, state_.update));
    stop_early_ = recipe_.train.patience > 0 && state_.worse_validations >= recipe_.train.patience;
    if (finished()) {
      log_info(fmt::format("the run is finished: update {}, train.updates is {}; nothing to train", state_.update,
                           recipe_.train.updates));
      if (!holds_recipe(folder_ + "/recipe.yaml")) data::write_durably(folder_ + "/recipe.yaml", to_yaml(recipe_));
      return;
    }
    truncate_after(metrics_path_, state_.update, state_.validation_due);
  } else {
    log_info("started anew");
    std::error_code failed;
    fs::remove(metrics_path_, failed);
    if (failed) throw Error(fmt::format("{}: cannot be removed: {}", metrics_path_, failed.message()));
  }
  data::write_durably(folder_ + "/recipe.yaml", to_yaml(recipe_));
}

namespace {

// False where the recipe's data are there and are others than the run's.
bool same_examples(const Recipe& recipe, const Checkpoint& checkpoint) {
  std::error_code none;
  if (!fs::exists(recipe.data.path, none)) return true;
  const RunState then = state_of(checkpoint, recipe);
  const auto task = open_task(recipe);
  const Splits& now = task->splits();
  return then.train_data == now.train->digest() && then.valid_data == now.valid->digest() &&
         (then.test_data.empty() || then.test_data == (now.test ? now.test->digest() : ""));
}

}  // namespace

std::optional<RunResult> finished_before(const Recipe& recipe, const RunOptions& options) {
  const std::string folder = run_folder(recipe, options), metrics = folder + "/metrics.jsonl";
  std::error_code none;
  if (options.dry_run || options.resume != "auto" || !fs::exists(metrics, none)) return std::nullopt;
  const std::string written = folder + "/recipe.yaml";
  if (!fs::exists(written, none) || data::read_regular_file(written, kLargestRecipe, "a recipe") != to_yaml(recipe))
    return std::nullopt;
  const RunCheckpoints all = find_checkpoints(folder + "/checkpoints");
  if (!all.newest || !all.refused.empty()) return std::nullopt;
  for (const MetricsRow& row : read_metrics(metrics).rows)
    // A test before train.updates is that of a shorter run, or of one that patience ended: resuming finds out.
    if (row.kind == "test" && row.update == all.newest->update && row.update >= recipe.train.updates) {
      if (!same_examples(recipe, *all.newest)) return std::nullopt;  // going on finds out, and says so
      tidy_finished(folder, all, recipe.train.keep);
      log_info(fmt::format("{}: this run is finished and tested; nothing to train", folder));
      return RunResult{row.update, true, false, all.newest->file.path()};
    }
  return std::nullopt;
}

}  // namespace selene::train
