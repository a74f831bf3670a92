// selene-evaluate: what a checkpoint gets right on a split, or says of examples of one's own.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <optional>

#include "data/baselines.h"
#include "data/io/durable_file.h"
#include "data/io/image.h"
#include "data/io/json.h"
#include "data/io/machine.h"
#include "data/io/printable.h"
#include "data/io/same_file.h"
#include "data/io/stop.h"
#include "data/lra/own_examples.h"
#include "data/prepared.h"
#include "engine/threads.h"
#include "kernels/error.h"
#include "tools/programs/program.h"
#include "train/folder/log.h"
#include "train/folder/run_folder.h"
#include "train/run/run_state.h"
#include "train/run/threads.h"
#include "train/run/trainer.h"
#include "train/tasks/confusion.h"

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

/// What a checkpoint says of its model.
struct Described {
  train::Checkpoint checkpoint;
  Recipe recipe;
  data::Vocabulary vocabulary;
  const data::Kind& kind;
};

/// Error where what the checkpoint says does not fit together.
Described describe(const std::string& given) {
  const train::Checkpoint checkpoint = open_model(given);
  const std::string& path = checkpoint.file.path();
  const Recipe recipe = parse_recipe(checkpoint.metadata("recipe"), path);
  const data::Kind& kind = data::kind_named(recipe.data.task);
  const std::string& written = checkpoint.metadata("vocabulary");
  data::Vocabulary vocabulary;
  try {
    vocabulary = data::vocabulary_from_json(written);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", path, e.what()));
  }
  if (vocabulary.symbol_names != kind.symbol_names)
    throw Error(fmt::format("{}: its vocabulary is not that of its recipe's data.task, {}", path, kind.name));
  if (const std::string& classes = checkpoint.metadata("classes"); classes != std::to_string(kind.class_names.size()))
    throw Error(fmt::format("{}: is of '{:.20}' classes, wanted the {} of its recipe's data.task, {}", path, classes,
                            kind.class_names.size(), kind.name));
  return {checkpoint, recipe, vocabulary, kind};
}

/// The examples, where they are from, and whether they are a person's own rather than a split.
struct Given {
  std::shared_ptr<const data::Dataset> set;
  std::string path;
  bool own = false;
};

Given read_data(const Arguments& a, const Described& model) {
  namespace fs = std::filesystem;
  const std::string path = a.data.empty() ? model.recipe.data.path : a.data;
  const auto keep = [&](data::Dataset d, bool own) {
    data::need_kind(d, model.kind, "the model's task");
    if (const int64_t pixels = model.vocabulary.longest; model.kind.image && pixels > 0 && d.length(0) != pixels)
      throw Error(fmt::format("{}: has images of {} x {} pixels, the model was trained on {} x {}", d.name,
                              data::square_side(d.length(0)), data::square_side(d.length(0)),
                              data::square_side(pixels), data::square_side(pixels)));
    return Given{std::make_shared<const data::Dataset>(a.examples ? d.first(a.examples) : d), path, own};
  };
  std::error_code none;
  if (a.data.empty() && !fs::exists(path, none))
    throw Error(fmt::format("{}: the folder of the recipe's data is not there{}; give the data behind the checkpoint",
                            path, fs::path(path).is_absolute() ? "" : " in " + fs::current_path(none).string()));
  if (struct stat in; path == "-" && fstat(STDIN_FILENO, &in) == 0 && S_ISDIR(in.st_mode))
    throw Error("stdin: is a folder, wanted lines of text");
  if (path == "-") return keep(data::read_own(std::cin, "stdin", model.kind), true);
  if (fs::is_directory(path, none)) return keep(data::read_split(path, model.kind, a.split), false);
  if (path.ends_with(".safetensors")) return keep(data::open_prepared(path), false);
  return keep(data::read_own(path, model.kind, data::square_side(model.vocabulary.longest)), true);
}

void check_predictions(const Arguments& a, const Described& model, const Given& given) {
  const std::filesystem::path file = model.checkpoint.file.path(), folder = file.parent_path();
  data::need_no_input("--predictions", a.predictions,
                      {file, folder, folder.parent_path(), a.checkpoint, given.path, model.recipe.data.path});
}

/// Says where the recipe's test set is not the one any more that the run was tested with.
void tell_of_other_examples(const Described& model, const Arguments& a, const data::Dataset& set) {
  const auto& metadata = model.checkpoint.file.metadata();
  const auto text = metadata.find("state");
  if (!a.data.empty() || a.split != "test" || text == metadata.end()) return;
  const data::Json state = data::parse_json(text->second, model.checkpoint.file.path());
  if (const data::Json* then = state.find("test_data"); then && then->text() && *then->text() != set.digest())
    train::log_warning(fmt::format("{}: holds other examples than the test set of the run", set.name));
}

/// Says what of the examples a model does not see, or sees beside others.
void tell_of_lengths(const Described& model, const data::Dataset& set) {
  const int64_t most = model.recipe.data.max_length;
  if (const int64_t cut = model.vocabulary.count_cut(set, most))
    train::log_warning(fmt::format("{}: {} examples are longer than data.max_length = {} tokens and lose their tail",
                                   set.name, cut, most));
  const std::string& pooling = model.recipe.model.pooling;
  bool padded = false;
  for (int64_t i = 1; i < set.examples(); ++i)
    padded = padded || std::min(set.length(i), most) != std::min(set.length(0), most);
  if (padded && (pooling == "mean" || pooling == "p"))
    train::log_info(fmt::format(
        "model.pooling is {}: padding counts, so an answer depends on the longest of the {} examples that "
        "go through the model together; with cls and real_mean it does not",
        pooling, std::min(set.examples(), model.recipe.train.batch_size)));
}

/// What evaluating these examples takes. Error where the machine does not have it, or the file another model.
MemoryPlan plan_of(const Described& model, const train::ModelSize& size, const data::Dataset& set,
                   const Backend* module) {
  const train::Session dry(model.recipe, size, Context::dry(module), false);
  train::need_weights(model.checkpoint.file, dry.parameters());
  const MemoryPlan plan = train::with_room(train::Session::plan(
      model.recipe, size, train::planned_shapes(model.recipe, {&set}, model.vocabulary), false, module));
  const data::UsableMemory usable = data::usable_memory();
  if (!module && plan.total() > usable.bytes)
    throw Error(fmt::format("{}: evaluating {} needs {} MiB of memory, the {} has {} MiB",
                            model.checkpoint.file.path(), set.name, plan.total() >> 20, usable.limit,
                            usable.bytes >> 20));
  return plan;
}

class PredictionFile {
 public:
  PredictionFile(const std::string& path, const data::Dataset& set) : file_(path), set_(set) {
    file_.write(kHeader, sizeof(kHeader) - 1);
  }
  void add(const data::Batch& batch, const std::vector<float>& logits) {
    for (int64_t b = 0; b < batch.B; ++b) {
      const train::Answer answer = train::answer_of(logits, batch.B, b);
      const int64_t example = batch.examples[size_t(b)];
      const int32_t label = batch.labels[size_t(b)];
      const std::string line =
          fmt::format("{}\t{}\t{}\t{:.4f}\t{}\n", example + 1, label == data::no_label ? "" : std::to_string(label),
                      answer.label, answer.probability, data::example_text(set_, example));
      file_.write(line.data(), line.size());
    }
  }
  void commit() { file_.commit(); }

 private:
  static constexpr char kHeader[] = "number\tlabel\tprediction\tprobability\texample\n";
  data::DurableFile file_;
  const data::Dataset& set_;
};

/// What one evaluation found, beside its score.
struct Findings {
  train::Confusion confusion;
  std::vector<train::Answer> answers;  // [examples], of a person's own examples
  std::optional<data::Baselines> base;
};

void print_json(const Arguments& a, const Given& given, const train::Score& s, const Findings& found) {
  data::Json j{{"checkpoint", a.checkpoint},
               {"data", given.set->name},
               {"examples", given.own ? given.set->examples() : s.examples}};
  if (s.examples > 0)
    j.update({{"accuracy", s.accuracy},
              {"loss", s.loss},
              {"perplexity", std::exp(s.loss)},
              {"examples_per_s", double(s.examples) / s.seconds},
              {"confusion", found.confusion.counts()}});
  data::Json::List by_length, answers;
  for (const train::LengthBucket& b : found.confusion.by_length())
    by_length.push_back(
        {{"shortest", b.shortest}, {"longest", b.longest}, {"examples", b.examples}, {"correct", b.correct}});
  for (const train::Answer& answer : found.answers)
    answers.push_back(
        {{"class", given.set->kind->class_names[size_t(answer.label)]}, {"probability", answer.probability}});
  if (!by_length.empty()) j.set("by_length", std::move(by_length));
  if (!answers.empty()) j.set("answers", std::move(answers));
  if (found.base) j.set("majority_class", found.base->majority);
  if (found.base && given.set->kind->name == "listops") j.set("first_operator", found.base->first_symbol);
  fmt::print("{}\n", j.dump());
}

void print(const Arguments& a, const Given& given, const train::Score& s, const Findings& found) {
  if (a.json) return print_json(a, given, s, found);
  for (size_t i = 0; i < found.answers.size(); ++i)
    fmt::print("{}  {:.4f}  {}\n", given.set->kind->class_names[size_t(found.answers[i].label)],
               found.answers[i].probability, data::shown_bare(data::example_text(*given.set, int64_t(i))));
  if (s.examples == 0) return;
  fmt::print("{}: {} examples, {:.0f} a second\n", data::printable(given.set->name), s.examples,
             double(s.examples) / s.seconds);
  fmt::print("accuracy        {:.4f}\nloss            {:.4f} nats (perplexity {:.3f})\n", s.accuracy, s.loss,
             std::exp(s.loss));
  if (found.base) fmt::print("majority class  {:.4f}\n", found.base->majority);
  if (found.base && given.set->kind->name == "listops")
    fmt::print("first operator  {:.4f}  (knows only the first symbol)\n", found.base->first_symbol);
  if (a.confusion) fmt::print("\n{}", found.confusion.table());
}

int run(const Arguments& a) {
  train::use_threads(a.threads);
  const Described model = describe(a.checkpoint);
  const Recipe& recipe = model.recipe;
  const Given given = read_data(a, model);
  if (!a.predictions.empty()) check_predictions(a, model, given);
  tell_of_lengths(model, *given.set);
  tell_of_other_examples(model, a, *given.set);
  std::string why;
  const std::unique_ptr<Backend> module = choose_device(a.device, &why);
  if (module) train::need_device(recipe, module.get());
  const train::ModelSize size = train::model_size(recipe, model.vocabulary, {given.set.get()});
  const MemoryPlan plan = plan_of(model, size, *given.set, module.get());
  train::Session session(recipe, size, std::make_unique<Context>(plan, module.get()), false);
  train::load_weights(model.checkpoint.file, session);
  data::listen_for_stop();
  std::optional<PredictionFile> predictions;
  if (!a.predictions.empty()) predictions.emplace(a.predictions, *given.set);
  const data::Loader loader = train::file_order(given.set, model.vocabulary, recipe, recipe.train.batch_size);
  Findings found{train::Confusion(*given.set), {}, {}};
  const train::Score s = train::score(session, loader, 0, recipe.data.prefetch,
                                      [&](const data::Batch& b, const std::vector<float>& logits) {
                                        if (predictions) predictions->add(b, logits);
                                        found.confusion.add(b, logits);
                                        for (int64_t i = 0; given.own && i < b.B; ++i)
                                          found.answers.push_back(train::answer_of(logits, b.B, i));
                                      });
  for (const train::Answer& answer : found.answers)
    if (!std::isfinite(answer.probability)) throw Error(fmt::format("{}: the model answers with NaN", a.checkpoint));
  if (!std::isfinite(s.loss))
    throw Error(fmt::format("{}: the loss is {}", a.checkpoint, std::isnan(s.loss) ? "NaN" : "infinite"));
  if (predictions) predictions->commit();
  if (std::filesystem::is_directory(given.path) && data::has_split(given.path, *given.set->kind, "train"))
    found.base =
        data::baselines(data::read_split(given.path, *given.set->kind, "train"), given.set->first(s.examples));
  print(a, given, s, found);
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
