// What every mechanism of the table owes, seen through its interface alone; and what the building of a model refuses.
#include <cmath>

#include "models/heads/language_model.h"
#include "models/registry.h"
#include "tests/support/catch.h"
#include "tests/support/op_case.h"

namespace selene::testing {
namespace {

constexpr int64_t kB = 2, kN = 6, kD = 8;
constexpr double kRounding = 1e-13;

ModelConfig small(const Mechanism& mechanism) {
  ModelConfig c;
  c.attention = mechanism.name, c.dim = kD, c.heads = 2, c.ffn_dim = 12, c.layers = 2, c.max_positions = 16;
  c.own.at("luna.projection_length") = 3, c.dropout = c.attention_dropout = 0;
  return c;
}

/// One layer with a mechanism, in double.
struct OneLayer {
  Context context{{1 << 20, 4 << 20, 0}};
  Parameters parameters;
  ModelConfig config;
  Layer layer;
  explicit OneLayer(const Mechanism& m)
      : config(small(m)), layer(Builder{parameters, config, ""}, m, true), has_p(m.packed) {
    parameters.allocate(context, DType::f64, true, 0, 7);
    set_test_step(context);
  }
  /// x[B, N, D] of values that depend on position and channel, not on N; rows from lengths[b] on are `padding`.
  Tensor x(int64_t N, const std::vector<int32_t>& lengths, double padding, int64_t moved = -1) {
    std::vector<double> v;
    for (int64_t b = 0; b < kB; ++b)
      for (int64_t n = 0; n < N; ++n)
        for (int64_t d = 0; d < kD; ++d)
          v.push_back(n >= lengths[size_t(b)] ? padding
                                              : std::sin(double(1 + 3 * b + 5 * n + 7 * d)) + (n == moved ? 0.5 : 0));
    return upload_doubles(context, {kB, N, kD}, DType::f64, v);
  }
  std::vector<double> run(const Tensor& x, const std::vector<int32_t>& lengths, bool causal, Wanted wanted) {
    Tape t(context, &parameters, Tape::Mode::evaluate);
    const Tensor real = context.tensor<int32_t>({kB}, lengths);
    const Masks masks{.padding = padding_mask(t, real, x.dim(1)), .packed_padding = {}, .causal = causal};
    State in{t.constant(x), {}};
    if (has_p)
      in.p = t.constant(upload_doubles(context, {kB, 3, kD}, DType::f64, std::vector<double>(kB * 3 * kD, 0.5)));
    return download_doubles(context, layer(t, in, masks, {}, wanted).x.v);
  }
  bool has_p;
};

/// Largest difference of position n of example b of two states [B, N, D], [B, M, D].
double apart(const std::vector<double>& a, const std::vector<double>& b, int64_t example, int64_t n) {
  const auto row = [&](const std::vector<double>& v) {
    const auto begin = v.begin() + (example * int64_t(v.size()) / kB + n * kD);
    return std::vector<double>(begin, begin + kD);
  };
  return distance(row(a), row(b));
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a mechanism keeps padded positions out of real ones, whatever they hold") {
  const std::vector<int32_t> lengths{kN, 4};
  for (const Mechanism& m : attentions()) {
    INFO(m.name);
    OneLayer one(m);
    const std::vector<double> x = one.run(one.x(kN, lengths, 0.25), lengths, false, Wanted::x);
    for (const int64_t N : {kN, kN + 1, kN + 5}) {
      const std::vector<double> padded = one.run(one.x(N, lengths, 9), lengths, false, Wanted::x);
      for (int64_t b = 0; b < kB; ++b)
        for (int64_t n = 0; n < lengths[size_t(b)]; ++n) CHECK(apart(x, padded, b, n) <= kRounding);
    }
    // And lets real ones in.
    const std::vector<double> moved = one.run(one.x(kN, lengths, 0.25, 3), lengths, false, Wanted::x);
    CHECK(apart(x, moved, 1, 0) > 1e-6);
  }
}

TEST_CASE("the first position alone is what it is among all") {
  for (const Mechanism& m : attentions()) {
    INFO(m.name);
    OneLayer one(m);
    const std::vector<int32_t> lengths{kN, 4};
    const Tensor x = one.x(kN, lengths, 0);
    const std::vector<double> all = one.run(x, lengths, false, Wanted::x),
                              first = one.run(x, lengths, false, Wanted::first);
    REQUIRE(first.size() == size_t(kB * kD));
    for (int64_t b = 0; b < kB; ++b) CHECK(apart(all, first, b, 0) <= kRounding);
  }
}

TEST_CASE("a causal mechanism does not look ahead: a later position that is changed is found nowhere before it") {
  for (const Mechanism& m : attentions()) {
    if (!m.causal) continue;
    INFO(m.name);
    OneLayer one(m);
    const std::vector<int32_t> lengths{kN, kN};
    const std::vector<double> x = one.run(one.x(kN, lengths, 0), lengths, true, Wanted::x);
    for (int64_t moved = 0; moved < kN; ++moved) {
      const std::vector<double> y = one.run(one.x(kN, lengths, 0, moved), lengths, true, Wanted::x);
      for (int64_t n = 0; n < kN; ++n) CHECK((apart(x, y, 0, n) == 0) == (n < moved));
    }
    const std::vector<double> seen = one.run(one.x(kN, lengths, 0, kN - 1), lengths, false, Wanted::x);
    CHECK(apart(one.run(one.x(kN, lengths, 0), lengths, false, Wanted::x), seen, 0, 0) > 0);
  }
}

TEST_CASE("efficient attention is what the matrix of N x N that it avoids would give") {
  constexpr int64_t H = 2, K = kD / H;
  const Mechanism& m = attention_named("efficient");
  const ModelConfig config = small(m);
  Context context({1 << 20, 1 << 20, 0});
  Parameters parameters;
  const auto efficient = m.make(Builder{parameters, config, ""});
  parameters.allocate(context, DType::f64, false, 0, 7);
  const auto weights = [&](const char* name) {
    return context.values<double>(parameters.master(parameters.find(name)));
  };
  std::vector<double> x;
  for (int64_t i = 0; i < kN * kD; ++i) x.push_back(std::sin(double(3 * i + 1)));
  const auto project = [&](const std::string& name, const std::vector<double>& in) {
    const std::vector<double> w = weights((name + ".weight").c_str()), b = weights((name + ".bias").c_str());
    std::vector<double> out = in;
    for (int64_t n = 0; n < kN; ++n)
      for (int64_t d = 0; d < kD; ++d) {
        double& sum = out[size_t(n * kD + d)] = b[size_t(d)];
        for (int64_t e = 0; e < kD; ++e) sum += w[size_t(d * kD + e)] * in[size_t(n * kD + e)];
      }
    return out;
  };
  std::vector<double> q = project("q_proj", x), k = project("k_proj", x), mixed(x.size());
  const std::vector<double> v = project("v_proj", x);
  const auto normalise = [](std::vector<double>& a, int64_t begin, int64_t step, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += std::exp(a[size_t(begin + i * step)]);
    for (int64_t i = 0; i < count; ++i) a[size_t(begin + i * step)] = std::exp(a[size_t(begin + i * step)]) / sum;
  };
  for (int64_t n = 0; n < kN; ++n)
    for (int64_t h = 0; h < H; ++h) normalise(q, n * kD + h * K, 1, K);  // over the channels of a head
  for (int64_t d = 0; d < kD; ++d) normalise(k, d, kD, kN);              // over the positions
  for (int64_t n = 0; n < kN; ++n)
    for (int64_t j = 0; j < kN; ++j)
      for (int64_t h = 0; h < H; ++h) {
        double weight = 0;  // of position j for position n: entry of the matrix of N x N
        for (int64_t c = h * K; c < (h + 1) * K; ++c) weight += q[size_t(n * kD + c)] * k[size_t(j * kD + c)];
        for (int64_t c = h * K; c < (h + 1) * K; ++c) mixed[size_t(n * kD + c)] += weight * v[size_t(j * kD + c)];
      }
  Tape t(context, &parameters, Tape::Mode::evaluate);
  View view;
  view.context = t.constant(upload_doubles(context, {1, kN, kD}, DType::f64, x));
  const Var y = t.no_grad([&] { return efficient->mix(t, view.context, view); });
  CHECK(distance(download_doubles(context, y.v), project("out_proj", mixed)) <= kRounding);
}

TEST_CASE("a language model refuses a mechanism without a causal form") {
  for (const Mechanism& m : attentions()) {
    const ModelConfig config = small(m);
    const std::string message = error_of([&] {
      Context context({1 << 20, 1 << 20, 0});
      Parameters parameters;
      const LanguageModel model(config, {9, -1}, parameters, context, DType::f32);
    });
    INFO(message);
    CHECK((message == "no error") == m.causal);
    CHECK((m.causal || message.find("wanted a mechanism with a causal form") != message.npos));
  }
}

TEST_CASE("a dropout site's name stands once in a layer, and its number is its place there") {
  Parameters parameters;
  const ModelConfig config;
  const Builder model{parameters, config, "encoder."};
  const Builder first = model.layer(0), second = model.layer(1);
  CHECK(first.site("attention weights", 0.1).place == 0);
  CHECK(first.inside("self_attn").site("unpack", 0.1).place == 1);
  CHECK(second.site("unpack", 0.1).place == 0);
  CHECK(error_of([&] { first.site("unpack", 0.1); }) ==
        "dropout site encoder.layers.0.unpack: declared twice, the masks of both would be the same");
  for (int i = 2; i < Builder::kSites; ++i) first.site("more " + std::to_string(i), 0);
  CHECK(error_of([&] { first.site("last", 0); }).find("has 8 sites already") != std::string::npos);
}

}  // namespace selene::testing
