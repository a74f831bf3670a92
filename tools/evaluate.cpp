// selene-evaluate: what a checkpoint gets right on a split, a TSV file, or expressions of one's own.
#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "data/baselines.h"
#include "data/durable_file.h"
#include "data/listops.h"
#include "engine/threads.h"
#include "kernels/error.h"
#include "tools/program.h"
#include "train/log.h"
#include "train/run_state.h"
#include "train/trainer.h"

using namespace selene;

namespace {

struct Arguments {
  std::string checkpoint, data, split = "test", predictions, device = "auto";
  int64_t examples = 0, threads = 0;
  bool json = false;
};

void declare(CLI::App& app, Arguments& a) {
  app.footer(
      "Example: selene-evaluate runs/quickstart/checkpoints/best\n"
      "         echo '[MAX 2 9 [MIN 4 7 ] 0 ]' | selene-evaluate runs/quickstart/checkpoints/best - --predictions "
      "out.tsv");
  app.add_option("CHECKPOINT", a.checkpoint, "checkpoint file or link, or a run's folder (its best checkpoint)")
      ->required();
  app.add_option("DATA", a.data,
                 "folder of splits, a TSV file, or a file of expressions (one a line; - is stdin); default: the "
                 "recipe's data.path");
  app.add_option("--split", a.split, "split of a folder")
      ->check(CLI::IsMember({"train", "valid", "test"}))
      ->capture_default_str();
  app.add_option("--predictions", a.predictions,
                 "write one line an example: number, label, prediction, probability, expression");
  app.add_option("--examples", a.examples, "only the first N examples (0: all)")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 40));
  app.add_option("--threads", a.threads, "CPU threads (0: all)")->check(CLI::Range(0, 4096));
  app.add_option("--device", a.device, "auto | cpu | cuda | a module's file")->capture_default_str();
  app.add_flag("--json", a.json, "one JSON object on stdout");
}

// Expressions as a person types them; the label is their value.
data::Dataset read_expressions(std::istream& in, const std::string& name) {
  data::Dataset set;
  set.name = name, set.symbol_names = data::listops_symbol_names(), set.classes = data::listops_classes;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    try {
      const std::vector<uint8_t> symbols = data::parse_listops(line);
      set.symbols.insert(set.symbols.end(), symbols.begin(), symbols.end());
      set.labels.push_back(data::listops_value(symbols));
    } catch (const Error& e) {
      throw Error(fmt::format("{}:{}: {}", name, number, e.what()));
    }
    set.offsets.push_back(int64_t(set.symbols.size()));
  }
  if (set.labels.empty()) throw Error(fmt::format("{}: no expression in it", name));
  return set;
}

// A TSV file begins with its header; anything else is one expression a line.
data::Dataset read_text(std::istream& in, const std::string& name) {
  std::stringstream text;
  text << in.rdbuf();
  if (text.str().starts_with("\xef\xbb\xbf")) text.ignore(3);  // a byte order mark, as some editors write it
  const bool tsv = text.str().substr(size_t(text.tellg())).starts_with("Source\t");
  return tsv ? data::read_listops(text, name) : read_expressions(text, name);
}

data::Dataset read_data(const Arguments& a, const std::string& folder) {
  if (a.data == "-") return read_text(std::cin, "stdin");
  if (std::filesystem::is_directory(folder)) return data::read_listops(data::listops_path(folder, a.split));
  std::ifstream file(folder);
  if (!file) throw Error(fmt::format("{}: can't be read", folder));
  return read_text(file, folder);
}

// A run's folder stands for its best checkpoint.
std::string checkpoint_path(const std::string& given) {
  return std::filesystem::is_directory(given) ? given + "/checkpoints/best" : given;
}

void check_predictions(const Arguments& a, const std::string& data) {
  std::error_code none;
  if (std::filesystem::equivalent(a.predictions, data, none))
    throw Error(fmt::format("--predictions {}: that is the file being evaluated; give another name", a.predictions));
}

class PredictionFile {
 public:
  PredictionFile(const std::string& path, const data::Dataset& set) : file_(path), set_(set) {
    file_.write(kHeader, sizeof(kHeader) - 1);
  }
  void add(const data::Batch& batch, const std::vector<float>& logits) {
    const int64_t classes = int64_t(logits.size()) / batch.B;
    for (int64_t b = 0; b < batch.B; ++b) {
      const float* row = logits.data() + b * classes;
      const int64_t best = std::max_element(row, row + classes) - row;
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c) sum += std::exp(double(row[c]) - double(row[best]));
      const int64_t example = batch.examples[size_t(b)];
      const std::string line = fmt::format("{}\t{}\t{}\t{:.4f}\t{}\n", example + 1, batch.labels[size_t(b)], best,
                                           1 / sum, data::listops_text(set_.row(example)));
      file_.write(line.data(), line.size());
    }
  }
  void commit() { file_.commit(); }

 private:
  static constexpr char kHeader[] = "number\tlabel\tprediction\tprobability\texpression\n";
  data::DurableFile file_;
  const data::Dataset& set_;
};

void print(const Arguments& a, const data::Dataset& set, const train::Score& s,
           const std::optional<data::Baselines>& base) {
  if (a.json) {
    nlohmann::ordered_json j{{"checkpoint", a.checkpoint},
                             {"data", set.name},
                             {"examples", s.examples},
                             {"accuracy", s.accuracy},
                             {"loss", s.loss},
                             {"perplexity", std::exp(s.loss)},
                             {"examples_per_s", double(s.examples) / s.seconds}};
    if (base) j["majority_class"] = base->majority, j["first_operator"] = base->first_symbol;
    fmt::print("{}\n", j.dump());
    return;
  }
  fmt::print("{}: {} examples, {:.0f} a second\n", set.name, s.examples, double(s.examples) / s.seconds);
  fmt::print("accuracy        {:.4f}\nloss            {:.4f} nats (perplexity {:.3f})\n", s.accuracy, s.loss,
             std::exp(s.loss));
  if (base)
    fmt::print("majority class  {:.4f}\nfirst operator  {:.4f}  (knows only the first symbol)\n", base->majority,
               base->first_symbol);
}

int run(const Arguments& a) {
  if (a.threads > 0) omp_set_num_threads(int(a.threads));
  const train::Checkpoint checkpoint = train::open_checkpoint(checkpoint_path(a.checkpoint));
  const Recipe recipe = parse_recipe(checkpoint.metadata("recipe"), a.checkpoint);
  const data::Vocabulary vocabulary = data::vocabulary_from_json(checkpoint.metadata("vocabulary"));
  const std::string folder = a.data.empty() ? recipe.data.path : a.data;
  const auto set = std::make_shared<const data::Dataset>(read_data(a, folder));
  if (const int64_t cut = vocabulary.count_cut(*set, recipe.data.max_length))
    train::log_warning(fmt::format("{}: {} examples are longer than data.max_length = {} tokens and lose their tail",
                                   set->name, cut, recipe.data.max_length));
  if (!a.predictions.empty()) check_predictions(a, folder);
  std::string why;
  const std::unique_ptr<Module> module = choose_device(a.device, &why);
  if (module) train::need_device(recipe, module.get());
  const train::ModelSize size{
      {vocabulary.size, vocabulary.pad}, std::stoll(checkpoint.metadata("classes")), recipe.data.max_length};
  const MemoryPlan plan =
      train::Session::plan(recipe, size, train::planned_shapes(recipe, {set.get()}, vocabulary), false, module.get());
  train::Session session(recipe, size, std::make_unique<Context>(plan, module.get()), false);
  train::load_weights(checkpoint.file, session);
  std::optional<PredictionFile> predictions;
  if (!a.predictions.empty()) predictions.emplace(a.predictions, *set);
  const data::Loader loader = train::file_order(set, vocabulary, recipe, recipe.train.batch_size);
  const train::Score s = train::score(session, loader, a.examples, recipe.data.prefetch,
                                      [&](const data::Batch& b, const std::vector<float>& logits) {
                                        if (predictions) predictions->add(b, logits);
                                      });
  if (!std::isfinite(s.loss)) throw Error(fmt::format("{}: the loss is {}", a.checkpoint, std::isnan(s.loss) ? "NaN" : "infinite"));
  if (predictions) predictions->commit();
  std::optional<data::Baselines> base;
  if (std::filesystem::is_directory(folder) && a.data != "-")
    base = data::baselines(data::read_listops(data::listops_path(folder, "train")), *set);
  print(a, *set, s, base);
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
