// Grids of the repository: they can be read, and their cells are those that the tables compare runs with.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "train/recipe/recipe.h"
#include "train/report/recipe_compare.h"
#include "train/sweep/cells.h"
#include "train/sweep/children.h"
#include "train/sweep/grid.h"

namespace selene::testing {
namespace {

using namespace train;

const std::string kRecipes = std::string(SELENE_SOURCE_ROOT) + "/recipes";

std::vector<Cell> cells(const std::string& name, SweepOptions options = {}) {
  options.out = "out";
  return cells_of(read_grid(kRecipes + "/sweeps/" + name + ".yaml"), options, {});
}

bool has(const Cell& cell, const std::string& set) {
  return std::find(cell.sets.begin(), cell.sets.end(), set) != cell.sets.end();
}

}  // namespace

TEST_CASE("grids of the repository: every cell is the recipe of its place in the tables") {
  const std::vector<std::pair<std::string, size_t>> grids = {{"table1", 20}, {"pathx", 4}, {"table3", 18}};
  for (const auto& [name, count] : grids) {
    const std::vector<Cell> all = cells(name);
    CHECK(all.size() == count);
    for (const Cell& cell : all) {
      INFO(cell.title);
      CHECK(cell.problem == "");
      std::vector<std::string> sets(cell.p ? 1 : 0, "model.pooling=p");
      CHECK(cell.resolved ==
            to_yaml(compose_recipe(lra_files(kRecipes, "release/" + cell.recipe, cell.model), sets)));
    }
  }
  for (const char* name : {"table2", "figure1"})
    CHECK(!read_grid(kRecipes + "/sweeps/" + name + ".yaml").write.empty());
  const Grid timed = read_grid(kRecipes + "/sweeps/table2.yaml");
  CHECK((timed.rounds == 3 && timed.steps == 20 && timed.batch == 32 && timed.precision == "fp32"));
}

TEST_CASE("a grid's cells: folders, variants and the scale") {
  SweepOptions options;
  options.recipes = {"text"}, options.models = {"luna-16"};
  const std::vector<Cell> pair = cells("table3", options);
  REQUIRE(pair.size() == 2);
  CHECK(pair[0].folder == "out/text/luna-16/seed-1");
  CHECK(pair[1].folder == "out/text/luna-16-p/seed-1");
  CHECK((!pair[0].p && pair[1].p && pair[1].model == "luna-16"));

  options.scale = 0.001, options.sets = {"train.batch_size=7"};
  const Cell small = cells("table1", options).at(0);
  for (const char* set : {"train.updates=20", "schedule.warmup=5", "train.batch_size=4", "train.validate_examples=50",
                          "train.checkpoint_every=10", "train.log_every=2"})
    CHECK(has(small, set));
  CHECK(small.sets.back() == "train.batch_size=7");
  CHECK(small.resolved.find("batch_size: 7\n") != std::string::npos);
  CHECK((scale_text(0.001) == "0.001" && scale_text(0.00005) == "0.00005" && scale_text(1) == "1"));
}

TEST_CASE("words as a shell takes them") {
  CHECK(shell_line({"selene-train", "a b", "it's", "", "x=[1, 2]", "a/b.yaml"}) ==
        "selene-train 'a b' 'it'\\''s' '' 'x=[1, 2]' a/b.yaml");
}

}  // namespace selene::testing
