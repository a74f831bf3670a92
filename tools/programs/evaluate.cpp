// selene-evaluate: what a checkpoint gets right on a split, or says of examples of one's own.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "data/io/json.h"
#include "data/io/machine.h"
#include "data/io/printable.h"
#include "data/io/same_file.h"
#include "data/io/stop.h"
#include "data/prepared.h"
#include "engine/threads.h"
#include "kernels/error.h"
#include "tools/programs/program.h"
#include "train/folder/log.h"
#include "train/folder/run_folder.h"
#include "train/run/run_state.h"
#include "train/run/threads.h"
#include "train/run/validation.h"
#include "train/step/memory_plan.h"
#include "train/tasks/measures.h"

using namespace selene;

namespace {

struct Arguments {
  std::string checkpoint, data, split = "test", predictions, device = "auto";
  int64_t examples = 0, threads = 0;
  bool json = false, confusion = false;
};

void declare(CLI::App& app, Arguments& a) {
  app.footer(
      "Example: selene-evaluate runs/quickstart/checkpoints/best\n"
      "         echo '[MAX 2 9 [MIN 4 7 ] 0 ]' | selene-evaluate runs/quickstart -");
  app.add_option(
         "CHECKPOINT", a.checkpoint,
         "checkpoint file or link, or a run's folder (its best checkpoint; before the first validation, its newest)")
      ->check(not_empty)
      ->required();
  app.add_option(
         "DATA", a.data,
         "folder of prepared data, one prepared file, or examples of your own: expressions, texts or pairs of "
         "texts, one a line (- is stdin), or a PNG image; default: the recipe's data.path")
      ->check(not_empty);
  app.add_option("--split", a.split, "split of a folder")
      ->check(CLI::IsMember({"train", "valid", "test"}))
      ->capture_default_str();
  app.add_option("--predictions", a.predictions,
                 "write one line an example: number, label, prediction, probability, the example")
      ->check(named_file);
  app.add_flag("--confusion", a.confusion, "also print which class is taken for which, and the accuracy by length");
  app.add_option("--examples", a.examples, "only the first N examples (0: all)")->check(whole(0, int64_t(1) << 40));
  app.add_option("--threads", a.threads, "CPU threads (0: all)")->check(whole(0, 4096));
  app.add_option("--device", a.device, "auto | cpu | cuda | a module's file")->capture_default_str();
  app.add_flag("--json", a.json, "one JSON object on stdout");
}

train::Checkpoint open_model(const std::string& given) {
  const train::MeantFile meant = train::meant_file(given);
  for (const std::string& line : meant.told) train::log_warning(line);
  return train::open_checkpoint(meant.path);
}

/// A checkpoint and the task that it says it is of.
struct Described {
  train::Checkpoint checkpoint;
  std::unique_ptr<train::Task> task;
  const train::Recipe& recipe() const { return task->recipe(); }
};

/// Error where what the checkpoint says does not fit together.
Described describe(const std::string& given) {
  train::Checkpoint checkpoint = open_model(given);
  const std::string& path = checkpoint.file.path();
  const train::Recipe recipe = train::parse_recipe(checkpoint.metadata("recipe"), path);
  return {checkpoint, train::reopen_task(recipe, checkpoint.file.metadata(), path)};
}

/// The examples, where they are from, and whether they are a person's own rather than a split.
struct Given {
  std::shared_ptr<const data::Dataset> set;
  data::Dataset all;  // whatever --examples
  std::string path;
  bool own = false;
};

Given read_data(const Arguments& a, const Described& model) {
  namespace fs = std::filesystem;
  const train::Task& task = *model.task;
  const data::Kind& kind = data::kind_named(task.recipe().data.kind);
  const std::string path = a.data.empty() ? task.recipe().data.path : a.data;
  const auto keep = [&](data::Dataset d, bool own) {
    data::need_kind(d, kind, "the model's task");
    task.check(d);
    return Given{std::make_shared<const data::Dataset>(a.examples ? task.first(d, a.examples) : d), d, path, own};
  };
  std::error_code none;
  if (a.data.empty() && !fs::exists(path, none))
    throw Error(fmt::format("{}: the folder of the recipe's data is not there{}; give the data behind the checkpoint",
                            path, fs::path(path).is_absolute() ? "" : " in " + fs::current_path(none).string()));
  if (struct stat in; path == "-" && fstat(STDIN_FILENO, &in) == 0 && S_ISDIR(in.st_mode))
    throw Error("stdin: is a folder, wanted lines of text");
  if (path == "-") return keep(task.read_own(path), true);
  if (fs::is_directory(path, none)) return keep(data::read_split(path, kind, a.split), false);
  if (path.ends_with(".safetensors")) return keep(data::open_prepared(path), false);
  return keep(task.read_own(path), true);
}

void check_predictions(const Arguments& a, const Described& model, const Given& given) {
  const std::filesystem::path file = model.checkpoint.file.path(), folder = file.parent_path();
  data::need_no_input("--predictions", a.predictions,
                      {file, folder, folder.parent_path(), a.checkpoint, given.path, model.recipe().data.path});
}

/// Says where the recipe's test set is not the one any more that the run was tested with.
void tell_of_other_examples(const Described& model, const Arguments& a, const Given& given) {
  const auto& metadata = model.checkpoint.file.metadata();
  const auto text = metadata.find("state");
  if (!a.data.empty() || a.split != "test" || text == metadata.end()) return;
  const data::Json state = data::parse_json(text->second, model.checkpoint.file.path());
  if (const data::Json* then = state.find("test_data"); then && then->text() && *then->text() != given.all.digest())
    train::log_warning(fmt::format("{}: holds other examples than the test set of the run", given.set->name));
}

/// What evaluating these examples takes. Error where the machine does not have it, or the file another model.
MemoryPlan plan_of(const Described& model, const data::Dataset& set, const Backend* module) {
  const train::Session dry(*model.task, Context::dry(module), false);
  train::need_weights(model.checkpoint.file, dry.parameters());
  const MemoryPlan plan =
      train::with_room(train::plan_memory(*model.task, train::planned_shapes(*model.task, {&set}), false, module));
  const data::UsableMemory usable = data::usable_memory();
  if (!module && plan.total() > usable.bytes)
    throw Error(fmt::format("{}: evaluating {} needs {} MiB of memory, the {} has {} MiB",
                            model.checkpoint.file.path(), set.name, plan.total() >> 20, usable.limit,
                            usable.bytes >> 20));
  return plan;
}

using Measured = std::vector<std::pair<const train::Measure*, double>>;

void print_json(const Arguments& a, const Given& given, const train::Score& s, const Measured& values,
                const train::Findings* findings) {
  data::Json j{{"checkpoint", a.checkpoint}, {"data", given.set->name}, {"examples", s.examples}};
  for (const auto& [measure, value] : values) j.set(measure->name, value);
  if (!values.empty()) j.set("examples_per_s", s.examples_per_s());
  if (findings) findings->add_to(j);
  fmt::print("{}\n", j.dump());
}

void print(const Given& given, const train::Score& s, const Measured& values, const train::Findings* findings) {
  if (findings) fmt::print("{}", findings->before_measures());
  if (values.empty()) return;
  fmt::print("{}: {} examples, {:.0f} a second\n", data::printable(given.set->name), s.examples, s.examples_per_s());
  size_t width = 15;  // as the yardsticks
  for (const auto& [measure, value] : values) width = std::max(width, measure->name.size());
  for (const auto& [measure, value] : values) {
    const bool named = !measure->unit.empty() && measure->unit != "fraction";
    fmt::print("{:<{}} {:.4f}{}{}\n", measure->name, width, value, named ? " " : "", named ? measure->unit : "");
  }
  if (findings) fmt::print("{}", findings->after_measures());
}

int run(const Arguments& a) {
  train::use_threads(a.threads);
  const Described model = describe(a.checkpoint);
  const train::Recipe& recipe = model.recipe();
  const Given given = read_data(a, model);
  if (!a.predictions.empty()) check_predictions(a, model, given);
  model.task->tell_unseen(*given.set);
  tell_of_other_examples(model, a, given);
  std::string why;
  const std::unique_ptr<Backend> module = choose_device(a.device, &why);
  if (module) train::need_device(recipe, module.get());
  model.task->fit({given.set.get()});
  const MemoryPlan plan = plan_of(model, *given.set, module.get());
  train::Session session(*model.task, std::make_unique<Context>(plan, module.get()), false);
  train::load_weights(model.checkpoint.file, session);
  data::listen_for_stop();
  const auto findings = model.task->findings(
      given.set, {.model = a.checkpoint, .predictions = a.predictions, .confusion = a.confusion, .own = given.own});
  const train::Score s = train::score(session, given.set, 0, [&](const data::Batch& batch, const Tensor& outputs) {
    if (findings) findings->add(batch, outputs, session.context());
  });
  if (!std::isfinite(s.sums.nll))
    throw Error(fmt::format("{}: the loss is {}", a.checkpoint, std::isnan(s.sums.nll) ? "NaN" : "infinite"));
  Measured values;
  if (s.sums.count > 0) values = train::measured(recipe, s.sums, train::in_evaluation);
  std::stable_partition(values.begin(), values.end(),
                        [&](const auto& value) { return value.first->name == recipe.train.best_metric; });
  if (findings) {
    const data::Kind& kind = *given.set->kind;
    const bool yardsticks = std::filesystem::is_directory(given.path) && data::has_split(given.path, kind, "train");
    std::optional<data::Dataset> train;
    if (yardsticks) train = data::read_split(given.path, kind, "train");
    findings->finish(train ? &*train : nullptr);
  }
  if (a.json) print_json(a, given, s, values, findings.get());
  else print(given, s, values, findings.get());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  calm_threads(argv);
  CLI::App app{"Measures accuracy and loss of a checkpoint.", "selene-evaluate"};
  Arguments a;
  declare(app, a);
  return run_program(app, argc, argv, [&] { return run(a); });
}
