// Parameter counts of the Long Range Arena models of the Luna release (untied keys and values), without the table of
// V x D token embeddings: counted from the authors' modules, and here from the recipes. Path-X is Pathfinder with
// 16,386 positions.
#include "data/dataset.h"
#include "models/heads/classifier.h"
#include "tests/support/catch.h"
#include "train/recipe/recipe.h"
#include "train/report/recipe_compare.h"

namespace selene::testing {
namespace {

using namespace train;

struct Task {
  const char* name;
  int64_t transformer, luna16, luna128, luna256;
};

constexpr int64_t kPathXRows = (16386 - 1026) * 128;  // position embeddings that Pathfinder does not have
constexpr Task kTasks[] = {
    {"listops", 5250560, 6048256, 6105600, 6171136},
    {"text", 4449792, 5245952, 5274624, 5307392},
    {"retrieval", 1438464, 1639936, 1654272, 1670656},
    {"image", 108864, 122624, 129792, 137984},
    {"pathfinder", 264960, 317056, 331392, 347776},
    {"pathx", 264960 + kPathXRows, 317056 + kPathXRows, 331392 + kPathXRows, 347776 + kPathXRows},
};

/// Parameters of a recipe's model in the frame `luna`, whose padding symbol is 1, without the token table.
int64_t count(const std::string& setting, const std::string& model, const std::vector<std::string>& sets = {}) {
  const std::string recipes = std::string(SELENE_SOURCE_ROOT) + "/recipes";
  const Recipe recipe = compose_recipe(lra_files(recipes, setting, model), sets);
  ModelConfig config = recipe.model;
  config.max_positions = recipe.data.max_length;
  constexpr int64_t kSymbols = 33;
  const auto classes = int64_t(data::kind_named(recipe.data.kind).class_names.size());
  const auto dry = Context::dry();
  Parameters parameters;
  const Classifier classifier(config, {kSymbols, 1}, classes, parameters, *dry, DType::f32);
  return parameters.true_elements() - (config.input == "tokens" ? kSymbols * config.dim : 0);
}

/// What Luna has more than a Transformer of its size (untied): in each layer three matrices with bias and a layer
/// norm, and once the norm on P and P itself.
int64_t luna_extra(int64_t layers, int64_t dim, int64_t projection) {
  return layers * (3 * (dim * dim + dim) + 2 * dim) + 2 * dim + projection * dim;
}

}  // namespace

TEST_CASE("the recipes' models have the reference's number of parameters") {
  for (const Task& task : kTasks) {
    CAPTURE(task.name);
    const std::string place = std::string("release/") + task.name;
    CHECK(count(place, "transformer") == task.transformer);
    CHECK(count(place, "luna-16") == task.luna16);
    CHECK(count(place, "luna-128") == task.luna128);
    CHECK(count(place, "luna-256") == task.luna256);
  }
}

TEST_CASE("parameters of the recipes' variants") {
  CHECK(count("paper/retrieval", "luna-128") == count("release/retrieval", "luna-128"));
  CHECK(count("paper/image", "luna-128") == count("release/image", "luna-128"));
  // Only the ListOps Transformer has a position more than its Luna.
  CHECK(count("release/text", "luna-16") - count("release/text", "transformer") == luna_extra(4, 256, 16));
  CHECK(count("release/listops", "luna-16") - count("release/listops", "transformer") ==
        luna_extra(1, 512, 16) - 512);
  CHECK(count("release/listops", "luna-16", {"model.layers=6", "model.tie_layers=true"}) ==
        count("release/listops", "luna-16"));
  const int64_t tied = count("release/text", "luna-16", {"model.luna.tie_kv=true"});
  CHECK(count("release/text", "luna-16") - tied == 4 * 2 * (256 * 256 + 256));
}

TEST_CASE("parameters of the configuration of Tay et al.") {
  // Image, Transformer: table of 1,025 positions (and the padding symbol's two rows), attention of width 64 without
  // biases, feed-forward, two norms in the layer and one after it, head with a bias in its hidden layer alone.
  const int64_t D = 128, width = 64, F = 128;
  const int64_t layer = 4 * D * width + (D * F + F) + (F * D + D) + 2 * 2 * D;
  CHECK(count("tay/image", "transformer") == (1025 + 2) * D + layer + 2 * D + (D * F + F) + F * 10);
  // Pathfinder has fixed positions.
  const int64_t d = 32, w = 16, f = 32;
  const int64_t small = 4 * d * w + (d * f + f) + (f * d + d) + 2 * 2 * d;
  CHECK(count("tay/pathfinder", "transformer") == 4 * small + 2 * d + (d * f + f) + f * 2);
  CHECK(count("tay/listops", "luna-16") > count("tay/listops", "transformer"));
}

}  // namespace selene::testing
