// Work for ThreadSanitizer, in a build with it (tools/check.sh, tools/dev/mutate.py): every kernel runs on the shim,
// nothing is compared. Sections, so that -c picks one.
#include <cstdlib>
#include <set>

#include "tests/kernels/cuda/coverage.h"
#include "tests/support/catch.h"
#include "tests/support/device_module.h"
#include "tests/support/model_fixture.h"
#include "tests/support/op_case.h"
#include "tests/support/training_fixture.h"

namespace selene::testing {
namespace {

using namespace train;

// The other element types go through the same kernels.
const DType kTypes[] = {DType::f32, DType::f16};

void run_all(const std::string& op, DType dtype, const char* capability) {
  setenv("SELENE_DEVICE_CAPABILITY", capability, 1);
  Context device(test_memory(), &device_module(), device_is_shim());
  unsetenv("SELENE_DEVICE_CAPABILITY");
  set_test_step(device);
  for (const auto* cases : {&op_cases(), &device_cases()})
    for (const OpCase& c : *cases)
      if (c.op == op) run_case(c, random_values(c, dtype, 9), dtype, device);
}

void train_step(const char* precision) {
  Recipe r = small_recipe(small_luna());
  r.train.precision = precision;
  const auto s = small_session(r, 4, 13, &device_module());
  update(*s, {random_batch(r.model, 4, 13, 5)}, 0);
}

}  // namespace

TEST_CASE("races: every operation and a training step", "[.races]") {
  std::set<std::string> ops;
  for (const auto* cases : {&op_cases(), &device_cases()})
    for (const OpCase& c : *cases) ops.insert(c.op);
  for (const std::string& op : ops)
    for (const DType dtype : kTypes) DYNAMIC_SECTION(op << " " << name_of(dtype)) {
        run_all(op, dtype, "80");
      }
  SECTION("attention on sm_70") { run_all("attention", DType::f16, "70"); }
  for (const char* precision : {"fp32", "fp16"}) DYNAMIC_SECTION("training step " << precision) {
      train_step(precision);
    }
}

TEST_CASE("races: every kernel was there", "[.races]") { CHECK(kernels_not_run() == std::set<std::string>{}); }

}  // namespace selene::testing
