// Every operation on the device against the CPU: forward and backward, in every element type, the small cases of the
// gradient checks and larger ones around the edges of the device's tiles.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "autograd/ops.h"
#include "autograd/workspace.h"
#include "kernels/activation.h"
#include "kernels/elementwise.h"
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

TEST_CASE("operations on the device where rows fit no pack of 16 bytes, and where they are long") {
  const Threads one(1);
  Contexts on;
  std::vector<OpCase> cases;
  for (const int64_t C : {100, 264, 301, 601})
    cases.push_back(
        {"layer_norm", std::to_string(C), {{{2, C}, -2, 2}, {{C}, 0.5, 1.5}, {{C}}}, [](Tape& t, auto& v) {
           return layer_norm(t, v[0], v[1], v[2], 1e-5);
         }});
  cases.push_back({"cumulative_sum", "[1, 200, 17]", {{{1, 200, 17}}}, [](Tape& t, auto& v) {
                     return cumulative_sum(t, v[0], 1);
                   }});
  cases.push_back({"cross_entropy", "[2, 1032]", {{{2, 1032}, -3, 3}}, [](Tape& t, auto& v) {
                     const Tensor target = t.context().template tensor<int32_t>({2}, {5, 1000});
                     return cross_entropy(t, v[0], target, 0, -1, {});
                   }});
  for (const OpCase& c : cases)
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) check_case(c, dtype, on);
}

namespace {

// What Cast, Elementwise and Fill write from element `offset` of a tensor on.
template <class T>
std::vector<double> flat_results(Context& context, int64_t offset) {
  constexpr int64_t n = 100;
  std::vector<double> values, all;
  for (int64_t i = 0; i < n + offset; ++i) values.push_back(double(i * 37 % 64) / 16 - 2);
  const Tensor x = upload_doubles(context, {n + offset}, dtype_of<T>, values);
  const auto result = [&](DType dtype, auto write) {
    const Tensor y = upload_doubles(context, {n + offset}, dtype, std::vector<double>(size_t(n + offset), 7.0));
    write(static_cast<char*>(y.raw()) + offset * size_of(dtype));
    for (const double v : download_doubles(context, y)) all.push_back(v);
  };
  const T* from = x.data<T>() + offset;
  for (const DType to : {DType::f32, DType::bf16, DType::f16})
    result(to, [&](void* y) { run(context.stream(), Cast<T>{from, y, to, n}); });
  result(dtype_of<T>, [&](void* y) {
    run(context.stream(), Elementwise<T>{from, from, static_cast<T*>(y), n, Binary::multiply, 0.5f});
  });
  result(dtype_of<T>, [&](void* y) { run(context.stream(), Fill<T>{static_cast<T*>(y), n, 1.25f}); });
  result(DType::f64, [&](void* y) { run(context.stream(), Fill<double>{static_cast<double*>(y), n, -3}); });
  return all;
}

}  // namespace

TEST_CASE("casts, element-wise operations and fills on the device at any address are the CPU's, bit for bit") {
  Contexts on;
  for (const int64_t offset : {0, 1}) {
    CHECK(flat_results<float>(on.device, offset) == flat_results<float>(on.cpu, offset));
    CHECK(flat_results<f16>(on.device, offset) == flat_results<f16>(on.cpu, offset));
    CHECK(flat_results<bf16>(on.device, offset) == flat_results<bf16>(on.cpu, offset));
  }
}

namespace {

struct Activated {
  std::vector<double> y, dx, again, sums;
};

// GELU with dropout in examples of 7 rows, and its gradient with column sums, of rows 0 to `cut` - 1 and of the rest.
template <class T>
Activated activated(Context& context, int64_t C, int64_t cut) {
  constexpr int64_t R = 75, rows = 7;
  std::vector<double> numbers;
  for (int64_t i = 0; i < R * C; ++i) numbers.push_back(double(i * 37 % 101) / 16 - 3);
  const Tensor x = upload_doubles(context, {R, C}, dtype_of<T>, numbers);
  const Tensor y = context.empty({R, C}, dtype_of<T>, "y"),
               dx = upload_doubles(context, {R, C}, dtype_of<T>, numbers);
  const Tensor again = context.empty({R, C}, dtype_of<T>, "again");
  const Tensor sums = upload_doubles(context, {C}, DType::f32, std::vector<double>(size_t(C), 1.0));
  Tape t(context, nullptr, Tape::Mode::train);
  const DropoutSite drop = t.dropout(0.3, 5);
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, cut}, {cut, R}}) {
    const auto at = [&, begin = begin](const Tensor& m) { return m.data<T>() + begin * C; };
    run(t.stream(), ActivationFwd<T>{at(x), at(y), end - begin, C, rows, Activation::gelu, 0, drop, begin});
    run_with_workspace(t, ActivationBwd<T>{at(x), at(dx), at(dx), at(again), end - begin, C, rows, Activation::gelu,
                                           0, drop, begin, 1, sums.data<float>()});
  }
  const auto values = [&](const Tensor& m) { return download_doubles(context, m); };
  return {values(y), values(dx), values(again), values(sums)};
}

template <class T>
void check_activated(Context& context, int64_t C) {
  INFO(name_of(dtype_of<T>) << ", " << C << " columns");
  const Activated whole = activated<T>(context, C, 75), parts = activated<T>(context, C, 33);
  CHECK(parts.y == whole.y);
  CHECK(parts.dx == whole.dx);
  CHECK(whole.again == whole.y);
  CHECK(parts.again == whole.y);
  for (const Activated* a : {&whole, &parts})
    for (int64_t c = 0; c < C; ++c) {
      double sum = 1, size = 1;
      for (int64_t r = 0; r < 75; ++r) sum += a->dx[size_t(r * C + c)], size += std::abs(a->dx[size_t(r * C + c)]);
      CHECK(std::abs(a->sums[size_t(c)] - sum) <= 75 * 0x1p-24 * size);  // one rounding for each of 75 terms at most
    }
}

}  // namespace

TEST_CASE("rows of an activation have the masks of the whole, and columns of its gradient are summed") {
  Contexts on;
  for (Context* context : {&on.cpu, &on.device})
    for (const int64_t C : {13, 24, 264}) {
      check_activated<float>(*context, C);
      check_activated<f16>(*context, C);
      check_activated<bf16>(*context, C);
    }
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
