// The recipes under recipes/lra: what the tasks of a setting have in common, and what hangs together in one, by the
// Luna release's command lines and presets (Ma et al. 2021) and the released configurations of Tay et al. 2021. And
// what holds for every recipe of the repository.
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

namespace selene::testing {
namespace {

using namespace train;
namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

const fs::path kRecipes = fs::path(SELENE_SOURCE_ROOT) / "recipes";
const Strings kTasks{"listops", "text", "retrieval", "image", "pathfinder", "pathx"};
const Strings kModels{"transformer", "luna-16", "luna-128", "luna-256"};

/// `name` is "tay/listops luna-16": a setting and a model.
Recipe lra(const std::string& name, const Strings& sets = {}) {
  const size_t blank = name.find(' ');
  return compose_recipe(lra_files(kRecipes.string(), name.substr(0, blank), name.substr(blank + 1)), sets);
}

std::string error_of(const std::string& name, const Strings& sets) {
  try {
    lra(name, sets);
  } catch (const Error& e) {
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

/// Keys in which the recipes of a setting are not the same for all tasks.
std::set<std::string> varying(const std::string& setting) {
  std::set<std::string> keys;
  const auto first = values(lra(setting + kTasks[0] + " luna-16"));
  for (const std::string& task : kTasks)
    for (const auto& [key, value] : values(lra(setting + task + " luna-16")))
      if (const auto at = first.find(key); at == first.end() || at->second != value) keys.insert(key);
  return keys;
}

// What the tasks of both settings differ in; each has more of its own.
std::set<std::string> with(const std::set<std::string>& more) {
  std::set<std::string> keys{"description",
                             "name",
                             "model.layers",
                             "model.dim",
                             "model.heads",
                             "model.ffn_dim",
                             "model.head_dim",
                             "model.pooling",
                             "model.towers",
                             "model.tower_features",
                             "model.dropout",
                             "model.attention_dropout",
                             "data.kind",
                             "data.path",
                             "data.max_length",
                             "optim.lr",
                             "optim.weight_decay",
                             "schedule.warmup",
                             "train.updates",
                             "train.batch_size",
                             "train.validate_every",
                             "train.log_every"};
  keys.insert(more.begin(), more.end());
  return keys;
}

Strings recipe_files() {
  Strings files;
  for (const auto& entry : fs::recursive_directory_iterator(kRecipes)) {
    const std::string top = entry.path().lexically_relative(kRecipes).begin()->string();
    if (entry.path().extension() == ".yaml" && top != "paper" && top != "sweeps")
      files.push_back(entry.path().string());
  }
  return files;
}

}  // namespace

TEST_CASE("LRA recipes: the Luna release, every task and model") {
  CHECK(varying("release/") == with({"model.init", "model.tie_layers", "train.checkpoint_every"}));
  const int64_t longest[] = {2001, 4002, 4002, 1024, 1026, 16386};
  for (size_t task = 0; task < kTasks.size(); ++task)
    for (const std::string& model : kModels) {
      CAPTURE(kTasks[task], model);
      const Recipe r = lra("release/" + kTasks[task] + " " + model);
      const bool keeps_eos = kTasks[task] == "listops" && model == "transformer";
      CHECK(r.data.max_length == longest[task] + keeps_eos);
      CHECK(r.model.head_dim == (r.model.pooling == "mean" ? 2 * r.model.dim : r.model.ffn_dim));
      CHECK((r.model.towers == 2) == (r.data.kind == "retrieval"));
      CHECK((r.model.pooling == "mean") == (r.data.kind == "pathfinder"));
      CHECK(r.data.path == "data-out/lra/" + kTasks[task]);
    }
}

TEST_CASE("LRA recipes: the configuration of Tay et al., every task and model") {
  CHECK(varying("tay/") ==
        with({"model.activation_dropout", "model.head_layers", "model.max_positions", "model.positions", "data.frame",
              "optim.clip_norm", "schedule.cycle", "schedule.name"}));
  const int64_t width[] = {0, 0, 0, 64, 16, 16};  // of queries, keys and values, where it is not the model's
  for (size_t task = 0; task < kTasks.size(); ++task) {
    CAPTURE(kTasks[task]);
    CHECK(lra("tay/" + kTasks[task] + " transformer").model.attention_dim == width[task]);
    const Recipe r = lra("tay/" + kTasks[task] + " luna-16"), release = lra("release/" + kTasks[task] + " luna-16");
    CHECK(r.model.attention_dim == 0);
    CHECK(r.model.head_dim == r.model.ffn_dim);
    CHECK(r.model.activation_dropout == r.model.dropout);
    const bool cosine = r.schedule.name == "lra_cosine";  // over the whole run, after an epoch, as validations are
    CHECK(r.schedule.cycle == (cosine ? r.train.updates : 0));
    CHECK((!cosine || r.schedule.warmup == r.train.validate_every));
    CHECK(r.model.towers == release.model.towers);
    CHECK(r.model.pooling == release.model.pooling);
    CHECK(r.data.path == release.data.path);
    CHECK(r.train.batch_size == release.train.batch_size);
    CHECK((r.data.frame == "lra") == (r.model.pooling == "mean"));  // no CLS where nothing reads it
  }
}

TEST_CASE("LRA recipes: the four models of a task differ in the model alone") {
  for (const std::string folder : {"release/", "tay/"})
    for (const std::string& task : kTasks) {
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
  for (const std::string& model : kModels) {
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
  for (const std::string& task : kTasks) {
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
    CHECK(parse_recipe(to_yaml(recipe), file) == recipe);
    Strings sets;
    for (const auto& [key, value] : values(recipe)) sets.push_back(key + "=" + value);
    CHECK(sets.size() > 50);
    CHECK(parse_recipe("description: x\n", "r.yaml", sets) == recipe);
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
  const std::set<std::string> own{"  attention", "  luna", "  kind",
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

}  // namespace selene::testing
