// selene-sweep: a grid of recipes, models and seeds in, runs and tables out.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/io/printable.h"
#include "data/io/stop.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "tools/programs/program.h"
#include "train/sweep/steps.h"
#include "train/sweep/sweep.h"

namespace {

using namespace selene;
using train::Grid;
using train::SweepOptions;

struct Arguments {
  std::string grid;
  SweepOptions options;
  std::vector<int64_t> lengths;
  int64_t seeds = 0, rounds = 0, steps = 0;
  std::string precision;
  bool list = false;
};

void declare(CLI::App& app, Arguments& a) {
  app.footer("Example: selene-sweep recipes/sweeps/table1.yaml --scale 0.001 --jobs 2");
  app.add_option("GRID", a.grid, "YAML grid (recipes/sweeps, docs/sweeps.md)")->check(not_empty)->required();
  app.add_flag("--list,--dry-run", a.list, "say of every cell whether it is done and what would be run; run nothing");
  app.add_option("--jobs", a.options.jobs, "trainings side by side; on GPUs each has one of its own")
      ->capture_default_str()
      ->check(whole(1, 1024));
  app.add_option(
         "--scale", a.options.scale,
         "0 < F <= 1: share of updates and training examples, to try a grid out; below 1 an update has at most "
         "16K tokens, few examples are evaluated, and synthetic stand-ins replace missing data")
      ->capture_default_str()
      ->check([](const std::string& text) {
        double value = 0;
        const bool number = CLI::detail::lexical_cast(text, value);
        return number && value >= 1e-9 && value <= 1 ? "" : "'" + text + "', wanted a number above 0 and at most 1";
      });
  app.add_option("--recipes", a.options.recipes, "names of the grid's recipes; all");
  app.add_option("--models", a.options.models, "names of the grid's models; all");
  app.add_option("--seeds", a.seeds, "seeds 1 to N in place of the grid's")->check(whole(1, train::kMostSeeds));
  app.add_option("--set", a.options.sets, "key=value of the recipe, for every cell; repeatable")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--device", a.options.device, "auto | cpu | cuda | a module's file")->capture_default_str();
  app.add_option("--raw", a.options.raw, "folder of the official files")->check(not_empty)->capture_default_str();
  app.add_option("--data", a.options.prepared, "folder of prepared data; the grid's")->check(not_empty);
  app.add_option("--out", a.options.out, "folder of runs and tables; the grid's")->check(not_empty);
  app.add_option("--lengths", a.lengths, "steps: tokens")->check(whole(1, int64_t(1) << 24));
  app.add_option("--rounds", a.rounds, "steps: processes for each cell")->check(whole(1, 1000));
  app.add_option("--steps", a.steps, "steps: timed ones of each process")->check(whole(1, 1'000'000));
  app.add_option("--precision", a.precision, "steps: fp32, bf16 or fp16")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}));
}

/// What is wrong with the names asked for; empty if nothing.
std::string unknown_name(const char* option, const std::vector<std::string>& asked,
                         const std::vector<train::Choice>& known) {
  for (const std::string& name : asked) {
    if (std::any_of(known.begin(), known.end(), [&](const auto& choice) { return choice.name == name; })) continue;
    return fmt::format("{} is '{}', wanted {}", option, data::printable(name),
                       join(known, ", ", &train::Choice::name));
  }
  return "";
}

/// Puts what is asked for in the place of the grid's values. Returns what is wrong with it.
std::string apply(Arguments& a, Grid& grid) {
  SweepOptions& o = a.options;
  const std::string suffix = o.scale == 1 ? "" : "-" + train::scale_text(o.scale);
  if (o.out.empty()) o.out = grid.out + suffix;
  if (o.prepared.empty()) o.prepared = grid.prepared + suffix;
  const bool steps = grid.measure == train::Measure::steps, training = grid.measure == train::Measure::training;
  if (a.seeds && !training) return "--seeds is for a grid of trainings (measure: training)";
  if (a.seeds) grid.seeds = train::first_seeds(a.seeds);
  for (const std::string& set : o.sets)
    if (training && set.starts_with("train.seed=")) return "--set train.seed is what --seeds gives, wanted that";
  if (const auto twin = train::twin_of(a.lengths)) return fmt::format("--lengths has {} twice", *twin);
  for (const auto& [option, given] : {std::pair{"--lengths", !a.lengths.empty()},
                                      {"--rounds", a.rounds > 0},
                                      {"--steps", a.steps > 0},
                                      {"--precision", !a.precision.empty()}})
    if (given && !steps) return fmt::format("{} is for a grid that times steps (measure: steps)", option);
  if (!a.lengths.empty()) grid.lengths = a.lengths;
  if (a.rounds) grid.rounds = a.rounds;
  if (a.steps) grid.steps = a.steps;
  else if (o.scale != 1) grid.steps = std::min<int64_t>(grid.steps, 3);
  if (!a.precision.empty()) grid.precision = a.precision;
  const size_t gpus = train::usable_gpus(o.device).size();
  if (o.jobs > 1 && steps) return "--jobs is for trainings; steps that are timed want the machine alone";
  if (gpus && size_t(o.jobs) > gpus)
    return fmt::format("--jobs is {}, wanted at most one for each of {} GPUs", o.jobs, gpus);
  const std::string wrong = unknown_name("--recipes", o.recipes, grid.recipes);
  return wrong.empty() ? unknown_name("--models", o.models, grid.models) : wrong;
}

int run(Arguments& a) {
  Grid grid = train::read_grid(a.grid);
  if (const std::string wrong = apply(a, grid); !wrong.empty()) return fmt::print(stderr, "error: {}\n", wrong), 2;
  for (const std::string& folder : {a.options.out, a.options.prepared})
    if (std::filesystem::exists(folder) && !std::filesystem::is_directory(folder))
      throw Error(fmt::format("{}: is a file, wanted a folder for {}", folder,
                              folder == a.options.out ? "runs and tables" : "prepared data"));
  const train::Say show = [](const std::string& text) {
    print(text.ends_with('\n') ? text : text + "\n"), fflush(stdout);
  };
  const train::Say say = [](const std::string& text) { fmt::print(stderr, "{}\n", data::printable(text)); };
  if (a.list) return train::list_sweep(grid, a.options, show) ? 0 : 1;
  data::listen_for_stop();
  try {
    return train::run_sweep(grid, a.options, say, show) ? 0 : 1;
  } catch (const data::Interrupted&) {
    say("interrupted; the same command goes on from here");
    fflush(stdout);
    data::end_by_signal(data::stop_signal());
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Trains every cell of a grid that is not done, goes on with those that were broken off, and writes tables with "
      "a "
      "paper's numbers beside ours.",
      "selene-sweep"};
  Arguments a;
  declare(app, a);
  return run_program(app, argc, argv, [&] { return run(a); });
}
