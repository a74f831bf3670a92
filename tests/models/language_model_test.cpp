// The causal language model: its loss, what it must not see, and its gradients in double.
#include "models/heads/language_model.h"

#include <algorithm>
#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/philox.h"
#include "tests/support/catch.h"
#include "tests/support/op_case.h"
#include "tests/support/threads.h"

namespace selene::testing {
namespace {

constexpr int64_t kB = 2, kN = 7, kV = 6;
constexpr int32_t kNoTarget = -2;  // -1 is a class that does not exist

ModelConfig small() {
  ModelConfig c;
  c.attention = "full", c.layers = 2, c.dim = 8, c.heads = 2, c.ffn_dim = 12, c.max_positions = 12;
  c.dropout = c.attention_dropout = c.activation_dropout = 0.1;
  return c;
}

struct Small {
  Context context{{1 << 20, 4 << 20, 0}};
  Parameters parameters;
  LanguageModel model;
  std::vector<int32_t> tokens, targets;
  int64_t N = kN;
  explicit Small(const ModelConfig& config, DType dtype = DType::f64)
      : model(config, {kV, -1}, parameters, context, dtype) {
    parameters.allocate(context, dtype, true, 0, 3);
    set_test_step(context);
    PhiloxStream random(5, 1);
    for (int64_t i = 0; i < kB * kN; ++i)
      tokens.push_back(int32_t(random.below(kV))), targets.push_back(int32_t(random.below(kV)));
    targets[3] = targets[kN + 5] = targets[kN + 6] = kNoTarget;
  }
  Tensor upload(const std::vector<int32_t>& v) { return context.tensor<int32_t>({kB, kN}, v); }
  Tensor lengths() { return context.tensor<int32_t>({kB}, std::vector<int32_t>{kN, 5}); }
  std::vector<double> logits() {
    Tape t(context, &parameters, Tape::Mode::evaluate);
    return download_doubles(context, model.logits(t, upload(tokens), lengths()).v);
  }
  double loss() {
    Tape t(context, &parameters, Tape::Mode::train);
    return context.values<double>(model.loss(t, upload(tokens), lengths(), upload(targets), 0, kNoTarget, {}).v)[0];
  }
  std::vector<double> gradients() {
    const Tensor& g = parameters.gradients();
    run(context.stream(), Fill<double>{g.data<double>(), g.numel(), 0});
    Tape t(context, &parameters, Tape::Mode::train);
    const Var loss = model.loss(t, upload(tokens), lengths(), upload(targets), 0, kNoTarget, {});
    t.backward(loss, upload_doubles(context, {1}, DType::f64, {1}));
    return download_doubles(context, g);
  }
};

/// One configuration for each thing that the language model has of its own.
std::vector<ModelConfig> variants() {
  ModelConfig tied = small(), pre = small(), tied_layers = small();
  tied.tie_output = true, tied.scale_embedding = true, pre.norm = "pre", pre.positions = "sinusoidal";
  tied_layers.tie_layers = true;
  return {small(), tied, pre, tied_layers};
}

}  // namespace

TEST_CASE("the loss is the cross-entropy of the next symbols, summed over those that have one") {
  Small m([] {
    ModelConfig c = small();
    c.dropout = c.attention_dropout = c.activation_dropout = 0;
    return c;
  }());
  const std::vector<double> scores = m.logits();
  double wanted = 0;
  for (int64_t i = 0; i < kB * kN; ++i) {
    const double* row = &scores[size_t(i * kV)];
    double sum = 0;
    for (int64_t v = 0; v < kV; ++v) sum += std::exp(row[v]);
    if (m.targets[size_t(i)] != kNoTarget) wanted += std::log(sum) - row[m.targets[size_t(i)]];
  }
  CHECK(std::abs(m.loss() - wanted) <= 1e-12 * wanted);
}

TEST_CASE("a language model's scores depend on no later symbol and on no padding") {
  for (const ModelConfig& config : variants()) {
    INFO(config.norm << " " << config.positions);
    Small m(config);
    const std::vector<double> before = m.logits();
    for (int64_t moved = 0; moved < kN; ++moved) {
      int32_t& token = m.tokens[size_t(moved)];
      const int32_t old = token;
      token = (token + 1) % int32_t(kV);
      const std::vector<double> after = m.logits();
      token = old;
      for (int64_t i = 0; i < kB * kN; ++i) {
        const auto at = [&](const std::vector<double>& v) {
          return std::vector<double>(&v[size_t(i * kV)], &v[size_t(i * kV)] + kV);
        };
        CHECK((at(before) == at(after)) == (i < moved || i >= kN));
      }
    }
    m.tokens[kN + 5] = (m.tokens[kN + 5] + 1) % int32_t(kV);  // after the second example's length
    const std::vector<double> padded = m.logits();
    CHECK(std::equal(before.begin(), before.begin() + (kN + 5) * kV, padded.begin()));
  }
}

TEST_CASE("gradients of a language model in double, dropout on") {
  const Threads one(1);
  constexpr double kStep = 1e-5;
  for (const ModelConfig& config : variants()) {
    Small m(config);
    const std::vector<double> g = m.gradients();
    PhiloxStream random(2, 1);
    for (int i = 0; i < int(m.parameters.count()); ++i) {
      const Parameter& p = m.parameters[i];
      const auto begin = g.begin() + p.offset, end = begin + p.shape.numel();
      const double largest_one = largest({begin, end});
      CHECK(p.has_gradient_path);
      CHECK(largest_one > 0);
      for (int pick = 0; pick < 2; ++pick) {
        const int64_t e =
            pick ? int64_t(random.below(uint32_t(p.shape.numel())))
                 : std::max_element(begin, end, [](double a, double b) { return std::abs(a) < std::abs(b); }) - begin;
        const Tensor values = m.parameters.master(i);
        const std::vector<double> old = m.context.values<double>(values);
        const auto moved = [&](double step) {
          std::vector<double> v = old;
          v[size_t(e)] += step;
          m.context.upload(values, v.data());
          const double loss = m.loss();
          m.context.upload(values, old.data());
          return loss;
        };
        const double wanted = (moved(kStep) - moved(-kStep)) / (2 * kStep);
        INFO(p.name << " element " << e << ": " << begin[e] << ", central difference " << wanted);
        CHECK(std::abs(begin[e] - wanted) <= 1e-6 * std::max(largest_one, 1e-3));
      }
    }
  }
}

TEST_CASE("a recomputed language model gives the same bits, and a tied one has no output matrix") {
  for (ModelConfig config : variants()) {
    Small kept(config);
    config.recompute = "layers";
    Small again(config);
    CHECK(kept.gradients() == again.gradients());
    CHECK((kept.parameters.find("decoder.output_projection.weight") < 0) == config.tie_output);
  }
}

}  // namespace selene::testing
