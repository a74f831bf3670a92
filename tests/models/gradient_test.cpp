// Whole models in double: gradients against central differences with dropout on, and recomputation.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"
#include "tests/support/catch.h"
#include "tests/support/model_fixture.h"
#include "tests/support/op_case.h"
#include "tests/support/threads.h"

namespace selene::testing {
namespace {

constexpr double kStep = 1e-5;

HostBatch small_batch() { return {9, {9, 5, 7}, {0, 3, 1}}; }

// Loss with one element of a parameter moved by `step`; the parameter comes back to its old bits.
double moved(SmallModel& m, const HostBatch& batch, int parameter, int64_t element, double step) {
  const Tensor values = m.parameters.master(parameter);
  const std::vector<double> old = m.context.values<double>(values);
  std::vector<double> v = old;
  v[size_t(element)] += step;
  m.context.upload(values, v.data());
  const double loss = m.loss(batch);
  m.context.upload(values, old.data());
  return loss;
}

// Padding rows of the tables are read but get no gradient.
bool frozen(const Parameter& p, int64_t element) {
  return p.init.zero_row >= 0 && element / (p.shape.numel() / p.shape[0]) == p.init.zero_row;
}

std::string model_complaint(const NamedConfig& variant) {
  SmallModel m(variant.config, DType::f64, true);
  const HostBatch batch = small_batch();
  const std::vector<double> g = m.train_step(batch).gradients;
  PhiloxStream random(1, 1);
  for (int i = 0; i < int(m.parameters.count()); ++i) {
    const Parameter& p = m.parameters[i];
    const auto begin = g.begin() + p.offset;
    const double scale = largest({begin, begin + p.shape.numel()});
    // Biases of keys do not change a softmax: their gradient is 0 but for rounding.
    const double bound = 1e-6 * std::max(scale, 1e-3);
    for (int pick = 0; pick < 3; ++pick) {
      int64_t e = int64_t(random.below(uint32_t(p.shape.numel())));
      if (pick == 0)
        e = std::max_element(begin, begin + p.shape.numel(),
                             [](double a, double b) { return std::abs(a) < std::abs(b); }) -
            begin;
      if (frozen(p, e)) continue;
      const double wanted = (moved(m, batch, i, e, kStep) - moved(m, batch, i, e, -kStep)) / (2 * kStep);
      if (!(std::abs(begin[e] - wanted) <= bound))
        return fmt::format("{}: {} element {}: gradient {:.12g}, central difference {:.12g}", variant.name, p.name, e,
                           begin[e], wanted);
    }
    if ((scale > 0) != p.has_gradient_path)
      return fmt::format("{}: {} has largest gradient {}, gradient path declared: {}", variant.name, p.name, scale,
                         p.has_gradient_path);
  }
  return "";
}

}  // namespace

TEST_CASE("gradients of whole models in double, dropout on") {
  const Threads one(1);  // many tiny launches
  for (const NamedConfig& variant : model_variants()) {
    const std::string complaint = model_complaint(variant);
    if (!complaint.empty()) FAIL_CHECK(complaint);
  }
}

TEST_CASE("a recomputed model gives the same bits") {
  const Threads one(1);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64})
    for (NamedConfig variant : model_variants()) {
      INFO(variant.name << " " << name_of(dtype));
      SmallModel kept(variant.config, dtype);
      const SmallModel::Result a = kept.train_step(small_batch());
      for (const char* recompute : {"feed_forward", "layers"}) {
        variant.config.recompute = recompute;
        SmallModel recomputed(variant.config, dtype);
        const SmallModel::Result b = recomputed.train_step(small_batch());
        CHECK(a.loss == b.loss);
        CHECK(a.logits == b.logits);
        CHECK(a.gradients == b.gradients);
        CHECK(recomputed.context.plan().step <= kept.context.plan().step);
      }
    }
}

TEST_CASE("models in bf16 stay near fp32") {
  for (NamedConfig variant : model_variants()) {
    INFO(variant.name);
    if (variant.config.head == "hidden") variant.config.head = "gelu";  // a rounding may not switch a relu on or off
    SmallModel narrow(variant.config, DType::bf16), wide(variant.config, DType::f32);
    const SmallModel::Result a = narrow.train_step(small_batch()), b = wide.train_step(small_batch());
    // About fifty roundings of half a unit (2^-8) one after the other, of independent sign: sqrt(50) of them.
    CHECK(distance(a.logits, b.logits) <= 8 * 0x1p-8 * std::max(largest(b.logits), 1.0));
    CHECK(distance(a.gradients, b.gradients) <= 16 * 0x1p-8 * largest(b.gradients));
  }
}

}  // namespace selene::testing
