#include "train/sweep/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "data/io/durable_file.h"
#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "train/report/figure.h"
#include "train/report/lra_tables.h"
#include "train/report/recipe_compare.h"
#include "train/report/run_data.h"
#include "train/sweep/notes.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

/// The folders of all runs, by their notes; those on stand-ins only where the real data has none.
Strings known_runs(const std::string& out) {
  Strings runs;
  if (!fs::is_directory(out)) return runs;
  for (const auto& task : fs::directory_iterator(out)) {
    const std::string name = task.path().string();
    constexpr std::string_view ending = "-stand-in";
    if (!task.is_directory() || (name.ends_with(ending) && fs::exists(name.substr(0, name.size() - ending.size()))))
      continue;
    for (const auto& model : fs::directory_iterator(task.path())) {
      if (!model.is_directory()) continue;
      for (const auto& entry : fs::directory_iterator(model.path()))
        if (const std::string path = entry.path().string();
            entry.path().filename().string().starts_with("seed-") && path.ends_with(".json"))
          runs.push_back(path.substr(0, path.size() - 5));
    }
  }
  std::sort(runs.begin(), runs.end(),
            [](const std::string& a, const std::string& b) { return strverscmp(a.c_str(), b.c_str()) < 0; });
  return runs;
}

void write(const std::string& file, const std::string& text, const Say& say, const Say& show) {
  if (!fs::exists(file) || data::read_regular_file(file, uint64_t(1) << 28, "a table") != text)
    data::write_durably(file, text);
  if (file.ends_with(".md")) show(text.substr(0, text.find("\nCommands, ")));
  say("written: " + file);
}

/// Without a device's name the times of whatever device there are; the figure refuses those of several.
std::vector<StepTime> known_times(const SweepOptions& options) {
  std::vector<StepTime> times;
  const std::string all = options.out + "/table2";
  Strings folders;
  if (options.device != "auto") folders.push_back(times_folder(options));
  else if (fs::is_directory(all))
    for (const auto& entry : fs::directory_iterator(all)) folders.push_back(entry.path().string());
  for (const std::string& folder : folders)
    if (fs::exists(folder + "/cells.jsonl"))
      for (const StepTime& time : load_step_times(folder + "/cells.jsonl")) times.push_back(time);
  return times;
}

/// The results of all runs, and what became of those without one.
void show_headlines(const Strings& folders, const SweepOptions& options, const Say& show) {
  std::vector<RunData> data;
  std::string others;
  for (const std::string& folder : folders) {
    const std::string name = fs::path(folder).lexically_relative(options.out).string();
    const Noted notes = noted(folder);
    try {
      if (notes.status != "done") throw Error(fmt::format("{}: {}", notes.status, notes.why));
      data.push_back(load_run(folder)), data.back().name = name;
    } catch (const Error& e) {
      others += fmt::format("* {}: {}\n", name, e.what());
    }
  }
  if (!data.empty()) show(headline_table(data));
  if (!others.empty()) show(others);
}

/// Another one would be a row without numbers.
void need_task(const LraRun& run, const Paper& paper) {
  Strings keys;
  for (const auto* tasks : {&paper.tasks, &paper.more_tasks})
    for (const PaperTask& task : *tasks) keys.push_back(task.key);
  if (!asked(keys, run.task))
    throw Error(fmt::format("{}: is a run of {}, wanted one of the tables' tasks: {}", run.folder,
                            data::shown_bare(run.task), join(keys, ", ")));
}

std::string table_of(const std::string& what, const std::vector<LraRun>& runs, const SweepOptions& options,
                     const Paper& paper) {
  if (what == "table1") return accuracy_table(runs, paper);
  if (what == "table3") return pooling_table(runs, paper);
  if (what == "table2") return step_table(load_step_times(times_folder(options) + "/cells.jsonl"), paper);
  return figure_svg(figure_of(runs, known_times(options), paper));
}

}  // namespace

std::string times_folder(const SweepOptions& options) {
  return options.out + "/table2/" + fs::path(options.device).filename().string();
}

bool write_tables(const Grid& grid, const SweepOptions& options, const Say& say, const Say& show) {
  const Strings folders = known_runs(options.out);
  if (grid.write.empty()) {
    show_headlines(folders, options, show);
    if (folders.empty() && grid.measure == Measure::nothing) show(fmt::format("no runs in {}\n", options.out));
    return true;
  }
  const Paper paper = load_paper(grid.numbers);
  bool whole = true;
  std::vector<LraRun> runs;
  const bool of_times = grid.write == Strings{"table2"};
  for (const std::string& folder : of_times ? Strings() : folders) {
    try {
      const LraRun run = load_lra_run(folder, paper);
      need_task(run, paper);
      runs.push_back(run);
    } catch (const Error& e) {
      say(fmt::format("error: {}", e.what())), whole = false;
    }
  }
  compare_recipes(runs, recipes_beside(grid.numbers));
  for (const std::string& what : grid.write) {
    const bool figure = what == "figure1";
    if (!whole && runs.empty() && (what == "table1" || what == "table3")) continue;
    if (figure && runs.empty() && known_times(options).empty()) {
      say(fmt::format("error: nothing of ours in {}, wanted runs or times (table1.yaml, table2.yaml)", options.out));
      return false;
    }
    write(options.out + "/" + what + (figure ? ".svg" : ".md"), table_of(what, runs, options, paper), say, show);
  }
  return whole;
}

}  // namespace selene::train
