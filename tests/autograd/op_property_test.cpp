// What holds for every operation, whatever it computes: the same bits for any number of threads, and a NaN stays
// visible. That nothing is written beyond a tensor is watched by the guards of the contexts of gradient_ops_test.cpp
// and, for the shim, of device_ops_test.cpp.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "tests/support/catch.h"
#include "tests/support/device_module.h"
#include "tests/support/op_case.h"
#include "tests/support/threads.h"

namespace selene {
namespace {

using namespace testing;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string title(const OpCase& c) { return c.op + " " + c.label; }

// Another number, on the other side of a kink at 0.
double moved(double x) { return (x > 0 ? -0.375 : 0.375) - x; }

// The first of `found` that is a number where `with` differs from `without`; empty when there is none.
std::string hidden(const char* what, size_t number, const std::vector<double>& without,
                   const std::vector<double>& with, const std::vector<double>& found) {
  for (size_t i = 0; i < without.size(); ++i)
    if (without[i] != with[i] && !std::isnan(found[i]))
      return fmt::format("{} {} element {} is {}, wanted NaN", what, number, i, found[i]);
  return "";
}

// A NaN in one element of an input must show in every element of the result that depends on it, and one in the
// cotangent in every element of a gradient that depends on it. What depends on it is found by moving it, in double on
// the CPU.
std::string nan_complaint(const OpCase& c, size_t input, Context& cpu, Context& on) {
  const OpValues values = random_values(c, DType::f32, 9);
  const OpResult before = run_case(c, values, DType::f64, cpu);
  OpValues other = values;
  std::vector<double>& x = other.inputs[input];
  const size_t at = x.size() * 7 / 10;
  x[at] = moved(values.inputs[input][at]);
  const OpResult after = run_case(c, other, DType::f64, cpu);
  x[at] = kNan;
  const std::string result = hidden("result", input, before.y, after.y, run_case(c, other, DType::f32, on).y);
  if (!result.empty()) return result;
  other = values;
  double& g = other.cotangent[other.cotangent.size() * 7 / 10];
  g = moved(g);
  const OpResult turned = run_case(c, other, DType::f64, cpu);
  g = kNan;
  const OpResult found = run_case(c, other, DType::f32, on);
  for (size_t i = 0; i < found.gradients.size(); ++i) {
    const std::string gradient = hidden("gradient", i, before.gradients[i], turned.gradients[i], found.gradients[i]);
    if (!gradient.empty()) return gradient;
  }
  return "";
}

}  // namespace

TEST_CASE("every operation gives the same bits with 1, 2 and 3 threads") {
  Context context(test_memory());
  set_test_step(context);
  for (const OpCase& c : thread_cases())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      INFO(title(c) << " " << name_of(dtype));
      const OpValues values = random_values(c, dtype, 9);
      const auto on = [&](int threads) {
        const Threads scope(threads);
        return run_case(c, values, dtype, context);
      };
      const OpResult one = on(1);
      for (const int threads : {2, 3}) {
        const OpResult more = on(threads);
        CHECK(one.y == more.y);
        CHECK(one.gradients == more.gradients);
      }
    }
}

TEST_CASE("every operation shows a NaN of an input in what depends on it, on the CPU and on the device") {
  const Threads one(1);
  Context cpu(test_memory()), device(test_memory(), &device_module());
  set_test_step(cpu), set_test_step(device);
  size_t turn = 0;  // the device is slow: one input a case
  for (const OpCase& c : op_cases()) {
    for (size_t i = 0; i < c.inputs.size(); ++i)
      if (const std::string s = nan_complaint(c, i, cpu, cpu); !s.empty()) FAIL_CHECK(title(c) << ": " << s);
    if (const std::string s = nan_complaint(c, turn++ % c.inputs.size(), cpu, device); !s.empty())
      FAIL_CHECK(title(c) << " on the device: " << s);
  }
}

}  // namespace selene
