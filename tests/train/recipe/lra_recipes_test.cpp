// The recipes under recipes/lra against the tables that they are made from: the Luna release's command lines and
// presets (Ma et al. 2021) and the released configurations of Tay et al. 2021. And what holds for every recipe of the
// repository.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "tests/support/catch.h"
#include "train/recipe/recipe.h"
#include "train/report/recipe_compare.h"

namespace {

namespace fs = std::filesystem;
using selene::load_recipe;
using selene::Recipe;
using Strings = std::vector<std::string>;

const fs::path RECIPES = fs::path(SELENE_SOURCE_ROOT) / "recipes";
const Strings TASKS{"listops", "text", "retrieval", "image", "pathfinder", "pathx"};
const Strings MODELS{"transformer", "luna-16", "luna-128", "luna-256"};

/// `name` is "tay/listops luna-16": a setting and a model.
Recipe lra(const std::string& name, const Strings& sets = {}) {
  const size_t blank = name.find(' ');
  return selene::compose_recipe(
      selene::train::lra_files(RECIPES.string(), name.substr(0, blank), name.substr(blank + 1)), sets);
}

std::string error_of(const std::string& name, const Strings& sets) {
  try {
    lra(name, sets);
  } catch (const selene::Error& e) {
    return e.what();
  }
  return "no error";
}

/// Every value by its dotted key, as to_yaml writes it, without quotes.
std::map<std::string, std::string> values(const Recipe& recipe) {
  std::map<std::string, std::string> all;
  std::istringstream lines(to_yaml(recipe));
  Strings sections;  // those that the line stands in
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':'), indent = line.find_first_not_of(' ');
    sections.resize(indent / 2);
    const std::string name = line.substr(indent, colon - indent);
    if (colon + 1 == line.size()) {
      sections.push_back(name + ".");
      continue;
    }
    std::string value = line.substr(colon + 2), path;
    if (value.size() >= 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
    for (const std::string& section : sections) path += section;
    all[path + name] = value;
  }
  return all;
}

/// One key and its value for each of TASKS; a single value is meant for all of them.
struct Row {
  const char* key;
  Strings of_task;
};

void check_table(const std::string& folder, const std::vector<Row>& table) {
  for (size_t task = 0; task < TASKS.size(); ++task)
    for (const std::string& model : MODELS) {
      const auto found = values(lra(folder + TASKS[task] + " " + model));
      for (const Row& row : table) {
        CAPTURE(folder, TASKS[task], model, row.key);
        if (model == "transformer" && std::string(row.key).starts_with("model.luna.")) continue;
        REQUIRE(found.count(row.key) == 1);
        CHECK(found.at(row.key) == (row.of_task.size() == 1 ? row.of_task[0] : row.of_task.at(task)));
      }
    }
}

Strings recipe_files() {
  Strings files;
  for (const auto& entry : fs::recursive_directory_iterator(RECIPES)) {
    const std::string top = entry.path().lexically_relative(RECIPES).begin()->string();
    if (entry.path().extension() == ".yaml" && top != "paper" && top != "sweeps")
      files.push_back(entry.path().string());
  }
  return files;
}

// Columns: listops, text, retrieval, image, pathfinder, pathx.
const std::vector<Row> LUNA_RELEASE{
    {"model.layers", {"1", "4", "4", "1", "1", "1"}},
    {"model.dim", {"512", "256", "128", "64", "128", "128"}},
    {"model.heads", {"8", "4", "4", "8", "4", "4"}},
    {"model.ffn_dim", {"2048", "1024", "512", "128", "128", "128"}},
    {"model.tie_layers", {"true", "false", "false", "false", "false", "false"}},
    {"model.head_dim", {"2048", "1024", "512", "128", "256", "256"}},
    {"model.pooling", {"cls", "cls", "cls", "cls", "mean", "mean"}},
    {"model.towers", {"1", "1", "2", "1", "1", "1"}},
    {"model.init", {"bert", "bert", "default", "default", "default", "default"}},
    {"model.dropout", {"0.1", "0.3", "0.1", "0.3", "0.2", "0.2"}},
    {"model.attention_dropout", {"0.1", "0.3", "0.1", "0.1", "0.1", "0.1"}},
    {"model.input", {"tokens"}},
    {"model.luna.pack_heads", {"0"}},
    {"model.luna.dynamic_projection", {"true"}},
    {"model.luna.contextual_p", {"true"}},
    {"model.luna.tie_kv", {"false"}},
    {"model.attention_dim", {"0"}},
    {"model.attention_bias", {"true"}},
    {"model.norm", {"post"}},
    {"model.activation", {"gelu"}},
    {"model.positions", {"learned"}},
    {"model.scale_embedding", {"false"}},
    {"model.embedding_norm", {"true"}},
    {"model.max_positions", {"0"}},
    {"model.head", {"hidden"}},
    {"model.head_layers", {"1"}},
    {"model.tower_features", {"concat"}},
    {"model.activation_dropout", {"0"}},
    {"model.head_dropout", {"0"}},
    {"data.task", {"listops", "text", "retrieval", "image", "pathfinder", "pathfinder"}},
    {"data.path",
     {"data-out/lra/listops", "data-out/lra/text", "data-out/lra/retrieval", "data-out/lra/image",
      "data-out/lra/pathfinder", "data-out/lra/pathx"}},
    {"data.frame", {"luna"}},
    {"data.group_by_length", {"false"}},
    {"optim.name", {"adam"}},
    {"optim.lr", {"0.0001", "5e-05", "0.0005", "0.005", "0.001", "0.001"}},
    {"optim.beta1", {"0.9"}},
    {"optim.beta2", {"0.98"}},
    {"optim.eps", {"1e-08"}},
    {"optim.weight_decay", {"0.0001", "0.0001", "0.0001", "0", "0", "0"}},
    {"optim.decay", {"decoupled"}},
    {"optim.clip_norm", {"0"}},
    {"schedule.name", {"inverse_sqrt"}},
    {"schedule.warmup", {"1000", "8000", "8000", "4000", "4000", "4000"}},
    {"schedule.init_lr", {"1e-07"}},
    {"train.updates", {"5000", "20000", "20000", "35000", "62500", "500000"}},
    {"train.batch_size", {"32", "32", "32", "256", "512", "64"}},
    {"train.accumulation", {"1"}},
    {"train.seed", {"1"}},
    {"train.label_smoothing", {"0"}},
    {"train.validate_every", {"20", "100", "2000", "0", "0", "2500"}},
    {"train.validate_examples", {"0"}},
    {"train.patience", {"0"}},
    {"train.best_metric", {"accuracy"}},
};

const std::vector<Row> TAY{
    {"model.layers", {"4", "4", "4", "1", "4", "1"}},
    {"model.dim", {"512", "256", "128", "128", "32", "32"}},
    {"model.heads", {"8", "4", "4", "8", "4", "2"}},
    {"model.ffn_dim", {"1024", "1024", "512", "128", "32", "32"}},
    {"model.head_dim", {"1024", "1024", "512", "128", "32", "32"}},
    {"model.head_layers", {"1", "1", "2", "1", "1", "1"}},
    {"model.towers", {"1", "1", "2", "1", "1", "1"}},
    {"model.tower_features", {"concat"}},
    {"model.pooling", {"cls", "cls", "cls", "cls", "mean", "mean"}},
    {"model.positions", {"sinusoidal", "sinusoidal", "sinusoidal", "learned", "sinusoidal", "learned"}},
    {"model.dropout", {"0.1", "0.1", "0.1", "0.3", "0.2", "0.1"}},
    {"model.attention_dropout", {"0.1", "0.1", "0.1", "0.2", "0.1", "0.1"}},
    {"model.activation_dropout", {"0.1", "0.1", "0.1", "0.3", "0.2", "0.1"}},
    {"model.head_dropout", {"0"}},
    {"model.tie_layers", {"false"}},
    {"model.luna.tie_kv", {"false"}},
    {"model.attention_bias", {"false"}},
    {"model.norm", {"pre"}},
    {"model.activation", {"gelu_tanh"}},
    {"model.scale_embedding", {"false"}},
    {"model.embedding_norm", {"false"}},
    {"model.init", {"default"}},
    {"data.task", {"listops", "text", "retrieval", "image", "pathfinder", "pathfinder"}},
    {"data.path",
     {"data-out/lra/listops", "data-out/lra/text", "data-out/lra/retrieval", "data-out/lra/image",
      "data-out/lra/pathfinder", "data-out/lra/pathx"}},
    {"data.frame", {"luna", "luna", "luna", "luna", "lra", "lra"}},
    {"data.max_length", {"2001", "1001", "4001", "1025", "1024", "16384"}},
    {"optim.name", {"adam_torch"}},
    {"optim.lr", {"0.05", "0.05", "0.05", "0.0005", "0.001", "0.001"}},
    {"optim.beta1", {"0.9"}},
    {"optim.beta2", {"0.98"}},
    {"optim.eps", {"1e-09"}},
    {"optim.weight_decay", {"0.1", "0.1", "0.1", "0", "0", "0"}},
    {"optim.decay", {"decoupled"}},
    {"optim.clip_norm", {"0", "0", "0", "0", "0", "1"}},
    {"optim.clip_mode", {"total"}},
    {"schedule.name", {"lra_rsqrt", "lra_rsqrt", "lra_rsqrt", "lra_cosine", "lra_cosine", "lra_cosine"}},
    {"schedule.warmup", {"1000", "8000", "8000", "175", "312", "2500"}},
    {"schedule.cycle", {"0", "0", "0", "35000", "62400", "500000"}},
    {"train.updates", {"5000", "20000", "5000", "35000", "62400", "500000"}},
    {"train.batch_size", {"32", "32", "32", "256", "512", "64"}},
    {"train.accumulation", {"1"}},
    {"train.seed", {"0"}},
    {"train.validate_every", {"50", "100", "100", "175", "312", "2500"}},
};

}  // namespace

TEST_CASE("LRA recipes: the Luna release, every task and model") {
  check_table("release/", LUNA_RELEASE);
  const int64_t longest[] = {2001, 4002, 4002, 1024, 1026, 16386};
  for (size_t task = 0; task < TASKS.size(); ++task)
    for (const std::string& model : MODELS) {
      CAPTURE(TASKS[task], model);
      const bool keeps_eos = TASKS[task] == "listops" && model == "transformer";
      CHECK(lra("release/" + TASKS[task] + " " + model).data.max_length == longest[task] + keeps_eos);
    }
}

TEST_CASE("LRA recipes: the configuration of Tay et al., every task and model") {
  check_table("tay/", TAY);
  const int64_t width[] = {0, 0, 0, 64, 16, 16};  // of queries, keys and values, where it is not the model's
  for (size_t task = 0; task < TASKS.size(); ++task) {
    CHECK(lra("tay/" + TASKS[task] + " transformer").model.attention_dim == width[task]);
    CHECK(lra("tay/" + TASKS[task] + " luna-16").model.attention_dim == 0);
  }
}

TEST_CASE("LRA recipes: the four models of a task differ in the model alone") {
  for (const std::string folder : {"release/", "tay/"})
    for (const std::string& task : TASKS) {
      CAPTURE(folder, task);
      const std::string place = folder + task + " ";
      const Recipe luna = lra(place + "luna-16");
      CHECK(luna.model.attention == "luna");
      CHECK(changed_keys(luna, lra(place + "luna-128")) == Strings{"model.luna.projection_length: 16 -> 128"});
      CHECK(changed_keys(luna, lra(place + "luna-256")) == Strings{"model.luna.projection_length: 16 -> 256"});
      Recipe transformer = lra(place + "transformer");
      transformer.model.attention_dim = 0;
      if (place == "release/listops ") transformer.data.max_length = luna.data.max_length;
      CHECK(changed_keys(luna, transformer) == Strings{"model.attention: luna -> full"});
    }
}

TEST_CASE("LRA recipes: the paper's variants differ from the release's in what the paper says") {
  for (const std::string& model : MODELS) {
    CAPTURE(model);
    CHECK(changed_keys(lra("release/retrieval " + model), lra("paper/retrieval " + model)) ==
          Strings{"optim.lr: 0.0005 -> 5e-05"});
    CHECK(changed_keys(lra("release/image " + model), lra("paper/image " + model)) ==
          Strings{"model.dropout: 0.3 -> 0.1", "model.attention_dropout: 0.1 -> 0.3"});
  }
  const Recipe head = lra("release/image-pixels luna-16");
  CHECK(head.model.input == "pixels");
  CHECK(head.model.head_dropout == head.model.dropout);
  CHECK(head.optim.lr == lra("release/image luna-16").optim.lr);
}

TEST_CASE("LRA recipes: the overrides that the documentation names") {
  for (const std::string& task : TASKS) {
    CAPTURE(task);
    CHECK(error_of("release/" + task + " luna-128", {"model.pooling=p"}) == "no error");
    CHECK(error_of("release/" + task + " transformer", {"model.pooling=p"}) ==
          "--set model.pooling=p: model.pooling is p, wanted cls, mean or real_mean: model.attention full has no P");
  }
  for (const std::string length : {"1002", "2002", "3002"})
    CHECK(error_of("release/text transformer", {"data.max_length=" + length}) == "no error");
  CHECK(error_of("release/listops luna-16", {"model.layers=6", "model.tie_layers=true"}) == "no error");
  CHECK(error_of("release/text luna-16", {"model.luna.tie_kv=true"}) == "no error");
  CHECK(error_of("release/pathfinder luna-16", {"train.batch_size=256"}) == "no error");
  CHECK(error_of("release/pathx luna-16", {"train.batch_size=8", "train.accumulation=8"}) == "no error");
}

TEST_CASE("recipes: each comes back from its YAML and from --set of every value") {
  const Strings files = recipe_files();
  CHECK(files.size() >= 20);
  for (const std::string& file : files) {
    CAPTURE(file);
    const Recipe recipe = load_recipe(file);
    CHECK(selene::parse_recipe(to_yaml(recipe), file) == recipe);
    Strings sets;
    for (const auto& [key, value] : values(recipe)) sets.push_back(key + "=" + value);
    CHECK(sets.size() > 70);
    CHECK(load_recipe((RECIPES / "quickstart.yaml").string(), sets) == recipe);
  }
}

TEST_CASE("LRA recipes: a run's folder is named by the files") {
  CHECK(lra("release/listops luna-16").name == "listops-luna-16");
  CHECK(lra("release/listops transformer").name == "listops-transformer");
  CHECK(lra("release/image-pixels luna-16").name == "image-pixels-luna-16");
  CHECK(lra("tay/pathx transformer").name == "pathx-tay-transformer");
  CHECK(lra("paper/image luna-256").name == "image-paper-luna-256");
}

TEST_CASE("LRA recipes: every value says where it is from") {
  const std::set<std::string> own{"  attention", "  luna", "  task",
                                  "  path"};  // the model, its section, the data and their place need no source
  size_t lines = 0;
  for (const std::string& file : recipe_files()) {
    if (file.find("/lra/") == file.npos && file.find("/models/") == file.npos) continue;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line); ++lines) {
      CAPTURE(file, line);
      CHECK(line.size() <= 115);
      const bool value = line.starts_with("  ") && !own.contains(line.substr(0, line.find(':')));
      CHECK((!value || line.find(" # ") != line.npos));
    }
  }
  CHECK(lines > 600);
}
