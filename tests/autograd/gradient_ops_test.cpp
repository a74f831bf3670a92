// Every public differentiable operation: its gradient against central differences in double, and its results in 16
// bits against fp32.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <regex>
#include <set>

#include "kernels/philox.h"
#include "tests/support/catch.h"
#include "tests/support/op_case.h"
#include "tests/support/threads.h"

namespace selene::testing {
namespace {

constexpr double kStep = 1e-5;       // of the central difference
constexpr double kTolerance = 1e-6;  // of the tensor's largest |gradient|
constexpr int64_t kElements = 24;    // differences a tensor; all elements where it has no more

std::string title(const OpCase& c) { return c.op + " " + c.label; }

double difference(const OpCase& c, OpValues values, size_t input, size_t element, Context& context) {
  double& x = values.inputs[input][element];
  const double at = x;
  x = at + kStep;
  const double above = loss_of(c, values, context), high = x;
  x = at - kStep;
  const double below = loss_of(c, values, context), low = x;
  return (above - below) / (high - low);
}

// The elements that are looked at, in ascending order.
std::vector<size_t> chosen(const OpInput& input, uint64_t seed) {
  const int64_t n = input.shape.numel();
  std::set<size_t> elements;
  PhiloxStream random(seed, 2);
  while (int64_t(elements.size()) < std::min(n, kElements))
    elements.insert(n <= kElements ? elements.size() : size_t(random.below(uint32_t(n))));
  if (input.frozen_row >= 0) {
    const size_t width = size_t(n / input.shape[0]), first = size_t(input.frozen_row) * width;
    std::erase_if(elements, [&](size_t e) { return e >= first && e < first + width; });
  }
  return {elements.begin(), elements.end()};
}

// The complaint about a case, empty if its gradients are right.
std::string gradient_complaint(const OpCase& c, Context& context) {
  const OpValues values = random_values(c, DType::f64, 5);
  const OpResult result = run_case(c, values, DType::f64, context);
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const std::vector<double>& g = result.gradients[i];
    if (int64_t(g.size()) != c.inputs[i].shape.numel())
      return fmt::format("{}: input {} got no gradient", title(c), i);
    // Where the true gradient is nothing but rounding (a layer norm of one row) an absolute floor takes over.
    const double bound = kTolerance * std::max(largest(g), 1e-3);
    for (const size_t e : chosen(c.inputs[i], i)) {
      const double wanted = difference(c, values, i, e, context);
      if (!(std::abs(g[e] - wanted) <= bound))
        return fmt::format("{}: input {} element {}: gradient {:.12g}, central difference {:.12g}, bound {:.2g}",
                           title(c), i, e, g[e], wanted, bound);
    }
  }
  return "";
}

}  // namespace

TEST_CASE("gradients of every operation in double") {
  const Threads one(1);  // many tiny launches
  Context context(test_memory(), nullptr, true);
  set_test_step(context);
  for (const OpCase& c : op_cases()) {
    const std::string complaint = gradient_complaint(c, context);
    if (!complaint.empty()) FAIL_CHECK(complaint);
  }
  CHECK(context.step().live() == 0);
}

TEST_CASE("the gradient check sees a wrong gradient") {
  Context context(test_memory());
  set_test_step(context);
  const auto wrong = [](double error) {
    return OpCase{"scale", "wrong", {{{3}}}, [error](Tape& t, const std::vector<Var>& v) {
                    const Tensor y = scale(t, t.constant(v[0].v), 2).v;
                    return t.record(y, {&v[0]}, [=, &t](const Tensor& dy) {
                      t.add_grad(v[0], t.no_grad([&] { return scale(t, t.constant(dy), 2 + error).v; }));
                    });
                  }};
  };
  CHECK(gradient_complaint(wrong(0), context).empty());
  CHECK(!gradient_complaint(wrong(1e-5), context).empty());
  CHECK(!gradient_complaint(wrong(NAN), context).empty());
}

TEST_CASE("every operation that returns a Var has a case") {
  std::ifstream header(SELENE_SOURCE_ROOT "/autograd/ops.h");
  REQUIRE(header);
  std::set<std::string> declared, covered;
  const std::regex declaration("^Var (\\w+)\\(.*");
  std::smatch match;
  for (std::string line; std::getline(header, line);)
    if (std::regex_match(line, match, declaration)) declared.insert(match[1]);
  std::set<std::string> titles;
  for (const OpCase& c : op_cases()) {
    covered.insert(c.op);
    INFO(title(c));
    CHECK(titles.insert(title(c)).second);
  }
  CHECK(declared.size() >= 25);
  CHECK(declared == covered);
}

namespace {

struct Precision {
  DType dtype;
  double unit;  // distance of 1 to the next number
};

// Inputs and cotangent are numbers of the narrow type, so both runs see the same. A result is rounded once (half a
// unit of its own size); what is stored between two kernels of one operation is rounded before, and its error is
// carried into sums: four units of the largest element hold all of it. Gradients that cancel (attention to one key)
// are measured against 0.1, the size of what cancels.
std::string parity_complaint(const OpCase& c, const Precision& p, Context& context) {
  const OpValues values = random_values(c, p.dtype, 6);
  const OpResult narrow = run_case(c, values, p.dtype, context);
  const OpResult wide = run_case(c, values, DType::f32, context);
  const auto far = [&](const std::vector<double>& a, const std::vector<double>& b) {
    return !(distance(a, b) <= 4 * p.unit * std::max(largest(b), 0.1));
  };
  if (far(narrow.y, wide.y)) return fmt::format("{}: result is {} apart", title(c), distance(narrow.y, wide.y));
  for (size_t i = 0; i < wide.gradients.size(); ++i)
    if (far(narrow.gradients[i], wide.gradients[i]))
      return fmt::format("{}: gradient {} is {} apart, largest {}", title(c), i,
                         distance(narrow.gradients[i], wide.gradients[i]), largest(wide.gradients[i]));
  return "";
}

}  // namespace

TEST_CASE("every operation in 16 bits agrees with fp32") {
  const Threads one(1);
  Context context(test_memory());
  set_test_step(context);
  for (const Precision& p : {Precision{DType::bf16, 0x1p-7}, Precision{DType::f16, 0x1p-10}})
    for (const OpCase& c : op_cases()) {
      const std::string complaint = parity_complaint(c, p, context);
      if (!complaint.empty()) FAIL_CHECK(name_of(p.dtype) << " " << complaint);
    }
}

TEST_CASE("every operation in fp32 agrees with double") {
  const Threads one(1);
  Context context(test_memory());
  set_test_step(context);
  for (const OpCase& c : op_cases()) {
    INFO(title(c));
    const OpValues values = random_values(c, DType::f32, 8);
    const OpResult narrow = run_case(c, values, DType::f32, context), wide = run_case(c, values, DType::f64, context);
    const double unit = 0x1p-23;
    CHECK(distance(narrow.y, wide.y) <= 16 * unit * std::max(largest(wide.y), 0.1));
    for (size_t i = 0; i < wide.gradients.size(); ++i)
      CHECK(distance(narrow.gradients[i], wide.gradients[i]) <=
            32 * unit * std::max(largest(wide.gradients[i]), 0.1));
  }
}

}  // namespace selene::testing
