// The names a recipe may use are the names that something is built from.
#include "models/registry.h"

#include <cmath>
#include <filesystem>

#include "tests/support/catch.h"
#include "train/recipe/recipe.h"
#include "train/step/memory_plan.h"
#include "train/step/schedule.h"

namespace selene::testing {

using namespace train;

static bool close(double is, double wanted, double relative) { return std::abs(is - wanted) <= relative * wanted; }

TEST_CASE("every mechanism of the registry is a choice of model.attention, and every choice is in the registry") {
  std::string known;
  for (const Mechanism& m : attentions()) {
    const std::string name(m.name);
    const std::string pooling = m.packed ? "p" : "cls";
    CHECK(parse_recipe("model: {attention: " + name + ", pooling: " + pooling + "}", "test").model.attention == name);
    known += known.empty() ? name : ", " + name;
  }
  std::string message;
  try {
    parse_recipe("model: {attention: lunatic}", "test");
  } catch (const std::exception& e) {
    message = e.what();
  }
  INFO(message << "; the registry has " << known);
  for (const Mechanism& m : attentions()) CHECK(message.find(m.name) != std::string::npos);
}

TEST_CASE("every mechanism runs with every LRA recipe: a step of each pair is planned") {
  const std::string models = std::string(SELENE_SOURCE_ROOT) + "/recipes/models/";
  size_t pairs = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(SELENE_SOURCE_ROOT "/recipes/lra"))
    for (const char* model : {"efficient.yaml", "luna-16.yaml", "transformer.yaml"}) {
      if (entry.path().extension() != ".yaml") continue;
      CAPTURE(entry.path().string(), model);
      const Recipe r = compose_recipe({entry.path().string(), models + model});
      const auto task = imagine_task(r, 40, r.data.max_length);
      CHECK(plan_memory(*task, {task->shape(2, 64)}, true).step > 0);
      ++pairs;
    }
  CHECK(pairs >= 39);
}

// Values of the reference's schedulers (fairseq optim/lr_scheduler); the whole curves are in tests/golden.
TEST_CASE("schedules have the reference's values at a few updates") {
  const auto rate = [](const char* yaml, double peak, int64_t u) {
    return learning_rate(
        parse_recipe("schedule: " + std::string(yaml) + "\ntrain: {updates: 1000000}", "test").schedule, peak,
        1000000, u);
  };
  const char* inverse = "{name: inverse_sqrt, warmup: 1000, init_lr: 1e-7}";
  CHECK(close(rate(inverse, 1e-4, 0), 1e-7, 1e-9));
  CHECK(close(rate(inverse, 1e-4, 500), 5.005e-5, 1e-9));
  CHECK(close(rate(inverse, 1e-4, 1000), 1e-4, 1e-9));
  CHECK(close(rate(inverse, 1e-4, 5000), 4.47213595e-5, 1e-8));
  const char* milestone =
      "{name: milestone, warmup: 1000, init_lr: 1e-5, milestones: [300000, 450000], decay_rate: 0.1}";
  CHECK(close(rate(milestone, 0.1, 1), 1.0999e-4, 1e-9));
  CHECK(close(rate(milestone, 0.1, 1000), 0.1, 1e-9));
  CHECK(close(rate(milestone, 0.1, 299999), 0.1, 1e-9));
  CHECK(close(rate(milestone, 0.1, 300000), 0.01, 1e-9));
  CHECK(close(rate(milestone, 0.1, 450000), 0.001, 1e-9));
  const char* polynomial = "{name: polynomial, warmup: 2000, total: 65520}";
  CHECK(close(rate(polynomial, 1e-5, 1), 5e-9, 1e-9));
  CHECK(close(rate(polynomial, 1e-5, 2001), 9.99984257e-6, 1e-8));
  CHECK(close(rate(polynomial, 1e-5, 30000), 5.59193955e-6, 1e-8));
  CHECK(rate(polynomial, 1e-5, 65520) == 0);
  CHECK(close(rate("{name: fixed, warmup: 160}", 1e-5, 0), 6.25e-8, 1e-9));
  CHECK(close(rate("{name: fixed, warmup: 160}", 1e-5, 159), 1e-5, 1e-9));
  const char* linear = "{name: linear, warmup: 15000, total: 250000}";
  CHECK(close(rate(linear, 6e-4, 1), 4e-8, 1e-9));
  CHECK(close(rate(linear, 6e-4, 15001), 5.99997447e-4, 1e-8));
}

}  // namespace selene::testing
