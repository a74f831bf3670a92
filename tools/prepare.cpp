// selene-prepare: makes data sets.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <thread>

#include "data/listops_prepare.h"
#include "data/progress.h"
#include "kernels/error.h"
#include "tools/program.h"

namespace {

using namespace selene::data;

volatile std::sig_atomic_t interrupted = 0;

void add_listops(CLI::App& app, ListopsPlan& plan) {
  CLI::App* kind = app.add_subcommand("listops", "ListOps expressions with the Long Range Arena's sampling rule");
  kind->add_option("--out", plan.folder, "Folder to make")->required()->type_name("DIR");
  kind->add_option("--train", plan.train, "Training examples")->capture_default_str()->type_name("N");
  kind->add_option("--valid", plan.valid, "Validation examples")->capture_default_str()->type_name("N");
  kind->add_option("--test", plan.test, "Test examples")->capture_default_str()->type_name("N");
  ListopsOptions& o = plan.options;
  kind->add_option("--min-length", o.min_length, "Tokens of the shortest expression")
      ->capture_default_str()
      ->type_name("N");
  kind->add_option("--max-length", o.max_length, "Tokens of the longest expression")
      ->capture_default_str()
      ->type_name("N");
  kind->add_option("--max-depth", o.max_depth, "Levels, digits included")->capture_default_str()->type_name("N");
  kind->add_option("--max-args", o.max_args, "Arguments of an operator")->capture_default_str()->type_name("N");
  kind->add_option("--seed", o.seed, "The same seed gives the same files")->capture_default_str()->type_name("N");
  kind->add_option("--threads", plan.threads, "Threads; the result does not depend on them")
      ->capture_default_str()
      ->type_name("N");
  kind->add_flag("--force", plan.force, "Replace a data set made with other options");
  kind->footer(
      "Writes basic_train.tsv, basic_val.tsv and basic_test.tsv in the official form, and dataset.json.\n"
      "Example: selene-prepare listops --out data-out/listops --train 96000 --seed 1");
}

int prepare(const ListopsPlan& plan) {
  const auto stop = [](int) { interrupted = 1; };
  std::signal(SIGINT, stop);
  std::signal(SIGTERM, stop);
  Progress progress("listops", "examples", plan.train + plan.valid + plan.test);
  const auto watch = [&](const ListopsProgress& p) {
    if (interrupted) throw selene::Error("interrupted; nothing was kept");
    progress.set(p.examples, fmt::format("{} draws", p.draws));
  };
  if (prepare_listops(plan, watch) == Prepared::already_there) {
    fmt::print("{}: already there, made with the same options; nothing to do\n", plan.folder);
    return 0;
  }
  progress.finish();
  fmt::print("{}: {} training, {} validation and {} test examples\n", plan.folder, plan.train, plan.valid, plan.test);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Makes data sets.", "selene-prepare");
  app.footer("Example: selene-prepare listops --out data-out/listops");
  app.require_subcommand(1);
  ListopsPlan plan;
  plan.threads = std::max(1, int(std::thread::hardware_concurrency()));
  add_listops(app, plan);
  return selene::run_program(app, argc, argv, [&] { return prepare(plan); });
}
