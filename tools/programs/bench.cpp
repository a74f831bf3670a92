// selene-bench: what kernels and training steps cost, with the physical floor beside each time.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "data/io/printable.h"
#include "engine/threads.h"
#include "kernels/error.h"
#include "tools/programs/bench.h"
#include "tools/programs/program.h"
#include "train/folder/log.h"
#include "train/run/threads.h"

using namespace selene;
using bench::Arguments;

namespace {

// What every subcommand takes.
void declare_common(CLI::App* command, Arguments& a) {
  command->add_option("--precision", a.precisions, "fp32, bf16, fp16 (GPU); several; the recipe's, or fp32")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}));
  command->add_option("--steps", a.steps, "timed repetitions; the least counts")
      ->capture_default_str()
      ->check(whole(1, int64_t(1) << 24));
  command->add_option("--threads", a.threads)->capture_default_str()->check(whole(1, 4096));
  command->add_option("--device", a.device, "auto | cpu | cuda | a module's file")->capture_default_str();
  command->add_flag("--json", a.json, "one object per line");
}

void declare_recipe(CLI::App* command, Arguments& a) {
  command->add_option("RECIPE", a.recipes, "YAML recipes; of several, later ones win")->required()->check(not_empty);
  command->add_option("--set", a.sets, "key=value, overrides the recipe; repeatable")
      ->take_all()
      ->allow_extra_args(false);
}

void declare_step(CLI::App* command, Arguments& a) {
  declare_recipe(command, a);
  command->add_option("--length", a.lengths, "tokens; several; the recipe's data.max_length")
      ->check(whole(1, int64_t(1) << 24));
  command->add_option("--batch", a.batch, "examples; the recipe's train.batch_size")
      ->check(whole(1, int64_t(1) << 24));
  command->add_option("--symbols", a.symbols)->capture_default_str()->check(whole(8, int64_t(1) << 24));
}

// Runs one measurement; one that fails (too large for the device, say) is told and does not stop the others.
int failures(const std::string& what, const std::function<void()>& measure) {
  try {
    measure();
    fflush(stdout);  // what is measured is kept, whatever ends the next measurement
    return 0;
  } catch (const Error& e) {
    fflush(stdout);
    fmt::print(stderr, "error: {}\n", data::printable(fmt::format("{}: {}", what, e.what())));
    return 1;
  }
}

struct Commands {
  CLI::App *step = nullptr, *kernels = nullptr, *bytes = nullptr, *matmul = nullptr, *attention = nullptr,
           *check = nullptr, *ceilings = nullptr, *loader = nullptr;
};

Commands declare(CLI::App& app, Arguments& a) {
  Commands c;
  c.step = app.add_subcommand("step", "a training step: forward, backward, Adam");
  c.kernels = app.add_subcommand(
      "kernels", "every operation of that step; without --json each of its matrix products alone too");
  c.bytes =
      app.add_subcommand("bytes", "what the operations of that step read and write, counted without running it");
  c.matmul = app.add_subcommand("matmul", "how a GPU's matrix library runs the products of that step");
  c.attention = app.add_subcommand("attention", "attention alone: our kernels, and cuDNN's where it is found");
  c.check = app.add_subcommand("check", "results of a device beside those of other kernels of it, at large sizes");
  c.ceilings = app.add_subcommand("ceilings", "the speed of a large copy and of a large matrix product");
  c.loader = app.add_subcommand("loader", "making a recipe's batches, beside the training steps that consume them");
  for (CLI::App* command : {c.step, c.kernels, c.bytes, c.matmul, c.attention, c.check, c.ceilings, c.loader})
    declare_common(command, a);
  for (CLI::App* command : {c.step, c.kernels, c.bytes, c.matmul}) declare_step(command, a);
  c.step->add_flag("!--no-graph", a.graph, "launch every operation anew instead of replaying the captured step");
  c.matmul->add_flag("--plans", a.plans, "algorithm, tile, waves, split-K and workspace of every product")
      ->required();
  declare_recipe(c.loader, a);
  c.attention->add_option("--shape", a.attentions, "BxHxNqxNkxK; several")->capture_default_str();
  return c;
}

train::Recipe recipe_of(const Arguments& a, const std::string& precision) {
  std::vector<std::string> sets = a.sets;
  if (!precision.empty()) sets.push_back("train.precision=" + precision);
  return train::compose_recipe(a.recipes, sets);
}

// Each length, or the recipe's; returns how many measurements failed.
template <class F>
int at_lengths(const Arguments& a, const train::Recipe& recipe, const F& measure) {
  int failed = 0;
  for (const int64_t N : a.lengths.empty() ? std::vector<int64_t>{recipe.data.max_length} : a.lengths)
    failed += failures(fmt::format("{}, {} tokens, {}", recipe.name, N, recipe.train.precision), [&] { measure(N); });
  return failed;
}

// What was asked for, in one precision, or in the recipe's where that is empty; returns how many measurements failed.
int measure(const Commands& c, const Arguments& a, const std::string& precision, const Backend* module) {
  if (*c.step || *c.kernels || *c.bytes || *c.matmul || *c.loader) {
    const train::Recipe recipe = recipe_of(a, precision);
    if (!*c.bytes) train::need_precision(recipe.train.precision, module);
    if (*c.loader) return failures(recipe.name, [&] { bench::loader(a, recipe, module); });
    const auto what = *c.step ? bench::step : *c.kernels ? bench::kernels : *c.bytes ? bench::bytes : bench::plans;
    return at_lengths(a, recipe, [&](int64_t N) { what(a, recipe, N, module); });
  }
  const std::string type = precision.empty() ? "fp32" : precision;
  train::need_precision(type, module);
  if (*c.ceilings) return failures(type, [&] { bench::ceilings(a, type, module); });
  int failed = 0;
  if (*c.check) {
    const int errors = failures(type, [&] { failed = bench::check(a, type, module); });
    return errors + failed;
  }
  for (const std::string& shape : a.attentions)
    failed += failures(shape + " " + type, [&] { bench::attention(a, shape, type, module); });
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  calm_threads(argv);
  CLI::App app{
      "Times kernels and training steps beside their floor: the matrix products of the same step alone, or what a "
      "GPU's memory and matrix units can do.",
      "selene-bench"};
  app.footer("Example: selene-bench step recipes/bench.yaml recipes/models/luna-16.yaml --length 1024 2048 --json");
  app.require_subcommand(0, 1);  // run_program wants one, and names an unknown one
  Arguments a;
  const Commands commands = declare(app, a);
  return run_program(app, argc, argv, [&] {
    train::use_threads(a.threads);
    std::string why;
    const auto module = choose_device(a.device, &why);
    if (!why.empty()) train::log_info(why);
    int failed = 0;
    if (a.precisions.empty()) a.precisions.emplace_back();
    for (const std::string& precision : a.precisions) failed += measure(commands, a, precision, module.get());
    return failed ? 1 : 0;
  });
}
