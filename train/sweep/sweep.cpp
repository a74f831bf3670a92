#include "train/sweep/sweep.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <thread>

#include "data/io/stop.h"
#include "kernels/error.h"
#include "train/report/run_data.h"
#include "train/sweep/children.h"
#include "train/sweep/notes.h"
#include "train/sweep/steps.h"
#include "train/sweep/tables.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

/// "accuracy 37.50 %" of the test.
std::string result_of(const std::string& folder) {
  for (const HeadlineMeasure& m : load_run(folder).headline.measures)
    if (m.test) return fmt::format("{} {}", m.name, measure_text(m, m.test));
  return "done";
}

Strings words_of(const Cell& cell, const SweepOptions& options) {
  Strings words = {"selene-train"};
  append(words, cell.files);
  append(words, {"--out", cell.folder, "--device", options.device});
  for (const std::string& set : cell.sets) append(words, {"--set", set});
  return words;
}

class Trainings {
 public:
  Trainings(const Grid& grid, const SweepOptions& options, std::vector<Cell> cells, const Say& say)
      : options_(options),
        cells_(std::move(cells)),
        say_(say),
        place_(this_place(fs::absolute(grid.path).parent_path().string())),
        gpus_(usable_gpus(options.device)),
        children_(size_t(options.jobs)),
        begun_(cells_.size()) {}

  /// How many were run now, and how many failed or have no data.
  size_t ran = 0, bad = 0;

  void run() {
    for (size_t i = 0; i < cells_.size(); ++i) {
      while (children_.full()) finish_one();
      data::check_stop();
      guarded(i, [&] { begin(i); });
    }
    while (!children_.idle()) finish_one();
    data::check_stop();
  }

 private:
  std::string title(size_t i) const { return fmt::format("[{}/{}] {}", i + 1, cells_.size(), cells_[i].title); }

  void note(size_t i, const std::string& status, const std::string& why) {
    write_notes(cells_[i], options_, place_, words_of(cells_[i], options_), status, why);
  }

  // A run that was done before stays in its folder, but what fails now is not shown as its result.
  void fail(size_t i, const std::string& status, const std::string& why) {
    ++bad;
    say_(fmt::format("{}: {}: {}", title(i), status, why));
    try {
      note(i, status, why);
    } catch (const Error& e) {
      say_(e.what());
    }
  }

  /// Whatever is wrong with one cell, the others go on.
  template <class F>
  void guarded(size_t i, const F& step) {
    try {
      step();
    } catch (const data::Interrupted&) {
      throw;
    } catch (const std::exception& e) {
      fail(i, "failed", e.what());
    }
  }

  void begin(size_t i) {
    const Cell& cell = cells_[i];
    fs::create_directories(fs::path(cell.folder).parent_path());
    if (const std::string& why = cell.data.why; !why.empty())
      return fail(i, why.starts_with("no data at ") ? "no data" : "failed", why);
    if (!cell.problem.empty()) return fail(i, "failed", cell.problem);
    if (done_before(cell)) return;
    note(i, "unfinished", "did not come to its end");  // until more is known, and where a disk is too full for that
    begun_[i] = Clock::now();
    Command command{words_of(cell, options_), cell.folder + ".out"};
    if (!gpus_.empty()) command.environment.emplace_back("CUDA_VISIBLE_DEVICES", gpus_[children_.free_slot()]);
    else if (options_.jobs > 1) {
      const unsigned threads = std::max(1u, std::thread::hardware_concurrency() / unsigned(options_.jobs));
      command.environment.emplace_back("OMP_NUM_THREADS", std::to_string(threads));
    }
    children_.start(i, command);
  }

  void finish_one() {
    const Ended ended = children_.wait();
    guarded(ended.id, [&] { finish(ended); });
  }

  void finish(const Ended& ended) {
    const Cell& cell = cells_[ended.id];
    const CellFolder found = look_into(cell);
    const bool tested = ended.status == 0 && found.state >= CellState::tested;
    if (data::stop_signal() && !tested) return;  // its notes say that it is unfinished
    if (ended.status != 0)
      return fail(
          ended.id, "failed",
          ended.status > 128 ? "ended by " + data::signal_name(ended.status - 128) : error_of(cell.folder + ".out"));
    if (!tested) return fail(ended.id, "unfinished", found.why);
    note(ended.id, "done", "");
    ++ran;
    const double seconds = std::chrono::duration<double>(Clock::now() - begun_[ended.id]).count();
    say_(fmt::format("{}: {} ({:.0f} s)", title(ended.id), result_of(cell.folder), seconds));
  }

  const SweepOptions& options_;
  const std::vector<Cell> cells_;
  const Say& say_;
  const Place place_;
  const Strings gpus_;
  Children children_;
  std::vector<Clock::time_point> begun_;
};

/// What the command line breaks is no cell's failure; before anything is prepared, as a wrong grid is told.
void need_good_sets(const Grid& grid, const SweepOptions& options, const Say& say) {
  const auto data = prepare_data(grid, options, true, say);
  const std::vector<Cell> cells = cells_of(grid, options, data);
  if (options.sets.empty()) return;
  SweepOptions plain = options;
  plain.sets.clear();
  const std::vector<Cell> without = cells_of(grid, plain, data);
  for (size_t i = 0; i < cells.size(); ++i)
    if (without[i].problem.empty() && !cells[i].problem.empty())
      throw Error(fmt::format("{}: {}", cells[i].title, cells[i].problem));
}

bool run_trainings(const Grid& grid, const SweepOptions& options, const Say& say) {
  if (options.scale != 1)
    say(fmt::format("scale {}: a rehearsal; its numbers say nothing about the method", scale_text(options.scale)));
  need_good_sets(grid, options, say);
  std::vector<Cell> cells = cells_of(grid, options, prepare_data(grid, options, false, say));
  const size_t count = cells.size();
  Trainings trainings(grid, options, std::move(cells), say);
  trainings.run();
  if (trainings.ran + trainings.bad == 0) say(fmt::format("nothing to do: all {} cells were done", count));
  if (trainings.bad) say(fmt::format("{} of {} cells failed or have no data", trainings.bad, count));
  return trainings.bad == 0;
}

}  // namespace

std::vector<std::string> usable_gpus(const std::string& device) {
  Strings gpus;
  if (device == "cpu") return gpus;
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    std::istringstream list(visible);
    for (std::string one; std::getline(list, one, ',');) gpus.push_back(one);
    return gpus;
  }
  std::error_code ignored;
  const fs::directory_iterator present("/proc/driver/nvidia/gpus", ignored);
  for (int64_t i = 0, count = std::distance(begin(present), end(present)); i < count; ++i)
    gpus.push_back(std::to_string(i));
  return gpus;
}

bool run_sweep(const Grid& grid, const SweepOptions& options, const Say& say, const Say& show) {
  fs::create_directories(options.out);
  bool whole = true;
  if (grid.measure == Measure::training) whole = run_trainings(grid, options, say);
  if (grid.measure == Measure::steps) whole = run_steps(grid, options, say);
  return write_tables(grid, options, say, show) && whole;
}

bool list_sweep(const Grid& grid, const SweepOptions& options, const Say& show) {
  if (grid.measure == Measure::steps) return list_steps(grid, options, show), true;
  if (grid.measure == Measure::nothing) return true;
  bool whole = true;
  for (const Cell& cell : cells_of(grid, options, prepare_data(grid, options, true, show))) {
    std::string problem = cell.data.why.empty() ? cell.problem : cell.data.why;
    const CellFolder found = problem.empty() ? look_into(cell) : CellFolder{};
    if (found.state == CellState::another) problem = found.why;
    whole = whole && problem.empty();
    if (!problem.empty()) show(fmt::format("cannot run: {}: {}", cell.title, problem));
    else if (done_before(cell)) show("done: " + cell.title);
    else
      show(fmt::format("{}: {}: {}", found.state == CellState::fresh ? "to run" : "to go on with", cell.title,
                       shell_line(words_of(cell, options))));
  }
  return whole;
}

}  // namespace selene::train
