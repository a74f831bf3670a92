// A captured training step, replayed, equals eager steps bit for bit: everything that changes from step to step
// stands in device memory.
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/model_fixture.h"
#include "tests/support/threads.h"
#include "tests/support/training_fixture.h"

namespace selene::testing {
namespace {

using namespace train;

constexpr int64_t kB = 4, kN = 13;

struct Outcome {
  std::vector<std::vector<float>> state;
  double norm, loss;
};

Outcome outcome(Session& s) { return {state_of(s), s.optimizer().norm(), s.loss_sums().loss}; }

void step(Session& s, const DeviceBatch& batch) {
  s.micro_batch(batch, 0);
  s.optimizer().step();
}

Outcome eager(const Recipe& r, const data::Batch& batch) {
  const auto s = small_session(r, kB, kN);
  const DeviceBatch on_device = s->upload(batch);
  for (int64_t u = 0; u < 3; ++u) {
    s->set_step(u, 0, double(kB));
    step(*s, on_device);
  }
  return outcome(*s);
}

Outcome replayed(const Recipe& r, const data::Batch& batch) {
  const auto s = small_session(r, kB, kN);
  const DeviceBatch on_device = s->upload(batch);
  Stream& stream = s->context().stream();
  stream.begin_capture();
  step(*s, on_device);
  const Graph graph = stream.end_capture();
  for (int64_t u = 0; u < 3; ++u) {
    s->set_step(u, 0, double(kB));
    stream.replay(graph);
  }
  return outcome(*s);
}

}  // namespace

TEST_CASE("three replays of a captured step equal three eager steps") {
  const Threads one(1);
  for (const NamedConfig& variant : model_variants())
    for (const char* precision : {"fp32", "bf16"}) {
      INFO(variant.name << " " << precision);
      Recipe r = small_recipe(variant.config);
      r.train.precision = precision;
      const data::Batch batch = random_batch(r.model, kB, kN, 5);
      const Outcome a = eager(r, batch), b = replayed(r, batch);
      CHECK(a.state == b.state);
      CHECK(a.norm == b.norm);
      CHECK(a.loss == b.loss);
      CHECK(a.norm > 0);
    }
}

TEST_CASE("a replay with the scalars of another step gives another result") {
  const Recipe r = small_recipe(small_luna());
  const data::Batch batch = random_batch(r.model, kB, kN, 5);
  const auto s = small_session(r, kB, kN);
  const DeviceBatch on_device = s->upload(batch);
  s->context().stream().begin_capture();
  s->micro_batch(on_device, 0);
  const Graph graph = s->context().stream().end_capture();
  const auto gradients = [&](int64_t finished) {
    s->set_step(finished, 0, double(kB));
    s->context().stream().replay(graph);
    return floats(*s, s->parameters().gradients());
  };
  const std::vector<float> first = gradients(0), second = gradients(1);
  CHECK(first != second);
  CHECK(gradients(0) == first);
}

TEST_CASE("reading the loss or a new batch inside a captured step is refused") {
  const Recipe r = small_recipe(small_transformer());
  const data::Batch batch = random_batch(r.model, kB, kN, 5);
  const auto s = small_session(r, kB, kN);
  s->context().stream().begin_capture();
  const std::string capture = ": not possible while a step is captured";
  CHECK(message_of([&] { s->micro_batch(batch, 0); }) == "a copy from host memory" + capture);
  CHECK(message_of([&] { s->loss_sums(); }) == "a copy to host memory" + capture);
  CHECK(message_of([&] { s->optimizer().norm(); }) == "a copy to host memory" + capture);
  CHECK(message_of([&] { s->set_step(1, 0, 1); }) == "a copy from host memory" + capture);
  s->context().stream().end_capture();
  CHECK(s->context().step().live() == 0);
}

}  // namespace selene::testing
