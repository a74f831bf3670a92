// Every operation on the device against the CPU: forward and backward, in every element type, the small cases of the
// gradient checks and larger ones around the edges of the device's tiles.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/support/catch.h"
#include "tests/support/device_module.h"
#include "tests/support/op_case.h"
#include "tests/support/share.h"
#include "tests/support/threads.h"

namespace selene::testing {
namespace {

double unit_roundoff(DType t) { return t == DType::f32 ? 0x1p-24 : t == DType::f16 ? 0x1p-11 : 0x1p-8; }

// What a tensor may differ by from the value in double: twice the error of the plain computation in the same element
// type (the CPU's), and a few roundings of the largest element for a different order of addition. Where terms of
// about 1 cancel, a part of their roundings stays.
std::string beyond(const std::vector<double>& device, const std::vector<double>& plain,
                   const std::vector<double>& exact, DType dtype) {
  const double roundings = dtype == DType::f32 ? 32 : 4;
  const double scale = std::max(largest(exact), 1.0 / 64);
  const double allowed = 2 * distance(plain, exact) + roundings * unit_roundoff(dtype) * scale;
  const double error = distance(device, exact);
  if (error <= allowed) return "";
  return fmt::format("error {:.3g}, allowed {:.3g}, largest {:.3g}", error, allowed, largest(exact));
}

[[maybe_unused]] std::string bits_of(const OpResult& r) {
  std::string bits(reinterpret_cast<const char*>(r.y.data()), r.y.size() * sizeof(double));
  for (const auto& g : r.gradients) bits.append(reinterpret_cast<const char*>(g.data()), g.size() * sizeof(double));
  return bits;
}

struct Contexts {
  Contexts() : cpu(test_memory()), device(test_memory(), &device_module(), device_is_shim()) {
    set_test_step(cpu), set_test_step(device);
  }
  Context cpu, device;
};

void check_case(const OpCase& c, DType dtype, Contexts& on) {
  INFO(c.op << " " << c.label << " " << name_of(dtype));
  const OpValues values = random_values(c, dtype, 9);
  const OpResult exact = run_case(c, values, DType::f64, on.cpu), plain = run_case(c, values, dtype, on.cpu);
  const OpResult device = run_case(c, values, dtype, on.device);
  CHECK(beyond(device.y, plain.y, exact.y, dtype) == "");
  for (size_t i = 0; i < exact.gradients.size(); ++i) {
    INFO("gradient " << i);
    CHECK(beyond(device.gradients[i], plain.gradients[i], exact.gradients[i], dtype) == "");
  }
}

}  // namespace

TEST_CASE("every operation on the device: values and gradients in every element type") {
  const Threads one(1);
  Contexts on;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const OpCase& c : op_cases()) check_case(c, dtype, on);
}

TEST_CASE("operations on the device at the edges of its tiles") {
  const Threads one(1);
  Contexts on;
  for (const OpCase& c : device_cases())
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) check_case(c, dtype, on);
}

TEST_CASE("every operation gives the same bits in every schedule of a block's threads") {
#ifdef SELENE_ASAN
  SUCCEED("AddressSanitizer has one schedule, in which the tests above run the same cases");
#else
  Contexts on;
  size_t number = 0;
  for (const auto* cases : {&op_cases(), &device_cases()})
    for (const OpCase& c : *cases)
      for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
        if (!in_todays_share(number++ * 4 / 3, 3)) continue;  // another type for each next one
        INFO(c.op << " " << c.label << " " << name_of(dtype));
        const OpValues values = random_values(c, dtype, 9);
        CHECK(in_all_schedules([&] { return bits_of(run_case(c, values, dtype, on.device)); }) == "");
      }
#endif
}

}  // namespace selene::testing
