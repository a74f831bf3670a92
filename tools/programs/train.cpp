// selene-train: a recipe in, a run folder out.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "engine/threads.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "tools/programs/program.h"
#include "train/folder/log.h"
#include "train/run/trainer.h"

using namespace selene;

namespace {

struct Arguments {
  std::vector<std::string> recipes;
  std::vector<std::string> sets;
  train::RunOptions run;
  bool describe = false, print_recipe = false;
};

void declare(CLI::App& app, Arguments& a) {
  app.footer("Example: selene-train recipes/lra/release/image.yaml recipes/models/luna-16.yaml --set train.seed=2");
  app.add_option("RECIPE", a.recipes, "YAML recipes (recipes/, docs/recipes.md); of several, later ones win")
      ->check(not_empty);
  app.add_option("--set", a.sets, "key=value, overrides the recipe; repeatable")->take_all()->allow_extra_args(false);
  app.add_option("--out", a.run.out, "run folder (default: runs/<name of the recipe>)")->check(not_empty);
  app.add_option(
         "--resume", a.run.resume,
         "auto: newest valid checkpoint of the run folder | none | a checkpoint, or a run's folder (its newest)")
      ->check(not_empty)
      ->capture_default_str();
  app.add_option("--device", a.run.device, "auto | cpu | cuda | a module's file")->capture_default_str();
  app.add_flag("!--no-graph", a.run.graph,
               "launch every operation anew instead of replaying captured steps (debugging)");
  app.add_flag("--dry-run", a.run.dry_run,
               "check recipe and data, print parameters, memory and floor time; train nothing");
  app.add_flag("--describe", a.describe,
               "print every recipe key with type, default and meaning (Markdown where not on a terminal)");
  app.add_flag("--print-recipe", a.print_recipe,
               "print the recipe with every value that would be used and where it is from; train nothing");
  app.add_option("--profile", a.run.profile,
                 "train N updates and time them operation by operation, then stop with a checkpoint")
      ->check(whole(1, 1'000'000'000'000));
}

int run(const Arguments& a) {
  if (a.describe) return fmt::print("{}", isatty(1) ? train::describe_text() : train::describe_markdown()), 0;
  if (a.recipes.empty()) return fmt::print(stderr, "error: no recipe given; selene-train --help\n"), 2;
  if (a.print_recipe) return print(train::sourced_yaml(a.recipes, a.sets)), 0;
  const train::Recipe recipe = train::compose_recipe(a.recipes, a.sets);
  if (recipe.name.empty() && a.run.out.empty())
    throw Error(
        fmt::format("{}: the run's folder has the name of the recipe's file, and that is no name for it: wanted "
                    "letters, digits, '_', '-' and '.'; --out FOLDER or --set name=NAME gives another",
                    join(a.recipes, ", ")));
  const train::RunResult result = train::train(recipe, a.run);
  if (a.run.dry_run) return 0;
  const char* end = result.finished ? "finished" : result.interrupted ? "interrupted" : "stopped";
  print_line(fmt::format("{} update={} checkpoint={}", end, result.update, result.checkpoint));
  if (!result.interrupted) return 0;
  train::log_info(fmt::format("go on with the same command{}: it resumes from that checkpoint",
                              a.run.resume == "auto" ? "" : " without --resume"));
  return int(recipe.train.preempt_exit_code);
}

}  // namespace

int main(int argc, char** argv) {
  calm_threads(argv);
  CLI::App app{"Trains a model as a recipe says, on the CPU or a GPU, and resumes where it was stopped.",
               "selene-train"};
  Arguments a;
  declare(app, a);
  return run_program(app, argc, argv, [&] { return run(a); });
}
