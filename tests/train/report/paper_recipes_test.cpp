// The mark of a run whose recipe is not that of its place in Tables 1 and 3.
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "train/folder/metrics.h"
#include "train/recipe/recipe.h"
#include "train/report/lra_runs.h"
#include "train/report/lra_tables.h"
#include "train/report/recipe_compare.h"

namespace selene::testing {
namespace {

using namespace train;
namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

const std::string kRecipes = std::string(SELENE_SOURCE_ROOT) + "/recipes";
const Paper kNumbers = load_paper(kRecipes + "/paper/luna.yaml");
const Strings kScaled = {"train.updates=5",          "schedule.warmup=1",      "train.batch_size=8",
                         "train.accumulation=1",     "train.validate_every=5", "train.validate_examples=100",
                         "train.checkpoint_every=2", "train.log_every=1"};

/// Runs as selene-train leaves them, in a folder of their own.
struct Runs {
  Folder folder;
  std::vector<LraRun> all;

  /// A finished run of a setting below recipes/lra and a model with other values.
  LraRun& add(const std::string& setting, const std::string& model, const Strings& sets, double accuracy = 0.5) {
    return add_files(lra_files(kRecipes, setting, model), sets, accuracy);
  }
  LraRun& add_files(const Strings& files, const Strings& sets, double accuracy = 0.5) {
    const fs::path path = folder.path / std::to_string(all.size());
    fs::create_directory(path);
    MetricsWriter((path / "metrics.jsonl").string()).append(MetricsRow{"test", 5, {{"accuracy", accuracy}}});
    write_text((path / "recipe.yaml").string(), to_yaml(compose_recipe(files, sets)));
    return all.emplace_back(load_lra_run(path.string(), kNumbers));
  }

  std::string table1(const std::string& recipes = kRecipes) {
    compare_recipes(all, recipes);
    return accuracy_table(all, kNumbers);
  }
};

}  // namespace

TEST_CASE("a run of its place's own recipe has no mark") {
  Runs runs;
  runs.add("release/listops", "luna-16", {});
  runs.add("release/listops", "transformer", {});
  runs.add("release/text", "transformer", {});
  runs.add("release/pathx", "luna-128", {});
  runs.add("release/image", "luna-256", {"train.batch_size=64", "train.accumulation=4"});
  runs.add("release/retrieval", "luna-16",
           {"train.seed=7", "data.path=elsewhere", "train.threads=1", "train.log_every=7",
            "train.validate_every=1000", "train.validate_examples=50", "train.checkpoint_every=7", "train.keep=9",
            "data.prefetch=9", "train.recompute=layers", "name=mine"});
  const std::string table = runs.table1();
  for (const LraRun& run : runs.all) {
    INFO(run.recipe);
    CHECK(run.differences == Strings{});
    CHECK(run.not_compared == "");
    CHECK(run.recipe.starts_with(kRecipes + "/lra/release/" + run.task));
    CHECK(run.recipe.ends_with(run.model + ".yaml"));
  }
  CHECK(holds(table, "| Luna-256 | 37.98 / – | 65.78 / – | 79.56 / – | 47.86 / 50.00 (1 seed) |"));
  CHECK(!holds(table, "†"));
  CHECK(!holds(table, "ecipe"));
}

TEST_CASE("a run of another recipe is marked, and its keys are named") {
  Runs runs;
  runs.add("release/listops", "luna-16", {"model.layers=2"});
  runs.add("release/listops", "luna-16", {"model.layers=2", "train.seed=2"}, 0.6);
  runs.add("release/listops", "transformer", {});
  CHECK(holds(runs.table1(),
              "| Luna-16 | 37.43 / 55.00† ± 7.07 (2 seeds) | 65.74 / – | 79.38 / – | 46.39 / – | 78.36 / – | "
              "61.46 / – |\n"));
  CHECK(holds(runs.table1(), "| Transformer | 37.11 / 50.00 (1 seed) |"));
  CHECK(holds(runs.table1(),
              "\n† trained with another recipe than that of its place in the table. What differs, there -> "
              "here:\n\n"
              "* ListOps, Luna-16, against " +
                  kRecipes + "/lra/release/listops.yaml " + kRecipes +
                  "/models/luna-16.yaml: model.layers 1 -> 2\n"));
  CHECK(!holds(runs.table1(), "layers 1 -> 2\n*"));  // once for a cell
  for (const char* set :
       {"optim.lr=0.5", "schedule.warmup=3", "data.max_length=99", "train.updates=9999", "train.accumulation=2",
        "train.batch_size=31", "train.precision=bf16", "data.group_by_length=true", "train.patience=3",
        "train.label_smoothing=0.1", "model.dropout=0.25"}) {
    Runs other;
    other.add("release/listops", "luna-16", {set});
    other.table1();
    INFO(set);
    REQUIRE(other.all[0].differences.size() == 1);
    const std::string key_and_value = set;
    const size_t equals = key_and_value.find('=');
    CHECK(other.all[0].differences[0].starts_with(key_and_value.substr(0, equals) + " "));
    CHECK(other.all[0].differences[0].ends_with(" -> " + key_and_value.substr(equals + 1)));
  }
}

TEST_CASE("of many keys that differ six are named") {
  Runs runs;
  const Strings six = {"model.layers=2",   "model.dim=16",      "model.heads=2",
                       "model.ffn_dim=16", "model.head_dim=16", "model.dropout=0.2"};
  runs.add("release/listops", "luna-16", six);
  CHECK(holds(runs.table1(), "model.head_dim 2048 -> 16, model.dropout 0.1 -> 0.2\n"));
  Strings eight = six;
  eight.insert(eight.end(), {"train.updates=7", "optim.lr=0.5"});
  Runs more;
  more.add("release/listops", "luna-16", eight);
  CHECK(holds(more.table1(), "model.dropout 0.1 -> 0.2 and 2 more\n"));
  Runs text;
  text.add_files({kRecipes + "/lra/cpu/text.yaml"}, {});
  CHECK(holds(text.table1(), "| Luna-16 | 37.43 / – | 65.74 / 50.00† (1 seed) |"));
  CHECK(holds(text.table1(), "* Text, Luna-16, against " + kRecipes + "/lra/release/text.yaml " + kRecipes +
                                 "/models/luna-16.yaml: model.layers 4 -> 1, "));
}

TEST_CASE("below scale 1 what selene-sweep scales has no mark of its own") {
  Runs runs;
  runs.add("release/listops", "luna-16", kScaled).scale = "0.001";
  Strings wider = kScaled;
  wider.push_back("model.layers=2");
  runs.add("release/listops", "luna-128", wider).scale = "0.001";
  runs.add("release/listops", "luna-256", kScaled);  // by hand, so no note under the table speaks of it
  const std::string table = runs.table1();
  CHECK(runs.all[0].differences == Strings{});
  CHECK(runs.all[1].differences == Strings{"model.layers 1 -> 2"});
  CHECK(runs.all[2].differences.size() == 3);
  CHECK(holds(table, "| Luna-16 | 37.43 / 50.00 (1 seed) |"));
  CHECK(holds(table, "| Luna-128 | 38.01 / 50.00† (1 seed) |"));
  CHECK(holds(table, "| Luna-256 | 37.98 / 50.00† (1 seed) |"));
}

TEST_CASE("a cell of P is compared with P, and an average has the mark of its cells") {
  Runs runs;
  for (const char* task : {"listops", "text", "retrieval"}) {
    runs.add(std::string("release/") + task, "luna-16", {});
    runs.add(std::string("release/") + task, "luna-16", {"model.pooling=p"});
  }
  runs.add("release/listops", "luna-128", {"model.pooling=mean"}).stand_in = true;
  for (const char* task : {"text", "retrieval"}) runs.add(std::string("release/") + task, "luna-128", {});
  compare_recipes(runs.all, kRecipes);
  const std::string table = pooling_table(runs.all, kNumbers);
  CHECK(holds(table, "| Luna-16 | P | 38.06 / 50.00 (1 seed) | 65.81 / 50.00 (1 seed) | 80.22 / 50.00 (1 seed) "));
  CHECK(holds(table,
              "| Luna-128 | [CLS] | 38.01 / 50.00\\*† (1 seed) | 65.74 / 50.00 (1 seed) | 79.55 / 50.00 (1 seed) "
              "| 61.10 / 50.00\\*† |\n"));
  CHECK(holds(table, "luna-128.yaml: model.pooling cls -> mean\n"));
  CHECK(!holds(table, "Luna-16, against"));
}

TEST_CASE("recipes that are not there are told under the table") {
  Runs runs;
  runs.add("release/listops", "luna-16", {"model.layers=2"});
  runs.add("release/text", "luna-16", {});
  const std::string table = runs.table1("recipes-elsewhere");
  CHECK(holds(table,
              "\nRecipes not compared with those of the table: recipes-elsewhere is not there, wanted the "
              "sources' root as the current folder.\n"));
  CHECK(!holds(table, "†"));

  Runs others;
  others.add("release/listops", "luna-16", {"model.luna.projection_length=64"});
  others.add("release/text", "luna-16", {"model.layers=1"});
  write_text(others.add("release/image", "luna-16", {}).folder + "/recipe.yaml", "model:\n  depth: 1\n");
  const std::string partly = others.table1();
  CHECK(holds(partly, "of the table: " + others.all[2].folder + "/recipe.yaml:2:3: unknown key model.depth"));
  CHECK(holds(partly, "; " + kRecipes + "/models/luna-64.yaml: cannot be opened: No such file"));
  CHECK(holds(partly, "| luna-64 | – / 50.00 (1 seed) |"));
  CHECK(holds(partly, "65.74 / 50.00† (1 seed)"));
  LraRun not_begun;
  std::vector<LraRun> none = {not_begun};
  compare_recipes(none, kRecipes);
  CHECK((none[0].recipe.empty() && none[0].not_compared.empty()));
}

}  // namespace selene::testing
