// Parameter counts of the Long Range Arena models of the Luna release (untied keys and values), without the table of
// V x D token embeddings: counted from the authors' modules.
#include "models/classifier.h"
#include "tests/catch.h"
#include "train/recipe.h"

using namespace selene;

namespace {

struct Task {
  const char* name;
  int64_t layers, dim, heads, ffn, luna_positions, transformer_positions, head, classes, towers;
  const char* pooling;
  int64_t transformer, luna16, luna128, luna256;
};

constexpr Task kTasks[] = {
    {"listops", 1, 512, 8, 2048, 2001, 2002, 2048, 10, 1, "cls", 5250560, 6048256, 6105600, 6171136},
    {"text", 4, 256, 4, 1024, 4002, 4002, 1024, 2, 1, "cls", 4449792, 5245952, 5274624, 5307392},
    {"retrieval", 4, 128, 4, 512, 4002, 4002, 512, 2, 2, "cls", 1438464, 1639936, 1654272, 1670656},
    {"image", 1, 64, 8, 128, 1024, 1024, 128, 10, 1, "cls", 108864, 122624, 129792, 137984},
    {"pathfinder", 1, 128, 4, 128, 1026, 1026, 256, 2, 1, "mean", 264960, 317056, 331392, 347776},
};

int64_t count(const Task& task, const std::string& name, int64_t projection) {
  ModelConfig c;
  c.name = name, c.layers = task.layers, c.dim = task.dim, c.heads = task.heads, c.ffn_dim = task.ffn;
  c.projection_length = projection, c.head_dim = task.head, c.towers = task.towers, c.pooling = task.pooling;
  c.max_positions = name == "luna" ? task.luna_positions : task.transformer_positions;
  constexpr int64_t kSymbols = 33;
  const auto dry = Context::dry();
  Parameters parameters;
  const Classifier model(c, {kSymbols, 1}, task.classes, parameters, *dry, DType::f32);
  return parameters.true_elements() - kSymbols * task.dim;
}

}  // namespace

TEST_CASE("models have the reference's number of parameters") {
  for (const Task& task : kTasks) {
    INFO(task.name);
    CHECK(count(task, "transformer", 0) == task.transformer);
    CHECK(count(task, "luna", 16) == task.luna16);
    CHECK(count(task, "luna", 128) == task.luna128);
    CHECK(count(task, "luna", 256) == task.luna256);
  }
}

TEST_CASE("the ListOps recipes describe those models") {
  for (const char* name : {"transformer", "luna-16", "luna-128", "luna-256"}) {
    const Recipe r = load_recipe(std::string(SELENE_SOURCE_ROOT) + "/recipes/lra/listops/" + name + ".yaml");
    INFO(name);
    CHECK(r.model.layers == 1);
    CHECK(r.model.dim == 512);
    CHECK(r.model.head_dim == 2048);
    CHECK(r.data.max_length == (r.model.name == "luna" ? 2001 : 2002));
    CHECK_FALSE(r.model.tie_kv);
  }
}
