#include "train/report/lra_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "kernels/error.h"
#include "kernels/join.h"

namespace selene::train {
namespace {

using Strings = std::vector<std::string>;

const char* const kMissing = "–";

void add_text(Strings& list, const std::string& value) {
  if (!value.empty()) add_once(list, value);
}

std::string row(const Strings& columns) { return fmt::format("| {} |\n", join(columns, " | ")); }

std::string head(const Strings& columns) {
  Strings rule(columns.size(), "---:");
  rule[0] = "---";
  return fmt::format("{}|{}|\n", row(columns), join(rule, "|"));
}

std::string number(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : kMissing;
}

std::string seeds_text(const LraCell& cell) {
  std::string text = fmt::format("{} seed{}", cell.seeds, cell.seeds == 1 ? "" : "s");
  if (const int64_t failed = cell.count(RunStatus::failed)) text += fmt::format(", {} failed", failed);
  return text;
}

/// What stands after a number of which notes_of says more.
std::string marks(bool stand_in, bool other_recipe) {
  return std::string(stand_in ? "\\*" : "") + (other_recipe ? "†" : "");
}

/// "36.90*† ± 0.41 (5 seeds)", or what became of it.
std::string ours(const LraCell& cell) {
  if (cell.seeds)
    return fmt::format("{:.2f}{}{} ({})", 100 * cell.mean, marks(cell.stand_in, cell.other_recipe),
                       cell.seeds > 1 ? fmt::format(" ± {:.2f}", 100 * cell.deviation) : "", seeds_text(cell));
  if (cell.count(RunStatus::failed)) return "failed";
  if (cell.count(RunStatus::no_data)) return "no data";
  return cell.runs.empty() ? kMissing : "unfinished";
}

/// Mean over the first `count` cells where every one of them is there.
std::string average_of(const std::vector<LraCell>& cells, size_t count) {
  double sum = 0;
  bool stand_in = false, other_recipe = false;
  for (size_t i = 0; i < count; ++i) {
    if (!cells[i].seeds) return kMissing;
    sum += cells[i].mean;
    stand_in = stand_in || cells[i].stand_in, other_recipe = other_recipe || cells[i].other_recipe;
  }
  return fmt::format("{:.2f}{}", 100 * sum / double(count), marks(stand_in, other_recipe));
}

/// The runs that a table shows, in its order.
using Shown = std::vector<const LraRun*>;

std::string place_of(const LraRun& r, const Paper& paper) {
  return fmt::format("{}, {}{}", paper.task_title(r.task), paper.model_title(r.model), r.p ? " with P" : "");
}

std::string missing_notes(const Shown& shown, const Paper& paper) {
  std::string text;
  for (const LraRun* r : shown) {
    if (r->status == RunStatus::done) continue;
    text += fmt::format("* {}, seed {}: {}{}\n", place_of(*r, paper), r->seed, name_of(r->status),
                        r->why.empty() ? "" : ": " + r->why);
  }
  return text.empty() ? "" : "\n" + text;
}

/// The first six of the keys, and how many more.
std::string keys_text(const Strings& keys) {
  constexpr size_t shown = 6;
  if (keys.size() <= shown) return join(keys, ", ");
  return fmt::format("{} and {} more", join(Strings(keys.begin(), keys.begin() + shown), ", "), keys.size() - shown);
}

/// Which cells are marked † and why; which recipes could not be compared.
std::string recipe_notes(const Shown& shown, const Paper& paper) {
  Strings others, reasons;
  for (const LraRun* r : shown) {
    if (r->status != RunStatus::done) continue;
    if (!r->differences.empty())
      add_text(others,
               fmt::format("* {}, against {}: {}\n", place_of(*r, paper), r->recipe, keys_text(r->differences)));
    add_text(reasons, r->not_compared);
  }
  std::string text;
  if (!others.empty())
    text = fmt::format(
        "\n† trained with another recipe than that of its place in the table. What differs, there -> here:\n\n{}",
        join(others, ""));
  if (!reasons.empty())
    text += fmt::format("\nRecipes not compared with those of the table: {}.\n", join(reasons, "; "));
  return text;
}

/// "Measured on M, device D, commit C, 2026-11-20 to 2026-11-21."
std::string measured_line(const Strings& machines, const Strings& devices, const Strings& commits, Strings dates) {
  Strings parts;
  if (!machines.empty()) parts.push_back(fmt::format("on {}", join(machines, "; ")));
  if (!devices.empty()) parts.push_back(fmt::format("device {}", join(devices, "; ")));
  if (!commits.empty()) parts.push_back(fmt::format("commit {}", join(commits, ", ")));
  std::sort(dates.begin(), dates.end());
  if (!dates.empty()) parts.push_back(dates.front() + (dates.size() > 1 ? " to " + dates.back() : ""));
  return parts.empty() ? "" : fmt::format("\nMeasured {}.\n", join(parts, ", "));
}

std::string commands_block(const Strings& commands) {
  return commands.empty()
             ? ""
             : fmt::format("\nCommands, from the root of the sources:\n\n```sh\n{}\n```\n", join(commands, "\n"));
}

std::string notes_of(const Shown& shown, const Paper& paper) {
  Strings scales, machines, devices, commits, dates, commands;
  bool stand_in = false;
  for (const LraRun* r : shown) {
    if (r->scale != "1") add_text(scales, r->scale);
    stand_in = stand_in || r->stand_in;
    add_text(commands, r->command);
    if (r->status != RunStatus::done) continue;
    add_text(machines, r->machine), add_text(devices, r->device), add_text(commits, r->commit);
    add_text(dates, r->date);
  }
  std::string text;
  for (const std::string& scale : scales)
    text += fmt::format(
        "\nScale {}: updates, warmup and training examples are cut to this share, an update to 16,384 tokens, and at "
        "most "
        "200 examples are evaluated. This shows that every cell runs; the numbers say nothing about the method.\n",
        scale);
  if (stand_in)
    text +=
        "\n\\* trained and tested on a synthetic stand-in in the official form, because the real data is not on this "
        "machine.\n";
  return text + recipe_notes(shown, paper) + missing_notes(shown, paper) +
         measured_line(machines, devices, commits, dates) + commands_block(commands);
}

/// The paper's that have recipes, and every further model that a run of Table 1 has.
Strings models_of(const std::vector<LraRun>& runs, const Paper& paper) {
  Strings models;
  for (const PaperModel& m : paper.models) add_text(models, m.key);
  for (const LraRun& r : runs)
    if (!r.p) add_text(models, r.model);
  return models;
}

/// The rows of Table 1 or 3, and what the notes below them are made from.
class TaskRows {
 public:
  /// `columns` are those in front of the tasks, `average` is the title of the last one.
  TaskRows(const std::vector<LraRun>& runs, const Paper& paper, const Strings& tasks, Strings columns,
           const char* average)
      : runs_(runs), paper_(paper), tasks_(tasks) {
    for (const std::string& task : tasks) columns.push_back(paper.task_title(task));
    columns.push_back(average);
    text_ = head(columns);
  }

  /// `columns` as above; the paper's average, percent.
  void add(Strings columns, const std::string& model, bool p, double paper_average) {
    std::vector<LraCell> cells;
    for (const std::string& task : tasks_) {
      cells.push_back(cell_of(runs_, task, model, p));
      columns.push_back(number(paper_.accuracy(model, task, p), 2) + " / " + ours(cells.back()));
      shown_.insert(shown_.end(), cells.back().runs.begin(), cells.back().runs.end());
    }
    // Path-X, after the five, is in no average.
    columns.push_back(number(paper_average, 2) + " / " +
                      average_of(cells, std::min(tasks_.size(), paper_.tasks.size())));
    text_ += row(columns);
  }

  std::string text() const { return text_ + notes_of(shown_, paper_); }

 private:
  const std::vector<LraRun>& runs_;
  const Paper& paper_;
  const Strings tasks_;
  std::string text_;
  Shown shown_;
};

double paper_ratio(const std::vector<double> PaperModel::*column, const Paper& paper, const std::string& model,
                   int64_t length) {
  const PaperModel* m = paper.model(model);
  const std::optional<size_t> at = paper.length_index(length);
  return m && at ? (m->*column)[*at] : kNoNumber;
}

std::string ratio_text(const StepTimes& times, const std::string& model, int64_t length,
                       std::optional<double> ratio) {
  if (ratio) return fmt::format("{:.2f}", *ratio);
  return times.at(model, length).failed ? "failed" : kMissing;
}

std::string ratios(const StepTimes& times, const Paper& paper) {
  Strings columns = {"model"};
  for (const char* what : {"speed", "memory"})
    for (const int64_t length : times.lengths) columns.push_back(fmt::format("{} at {}", what, length));
  std::string text = head(columns);
  for (const std::string& model : times.models) {
    Strings line = {paper.model_title(model)};
    for (const int64_t n : times.lengths)
      line.push_back(number(paper_ratio(&PaperModel::speed, paper, model, n), 1) + " / " +
                     ratio_text(times, model, n, times.speed(model, n)));
    for (const int64_t n : times.lengths)
      line.push_back(number(paper_ratio(&PaperModel::memory, paper, model, n), 2) + " / " +
                     ratio_text(times, model, n, times.memory(model, n)));
    text += row(line);
  }
  return text;
}

std::string absolutes(const StepTimes& times, const Paper& paper) {
  std::string text = head({"model", "tokens", "batch", "rounds", "median step, ms", "least step, ms", "steps/s",
                           "speed by least", "planned memory, MiB", "resident, MiB"});
  for (const int64_t n : times.lengths)
    for (const std::string& model : times.models) {
      const StepSummary s = times.at(model, n), base = times.at("transformer", n);
      if (!s.rounds) continue;
      text +=
          row({paper.model_title(model), fmt::format("{}", n), fmt::format("{}", s.batch),
               fmt::format("{}", s.rounds), number(s.median_ms, 1), number(s.best_ms, 1),
               fmt::format("{:.3g}", 1e3 / s.median_ms), base.rounds ? number(base.best_ms / s.best_ms, 2) : kMissing,
               number(s.slab_mib, 1), number(s.rss_mib, 1)});
    }
  return text;
}

}  // namespace

std::string accuracy_table(const std::vector<LraRun>& runs, const Paper& paper) {
  Strings tasks;
  for (const PaperTask& t : paper.tasks) tasks.push_back(t.key);
  for (const PaperTask& t : paper.more_tasks)
    if (std::any_of(runs.begin(), runs.end(), [&](const LraRun& r) { return r.task == t.key; }))
      tasks.push_back(t.key);
  TaskRows rows(runs, paper, tasks, {"model"}, "average of five");
  for (const std::string& model : models_of(runs, paper)) {
    const PaperModel* m = paper.model(model);
    rows.add({paper.model_title(model)}, model, false, m ? m->average : kNoNumber);
  }
  return fmt::format(
      "# Table 1: Long Range Arena\n\nTest accuracy in percent: the paper's / ours, mean ± standard deviation "
      "over seeds. The paper (Ma et al. 2021) gives means of 5 seeds; its Transformer is the "
      "re-implementation.\n\n{}",
      rows.text());
}

std::string pooling_table(const std::vector<LraRun>& runs, const Paper& paper) {
  TaskRows rows(runs, paper, paper.pooling_tasks, {"model", "sentence vector"}, "average");
  for (const PaperModel& m : paper.models)
    for (const bool p : {false, true}) {
      if (m.key.empty() || !std::isfinite(m.accuracy_p[0])) continue;  // has no P
      double sum = 0;
      for (const std::string& task : paper.pooling_tasks) sum += paper.accuracy(m.key, task, p);
      rows.add({m.title, p ? "P" : "[CLS]"}, m.key, p, sum / double(paper.pooling_tasks.size()));
    }
  return fmt::format(
      "# Table 3: [CLS] or the mean of P as the sentence vector\n\nTest accuracy in percent: the paper's / "
      "ours, mean ± standard deviation over seeds. The paper (Ma et al. 2021) gives means of 5 seeds.\n\n{}",
      rows.text());
}

std::string step_table(const std::vector<StepTime>& all, const Paper& paper) {
  std::string text =
      "# Table 2: speed and memory of the byte-level Text model\n\nRelative to the Transformer at the same length: "
      "the paper's / ours. Speed is training steps per second, by the median over rounds; memory is the planned "
      "peak: parameters, optimiser state and activations. Our attention never stores the n x n matrix of the paper's "
      "baseline, which so costs less memory here. Below: the steps themselves, and the speed by the least step of "
      "all rounds, which other work on the machine disturbs least.\n";
  Strings machines, devices, commits, dates, commands, scales;
  for (const StepTime& t : all)
    if (t.scale != "1")
      add_text(scales,
               fmt::format("\nScale {}: a step has at most 16,384 tokens and a process times {} steps. This shows "
                           "that every cell runs; little hangs on the numbers.\n",
                           t.scale, t.timed_steps));
  text += join(scales, "");
  for (const StepTimes& times : group_by_device(all, paper)) {
    text += fmt::format("\n## {}, {}\n\n{}\n{}", times.device, times.dtype, ratios(times, paper),
                        absolutes(times, paper));
    devices.push_back(times.device);
    Strings failures;
    for (const StepTime& t : times.all) {
      add_text(commands, t.command);
      if (t.why.empty()) add_text(machines, t.machine), add_text(commits, t.commit), add_text(dates, t.date);
      else if (!times.at(t.model, t.length).rounds)
        add_text(failures, fmt::format("* {} at {} failed: {}\n", paper.model_title(t.model), t.length, t.why));
    }
    if (!failures.empty()) text += "\n" + join(failures, "");
  }
  return text + measured_line(machines, devices, commits, dates) + commands_block(commands);
}

}  // namespace selene::train
