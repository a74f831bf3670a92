// Whole training steps on the device: captured and replayed, repeated, in other schedules, and beside the CPU.
#include <cmath>
#include <cstring>

#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/device_module.h"
#include "tests/support/model_fixture.h"
#include "tests/support/op_case.h"
#include "tests/support/share.h"
#include "tests/support/threads.h"
#include "tests/support/training_fixture.h"
#include "train/step/step_graphs.h"

namespace selene::testing {
namespace {

using namespace train;

constexpr int64_t kB = 4, kN = 13;

// Everything four updates leave behind, as bits. With graphs the first runs eagerly, three are replays of a capture.
std::string four_updates(const Recipe& r, const data::Batch& batch, bool graph) {
  const auto s = small_session(r, kB, kN, &device_module());
  StepGraphs steps(*s, graph);
  for (int64_t u = 0; u < 4; ++u) {
    s->set_step(u, 0, double(kB));
    steps.micro_batch(batch, 0);
    steps.optimizer_step();
  }
  CHECK(steps.replays() == (graph ? 3 : 0));
  std::string bits;
  const auto add = [&](const void* data, size_t bytes) { bits.append(static_cast<const char*>(data), bytes); };
  for (const std::vector<float>& v : state_of(*s)) add(v.data(), v.size() * sizeof(float));
  const double norm = s->optimizer().norm(), loss = s->loss_sums().loss;
  CHECK((norm > 0 && std::isfinite(loss)));
  add(&norm, sizeof(norm)), add(&loss, sizeof(loss));
  return bits;
}

// Gradients of the first micro-batch, and the loss they are of.
std::vector<double> first_gradients(const Recipe& r, const data::Batch& batch, const Backend* module) {
  const auto s = small_session(r, kB, kN, module);
  s->set_step(0, 0, double(kB));
  s->micro_batch(batch, 0);
  std::vector<double> v = download_doubles(s->context(), s->parameters().gradients());
  const float scale = s->optimizer().state().scale;
  for (double& x : v) x /= double(scale);
  v.push_back(s->loss_sums().loss);
  return v;
}

}  // namespace

TEST_CASE("a step captured and replayed three times equals eager steps on the device") {
  size_t number = 0;
  for (const NamedConfig& variant : model_variants())
    for (const char* precision : {"fp32", "fp16", "bf16"}) {
      if (!in_todays_share(number++ * 4 / 3, 3)) continue;  // another type for each next one
      INFO(variant.name << " " << precision);
      Recipe r = small_recipe(variant.config);
      r.train.precision = precision;
      const data::Batch batch = random_batch(r.model, kB, kN, 5);
      CHECK(four_updates(r, batch, true) == four_updates(r, batch, false));
    }
}

TEST_CASE("a training step on the device is the same in every schedule") {
  for (const ModelConfig& model : {small_luna(), small_transformer()}) {
    const Recipe r = small_recipe(model);
    const data::Batch batch = random_batch(r.model, kB, kN, 5);
    CHECK(in_all_schedules([&] { return four_updates(r, batch, false); }) == "");
  }
}

TEST_CASE("a recipe that cuDNN's attention can't have is refused before the run") {
  Recipe r = small_recipe(small_transformer());
  r.train.attention_kernels = "cudnn", r.model.attention_dropout = 0.25;
  const auto refusal = [&] { return message_of([&] { need_device(r, &device_module()); }); };
  CHECK(refusal() ==
        "train.attention_kernels is cudnn, which computes in bf16 and fp16: train.precision is fp32; `auto` takes "
        "cuDNN where it can");
  r.train.precision = "bf16";
  CHECK(refusal() ==
        "train.attention_kernels is cudnn, which has no dropout: model.attention_dropout is 0.25; `auto` takes cuDNN "
        "where it can");
  r.model.attention_dropout = 0;
  CHECK(refusal() == "");
}

// The shim has no cuDNN.
TEST_CASE("attention by cuDNN where there is none is an error, auto is our own") {
  if (!device_is_shim()) return;
  Recipe r = small_recipe(small_transformer());
  r.train.precision = "bf16";
  const data::Batch batch = random_batch(r.model, kB, kN, 5);
  const std::string own = four_updates(r, batch, false);
  r.train.attention_kernels = "auto";
  CHECK(four_updates(r, batch, false) == own);
  r.train.attention_kernels = "cudnn";
  CHECK(message_of([&] { four_updates(r, batch, false); }) == "cuDNN attention: this module was built without cuDNN");
  Context context(test_memory(), &device_module());
  CHECK(message_of([&] { context.stream().set(StreamOption::attention, 4); }) ==
        "stream option: value 4, wanted 0 to 3");
}

// Rounding errors of a whole step: the CPU's own distance between two element types is the measure. In fp32 the
// reference is the CPU in fp32, and sums of at most some thousand terms in another order lose a few hundred units.
TEST_CASE("the gradients of a step on the device are the CPU's within rounding") {
  const Threads one(1);
  for (const NamedConfig& variant : model_variants())
    for (const char* precision : {"fp32", "fp16", "bf16"}) {
      INFO(variant.name << " " << precision);
      Recipe r = small_recipe(variant.config);
      const data::Batch batch = random_batch(r.model, kB, kN, 5);
      const std::vector<double> exact = first_gradients(r, batch, nullptr);
      r.train.precision = precision;
      const std::vector<double> plain = first_gradients(r, batch, nullptr);
      const std::vector<double> device = first_gradients(r, batch, &device_module());
      CHECK(distance(device, exact) <= 2 * distance(plain, exact) + 256 * 0x1p-24 * largest(exact));
    }
}

TEST_CASE("an error inside a captured step ends the capture, and the next step is captured and replayed") {
  const Recipe r = small_recipe(small_luna());
  const data::Batch batch = random_batch(r.model, kB, kN, 5);
  data::Batch nameless = batch;
  nameless.inputs[0].name = "none";
  for (const Backend* module : {static_cast<const Backend*>(nullptr), &device_module()}) {
    INFO((module ? "module" : "cpu"));
    const auto s = small_session(r, kB, kN, module);
    StepGraphs steps(*s, true);
    s->set_step(0, 0, double(kB));
    steps.micro_batch(batch, 0);  // launch by launch
    const std::vector<float> eager = floats(*s, s->parameters().gradients());
    CHECK_THROWS_AS(steps.micro_batch(nameless, 0), Error);
    CHECK(!s->context().stream().capturing());
    CHECK(s->context().step().live() == 0);
    for (int64_t replay = 1; replay < 3; ++replay) {
      s->set_step(0, 0, double(kB));
      steps.micro_batch(batch, 0);
      CHECK(steps.replays() == replay);
      CHECK(floats(*s, s->parameters().gradients()) == eager);
    }
  }
}

TEST_CASE("fp16 on the device: an overflow skips the update and halves the scale, at the floor it stops") {
  Recipe r = small_recipe(small_luna());
  r.train.precision = "fp16", r.train.fp16_init_scale = 0x1p40;
  const data::Batch batch = random_batch(r.model, kB, kN, 5);
  const auto s = small_session(r, kB, kN, &device_module());
  StepGraphs steps(*s, true);
  const std::vector<std::vector<float>> before = state_of(*s);
  const auto step = [&](int64_t u) {
    s->set_step(u, 0, double(kB));
    steps.micro_batch(batch, 0);
    steps.optimizer_step();
    return s->optimizer().state();
  };
  UpdateState u{};
  for (int64_t i = 0; i < 3; ++i) u = step(i);
  CHECK((u.skip && !u.stopped && u.skipped == 3 && u.scale == 0x1p37f));
  CHECK(state_of(*s) == before);
  for (int64_t i = 3; i < 40 && u.skip; ++i) u = step(i);
  CHECK((!u.skip && u.good == 1 && u.scale < 0x1p37f));
  CHECK(state_of(*s) != before);

  r.train.fp16_min_scale = 0x1p39;
  const auto floor = small_session(r, kB, kN, &device_module());
  floor->set_step(7, 0, double(kB));
  floor->micro_batch(batch, 0);
  floor->optimizer().step();
  u = floor->optimizer().state();
  CHECK((u.stopped && u.bad_update == 7));
  CHECK(floor->parameters().find(floor->optimizer().first_not_finite()) >= 0);
}

}  // namespace selene::testing
