// What holds for every operation, whatever it computes: the same bits for any number of threads, and a NaN stays
// visible. That nothing is written beyond a tensor is watched by the guards of the contexts of gradient_ops_test.cpp
// and, for the shim, of tests/kernels/cuda/ops_test.cpp.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/catch.h"
#include "tests/support/device_module.h"
#include "tests/support/op_case.h"
#include "tests/support/share.h"
#include "tests/support/threads.h"

namespace selene::testing {
namespace {

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

// feed_forward with dropout on 2 x 2200 rows of 2048 hidden values, which are three chunks in fp32.
OpCase long_feed_forward(bool recompute) {
  return {"feed_forward",
          recompute ? "in chunks" : "at once",
          {{{2, 2200, 4}}, {{2048, 4}}, {{2048}}, {{4, 2048}, -0.05, 0.05}, {{4}}},
          [=](Tape& t, const std::vector<Var>& v) {
            return feed_forward(t, v[0], v[1], v[2], v[3], v[4], Activation::gelu, t.dropout(0.2, 11), recompute);
          }};
}

struct Heads {
  int64_t B, Nq, Nk, H, K;
  bool masked, causal;
};

// Attention as the one operation and as products and a softmax.
OpCase attention_case(const Heads& s, bool fused) {
  const double factor = 1.5 / std::sqrt(double(s.K));
  const OpInput q{{s.B, s.Nq, s.H * s.K}}, k{{s.B, s.Nk, s.H * s.K}};
  return {"attention", Shape{s.B, s.Nq, s.Nk, s.H, s.K}.text(), {q, k, k}, [=](Tape& t, const std::vector<Var>& v) {
            std::vector<uint8_t> padding(size_t(s.B * s.Nk));
            for (size_t i = 0; i < padding.size(); ++i) padding[i] = int64_t(i) % s.Nk > 0 && i % 5 == 2;
            const Tensor mask = s.masked ? t.context().tensor<uint8_t>({s.B, s.Nk}, padding) : Tensor();
            if (fused) return attention(t, v[0], v[1], v[2], s.H, mask, factor, s.causal, {});
            const auto heads = [&](const Var& x) {
              return transpose(t, reshape(t, x, {s.B, x.dim(1), s.H, s.K}), 1, 2);
            };
            const Var scores = scale(t, matmul(t, heads(v[0]), heads(v[1]), true), factor);
            const Var o = matmul(t, softmax(t, scores, mask, s.causal), heads(v[2]), false);
            return reshape(t, transpose(t, o, 1, 2), {s.B, s.Nq, s.H * s.K});
          }};
}

}  // namespace

// Sizes around the CPU backend's blocks and groups of queries and keys.
TEST_CASE("attention equals its composition of products and a softmax") {
  Context context({1 << 16, 256 << 20, 0});
  set_test_step(context);
  for (const Heads& s : {Heads{2, 33, 33, 2, 16, true, true}, Heads{1, 257, 257, 2, 8, false, true},
                         Heads{1, 700, 700, 1, 8, true, true}, Heads{1, 700, 60, 1, 8, true, false},
                         Heads{1, 300, 4100, 1, 4, true, false}, Heads{2, 16, 2500, 1, 8, true, false},
                         Heads{2, 3, 5000, 2, 8, true, false}, Heads{2, 5000, 3, 2, 8, true, false},
                         Heads{1, 40, 50, 1, 64, false, false}, Heads{1, 20, 30, 1, 1, true, false}})
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
      const OpCase fused = attention_case(s, true);
      INFO(title(fused) << " " << name_of(dtype));
      const OpValues values = random_values(fused, dtype, 9);
      const OpResult got = run_case(fused, values, dtype, context);
      const OpResult wanted = run_case(attention_case(s, false), values, DType::f64, context);
      const double tolerance = dtype == DType::f64   ? 1e-13
                               : dtype == DType::f32 ? 4e-6
                               : dtype == DType::f16 ? 4e-3
                                                     : 3e-2;
      CHECK(distance(got.y, wanted.y) <= tolerance * std::max(largest(wanted.y), 1.0 / double(s.Nk)));
      for (size_t i = 0; i < got.gradients.size(); ++i)
        CHECK(distance(got.gradients[i], wanted.gradients[i]) <=
              tolerance * std::max(largest(wanted.gradients[i]), 1.0 / double(s.Nk)));
    }
}

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

TEST_CASE("feed_forward in chunks of rows: the same values and input gradients, and sums to rounding") {
  Context cpu({1 << 20, 256 << 20, 0});
  set_test_step(cpu);
  const OpCase whole = long_feed_forward(false), chunks = long_feed_forward(true);
  const OpValues values = random_values(whole, DType::f32, 9);
  const OpResult a = run_case(whole, values, DType::f32, cpu), b = run_case(chunks, values, DType::f32, cpu);
  CHECK(a.y == b.y);
  CHECK(a.gradients[0] == b.gradients[0]);
  CHECK(a.gradients[1] != b.gradients[1]);  // it was three chunks
  const OpResult exact = run_case(whole, values, DType::f64, cpu);
  for (size_t i = 1; i < 5; ++i) {
    INFO("gradient " << i);  // two more roundings of partial sums, each at most the largest sum's
    CHECK(distance(b.gradients[i], exact.gradients[i]) <=
          2 * distance(a.gradients[i], exact.gradients[i]) + 4 * 0x1p-24 * largest(exact.gradients[i]));
  }
}

TEST_CASE("every operation shows a NaN of an input in what depends on it, on the CPU and on the device") {
  const Threads one(1);
  Context cpu(test_memory()), device(test_memory(), &device_module());
  set_test_step(cpu), set_test_step(device);
  size_t turn = 0;  // the device is slow: one input a case, of every second case
  for (const OpCase& c : op_cases()) {
    for (size_t i = 0; i < c.inputs.size(); ++i)
      if (const std::string s = nan_complaint(c, i, cpu, cpu); !s.empty()) FAIL_CHECK(title(c) << ": " << s);
    if (!in_todays_share(++turn, 2)) continue;
    if (const std::string s = nan_complaint(c, turn % c.inputs.size(), cpu, device); !s.empty())
      FAIL_CHECK(title(c) << " on the device: " << s);
  }
}

}  // namespace selene::testing
