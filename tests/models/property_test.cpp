// What must hold for any model: padding changes nothing, examples do not see each other, dropout masks belong to the
// element and not to the layout.
#include <algorithm>

#include "kernels/operations.h"
#include "tests/support/catch.h"
#include "tests/support/model_fixture.h"
#include "tests/support/op_case.h"
#include "tests/support/threads.h"

namespace selene::testing {
namespace {

constexpr double kRounding = 1e-13;  // in double, of values of the order of 1

HostBatch batch_of(int64_t N) { return {N, {9, 4, 7}, {2, 0, 4}}; }

// The site that a launch of a forward pass in double draws from; null where it draws none.
const DropoutSite* site_of(Operation operation, const void* arguments) {
  switch (operation) {
    case Operation::Dropout:
      return &static_cast<const Dropout<double>*>(arguments)->drop;
    case Operation::ActivationFwd:
      return &static_cast<const ActivationFwd<double>*>(arguments)->drop;
    case Operation::AttentionFwd:
      return &static_cast<const AttentionFwd<double>*>(arguments)->drop;
    case Operation::LayerNormFwd:
      return &static_cast<const LayerNormFwd<double>*>(arguments)->drop;
    default:
      return nullptr;
  }
}

}  // namespace

TEST_CASE("more padding changes neither logits nor gradients, dropout on") {
  const Threads one(1);
  for (const NamedConfig& variant : model_variants()) {
    INFO(variant.name);
    SmallModel m(variant.config);
    const SmallModel::Result tight = m.train_step(batch_of(9));
    for (const int64_t N : {10, 16, 19}) {
      const SmallModel::Result padded = m.train_step(batch_of(N));
      CHECK(distance(tight.logits, padded.logits) <= kRounding * std::max(1.0, largest(tight.logits)));
      CHECK(distance(tight.gradients, padded.gradients) <= kRounding * std::max(1.0, largest(tight.gradients)));
    }
  }
}

TEST_CASE("what the last layer leaves out changes neither logits nor gradients, dropout on") {
  const Threads one(1);
  for (const NamedConfig& variant : model_variants()) {
    INFO(variant.name);
    SmallModel m(variant.config);
    const SmallModel::Result lean = m.train_step(batch_of(9));
    m.everything = true;
    const SmallModel::Result whole = m.train_step(batch_of(9));
    CHECK(distance(lean.logits, whole.logits) <= kRounding * std::max(1.0, largest(whole.logits)));
    CHECK(distance(lean.gradients, whole.gradients) <= kRounding * std::max(1.0, largest(whole.gradients)));
  }
}

TEST_CASE("an example does not see the others of its batch") {
  for (const NamedConfig& variant : model_variants()) {
    const ModelConfig& c = variant.config;
    // Mean over the batch's positions and P pooling look at the longest example by definition.
    if (c.pooling == "mean" || c.pooling == "p") continue;
    INFO(variant.name);
    SmallModel m(c);
    const auto logits = [&](const HostBatch& b) { return m.logits(b, Tape::Mode::evaluate); };
    const std::vector<double> all = logits(batch_of(9));
    const std::vector<double> first = logits({9, {9}, {2}});
    CHECK(distance({all.begin(), all.begin() + SmallModel::kClasses}, first) <= kRounding);
  }
}

TEST_CASE("evaluation draws no masks, training draws new ones each micro-batch") {
  SmallModel m(small_luna());
  const HostBatch batch = batch_of(9);
  const std::vector<double> evaluated = m.logits(batch, Tape::Mode::evaluate);
  const std::vector<double> trained = m.logits(batch, Tape::Mode::train);
  CHECK(evaluated == m.logits(batch, Tape::Mode::evaluate));
  CHECK(trained == m.logits(batch, Tape::Mode::train));
  CHECK(evaluated != trained);
  StepScalars s{};
  s.seed = 0x0123456789abcdefu, s.micro_batch = 8;
  m.context.set_step(s);
  CHECK(trained != m.logits(batch, Tape::Mode::train));
  CHECK(evaluated == m.logits(batch, Tape::Mode::evaluate));
}

TEST_CASE("the two documents of an example draw different masks") {
  SmallModel m(small_luna());
  Tape t(m.context, &m.parameters, Tape::Mode::train);
  const Var x = t.constant(upload_doubles(m.context, {1, 2, 8}, DType::f64, std::vector<double>(16, 1)));
  const auto mask = [&](int tower) {
    return download_doubles(m.context, dropout(t, x, t.dropout(0.5, dropout_site(tower, 0, 1)), {}).v);
  };
  CHECK(mask(0) == mask(0));
  CHECK(mask(0) != mask(1));
}

TEST_CASE("no two dropout sites of a model share an id") {
  for (const NamedConfig& variant : model_variants()) {
    INFO(variant.name);
    SmallModel m(variant.config);
    std::vector<uint32_t> ids;
    m.context.stream().observer = [&](Operation operation, DType, double, const void* arguments) {
      if (const DropoutSite* site = site_of(operation, arguments); site && site->threshold < 65536)
        ids.push_back(site->site);
    };
    m.loss(batch_of(9));
    CHECK(int64_t(ids.size()) >= 4 * variant.config.layers * variant.config.towers + 2);
    std::sort(ids.begin(), ids.end());
    CHECK(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
  }
}

}  // namespace selene::testing
