// The tape: what it records, keeps and adds up, recomputation, and its errors.
#include <cmath>

#include "autograd/products.h"
#include "autograd/with_dtype.h"
#include "kernels/error.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/op_case.h"
#include "tests/support/threads.h"

namespace selene::testing {
namespace {

struct Fixture {
  Context context{test_memory()};
  Fixture() { set_test_step(context); }
  Tensor tensor(const Shape& shape, const std::vector<double>& v, DType dtype = DType::f64) {
    return upload_doubles(context, shape, dtype, v);
  }
  std::vector<double> values(const Tensor& t) { return download_doubles(context, t); }
};

std::vector<double> ramp(int64_t n) {
  std::vector<double> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(0.125 * double(i % 13) - 0.7);
  return v;
}

}  // namespace

TEST_CASE("a value used three times gets the sum of its gradients") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const Var x = t.leaf(f.tensor({2}, {3, -1}));
  const Var y = add(t, multiply(t, x, x), scale(t, x, 10));
  t.backward(y, f.tensor({2}, {1, 2}));
  CHECK(f.values(t.gradient(x)) == std::vector<double>{16, 16});
}

TEST_CASE("gradients that share memory are not overwritten") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const Var a = t.leaf(f.tensor({3}, {1, 2, 3})), b = t.leaf(f.tensor({3}, {4, 5, 6}));
  const Var sum = add(t, a, b);  // both get the very same tensor
  const Var y = add(t, activate(t, sum, Activation::tanh, 0), scale(t, a, 2));
  const Tensor seed = f.tensor({3}, {1, 1, 1});
  t.backward(y, seed);
  CHECK(f.values(seed) == std::vector<double>{1, 1, 1});
  const std::vector<double> da = f.values(t.gradient(a)), db = f.values(t.gradient(b));
  for (size_t i = 0; i < 3; ++i) CHECK(std::abs(da[i] - db[i] - 2) <= 1e-15);
}

TEST_CASE("nothing is recorded without a leaf, inside no_grad or behind a constant") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const Var x = t.constant(f.tensor({2}, {1, 2})), leaf = t.leaf(f.tensor({2}, {1, 2}));
  CHECK(!multiply(t, x, x).wants_gradient());
  CHECK(t.records() == 0);
  const Var y = t.no_grad([&] { return multiply(t, leaf, leaf); });
  CHECK(!y.wants_gradient());
  CHECK(t.records() == 0);
  CHECK(multiply(t, leaf, x).wants_gradient());
  CHECK(t.records() == 1);
  CHECK_THROWS_AS(t.no_grad([&]() -> int { throw Error("thrown"); }), Error);
  CHECK(multiply(t, leaf, x).wants_gradient());  // recording is on again after an exception
  CHECK(message_of([&] {
          t.backward(y, f.tensor({2}, {1, 1}));
        }) == "backward: f64[2] does not depend on anything differentiable");
  CHECK(message_of([&] { t.grad(x); }) == "gradient of f64[2]: nobody wants one");
}

TEST_CASE("a gradient of another shape is an error") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const Var x = t.leaf(f.tensor({2}, {1, 2}));
  CHECK(message_of([&] { t.add_grad(x, f.tensor({3}, {1, 2, 3})); }) == "gradient of f64[2]: got f64[3]");
}

TEST_CASE("several outputs go backward at once") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const Var x = t.leaf(f.tensor({2}, {1, 2}));
  const Var y = scale(t, x, 2), z = multiply(t, x, x);
  t.backward({{y, f.tensor({2}, {1, 0})}, {z, f.tensor({2}, {0, 1})}});
  CHECK(f.values(t.gradient(x)) == std::vector<double>{2, 4});
}

TEST_CASE("one of two weights of a layer norm may be frozen") {
  Fixture f;
  const auto run_with = [&](bool gamma_wanted, bool beta_wanted) {
    Tape t(f.context, nullptr, Tape::Mode::train);
    const auto var = [&](bool wanted, const Tensor& v) { return wanted ? t.leaf(v) : t.constant(v); };
    const Var x = t.leaf(f.tensor({2, 3}, {1, 2, 4, 0, 5, 2})), gamma = var(gamma_wanted, f.tensor({3}, {1, 2, 3})),
              beta = var(beta_wanted, f.tensor({3}, {0, 0, 1}));
    t.backward(layer_norm(t, x, gamma, beta, 1e-5), f.tensor({2, 3}, {1, 2, 3, -1, 4, 2}));
    std::vector<std::vector<double>> g{f.values(t.gradient(x))};
    for (const Var* v : {&gamma, &beta})
      g.push_back(t.gradient(*v) ? f.values(t.gradient(*v)) : std::vector<double>{});
    return g;
  };
  const auto both = run_with(true, true), first = run_with(true, false), second = run_with(false, true);
  CHECK(both[1].size() == 3);
  CHECK(first == std::vector<std::vector<double>>{both[0], both[1], {}});
  CHECK(second == std::vector<std::vector<double>>{both[0], {}, both[2]});
}

TEST_CASE("a weight that is itself computed gets its gradient in any element type") {
  Fixture f;
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    INFO(name_of(dtype));
    Tape t(f.context, nullptr, Tape::Mode::train);
    const Var x = t.constant(f.tensor({1, 2}, {1, 2}, dtype)), w = t.leaf(f.tensor({1, 2}, {3, 4}, dtype));
    t.backward(linear(t, x, scale(t, w, 2), nullptr), f.tensor({1, 1}, {1}, dtype));
    CHECK(f.values(t.gradient(w)) == std::vector<double>{2, 4});
  }
}

TEST_CASE("a leaf may be a weight and a value at once in any element type") {
  Fixture f;
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16})
    for (const bool weight_first : {true, false}) {
      INFO(name_of(dtype) << (weight_first ? " weight first" : " value first"));
      Tape t(f.context, nullptr, Tape::Mode::train);
      const Var x = t.constant(f.tensor({2, 2}, {1, 2, 3, 4}, dtype)),
                w = t.leaf(f.tensor({2, 2}, {3, 4, 1, 2}, dtype));
      const Var a = weight_first ? linear(t, x, w, nullptr) : scale(t, w, 2);
      const Var b = weight_first ? scale(t, w, 2) : linear(t, x, w, nullptr);
      t.backward(add(t, a, b), f.tensor({2, 2}, {1, 0, 0, 1}, dtype));
      CHECK(f.values(t.gradient(w)) == std::vector<double>{3, 2, 3, 6});
    }
}

TEST_CASE("a weight's gradient does not leak into a value that shares its memory") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const Var x = t.constant(f.tensor({1, 2}, {1, 2})), w = t.leaf(f.tensor({1, 2}, {3, 4}));
  const Var other = t.leaf(f.tensor({1, 2}, {0, 0}));
  const Var y = linear(t, x, w, nullptr), sum = add(t, w, other);
  t.backward({{sum, f.tensor({1, 2}, {1, 1})}, {y, f.tensor({1, 1}, {10})}});
  CHECK(f.values(t.gradient(w)) == std::vector<double>{11, 21});
  CHECK(f.values(t.gradient(other)) == std::vector<double>{1, 1});
}

TEST_CASE("a computed 16-bit weight hands its gradient on as 16 bits") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const Var x = t.constant(f.tensor({1, 2}, {1, 2}, DType::bf16)), w = t.leaf(f.tensor({1, 2}, {3, 4}, DType::bf16));
  const Var y = linear(t, x, activate(t, w, Activation::relu, 0), nullptr);
  t.backward(y, f.tensor({1, 1}, {1}, DType::bf16));
  CHECK(f.values(t.gradient(w)) == std::vector<double>{1, 2});
}

TEST_CASE("checkpoint gives the bits of the plain computation, dropout on") {
  Fixture f;
  const auto body = [](Tape& t, const std::vector<Var>& v) {
    const Var h = dropout(t, activate(t, v[0], Activation::gelu, 0), t.dropout(0.4, 9), {});
    return std::vector<Var>{multiply(t, h, v[1]), add(t, h, v[0])};
  };
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const auto result = [&](bool recompute) {
      Tape t(f.context, nullptr, Tape::Mode::train);
      const Var x = t.leaf(f.tensor({2, 3, 9}, ramp(54), dtype)), w = t.leaf(f.tensor({2, 3, 9}, ramp(54), dtype));
      const std::vector<Var> in{scale(t, x, 1.5), w};
      const std::vector<Var> out = recompute ? t.checkpoint(body, in) : body(t, in);
      CHECK(t.records() == (recompute ? 2 : 5));
      std::vector<std::vector<double>> all{f.values(out[0].v), f.values(out[1].v)};
      const Var y = subtract(t, out[0], out[1]);
      t.backward(y, f.tensor({2, 3, 9}, ramp(54), dtype));
      all.push_back(f.values(t.gradient(x))), all.push_back(f.values(t.gradient(w)));
      return all;
    };
    CHECK(result(false) == result(true));
  }
  CHECK(f.context.step().live() == 0);
}

TEST_CASE("checkpoint of one value given twice, of a constant, and of an unused result") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const Var x = t.leaf(f.tensor({2}, {3, 5})), c = t.constant(f.tensor({2}, {10, 20}));
  const auto body = [](Tape& tape, const std::vector<Var>& v) {
    return std::vector<Var>{multiply(tape, v[0], v[1]), scale(tape, v[2], 3)};
  };
  const std::vector<Var> out = t.checkpoint(body, {x, x, c});
  t.backward(out[0], f.tensor({2}, {1, 1}));
  CHECK(f.values(t.gradient(x)) == std::vector<double>{6, 10});
}

TEST_CASE("parts of a value give their gradients back as one, whoever wrote them and where") {
  Fixture f;
  for (const DType dtype : {DType::f64, DType::bf16}) {
    INFO(name_of(dtype));
    Tape t(f.context, nullptr, Tape::Mode::train);
    f.tensor({1024}, std::vector<double>(1024, NAN), dtype);  // what the memory holds that is taken next
    const Var x = t.leaf(f.tensor({1, 2, 6}, ramp(12), dtype));
    const std::vector<Var> y = t.split(x, 3);
    const auto put = [&](const Var& part, double first) {
      const Tensor to = t.empty_gradient(part, "gradient");
      CHECK(!to.dense());
      CHECK(t.empty_gradient(part, "gradient").dense());  // its place is taken
      copy_strided(t.stream(), f.tensor({1, 2, 2}, {first, 2, 3, 4}, dtype), to, false);
      t.add_grad(part, to);
    };
    put(y[0], 1), put(y[1], 10);
    CHECK(t.empty_gradient(y[0], "gradient").dense());
    t.add_grad(y[0], f.tensor({1, 2, 2}, {5, 5, 5, 5}, dtype));
    const Tensor across = f.tensor({1, 2, 2}, {7, 8, 9, 10}, dtype).transpose(1, 2);
    SECTION("a third one that is copied in") {
      t.backward({{y[2], across}});
      CHECK(f.values(t.gradient(x)) == std::vector<double>{6, 7, 10, 2, 7, 9, 8, 9, 3, 4, 8, 10});
    }
    SECTION("one that came as a weight's") {
      copy_strided(t.stream(), cast(t, f.tensor({1, 2, 2}, {1, 1, 1, 1}, dtype), t.grad(y[1]).dtype()), t.grad(y[1]),
                   true);
      t.backward({{y[2], across}});
      CHECK(f.values(t.gradient(x)) == std::vector<double>{6, 7, 11, 3, 7, 9, 8, 9, 4, 5, 8, 10});
    }
    SECTION("none for the third") {
      t.backward({{y[1], across}});
      CHECK(f.values(t.gradient(x)) == std::vector<double>{6, 7, 17, 11, 0, 0, 8, 9, 11, 14, 0, 0});
    }
    SECTION("a second one that is added") {
      t.backward({{y[0], across}, {y[2], across}});
      CHECK(f.values(t.gradient(x)) == std::vector<double>{13, 16, 10, 2, 7, 9, 16, 19, 3, 4, 8, 10});
    }
  }
}

TEST_CASE("parts of a value nobody differentiates are constants") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const Var c = t.constant(f.tensor({2, 4}, ramp(8))), leaf = t.leaf(f.tensor({2, 4}, ramp(8)));
  CHECK(!t.split(c, 2)[1].wants_gradient());
  CHECK(!t.no_grad([&] { return t.split(leaf, 2); })[0].wants_gradient());
  CHECK(t.records() == 0);
  CHECK(message_of([&] { t.split(leaf, 3); }) == "split: x is f64[2, 4], wanted channels divisible by 3 parts");
}

TEST_CASE("evaluation and probability 0 switch dropout off; impossible probabilities are errors") {
  Fixture f;
  Tape train(f.context, nullptr, Tape::Mode::train), evaluate(f.context, nullptr, Tape::Mode::evaluate);
  CHECK(train.dropout(0.25, 1).threshold == 49152);
  CHECK(train.dropout(0, 1).threshold == 65536);
  CHECK(evaluate.dropout(0.25, 1).threshold == 65536);
  for (const double p : {-0.1, 1.0, 2.0, double(NAN)})
    CHECK(message_of([&] { train.dropout(p, 1); }).find("wanted 0 <= p < 1") != std::string::npos);
}

TEST_CASE("closures stay small, one for each operation") {
  const Threads one(1);
  Fixture f;
  for (const OpCase& c : op_cases()) {
    Tape t(f.context, nullptr, Tape::Mode::train);
    std::vector<Var> in;
    for (const OpInput& input : c.inputs)
      in.push_back(t.leaf(f.tensor(input.shape, std::vector<double>(size_t(input.shape.numel()), 1))));
    const Var y = c.apply(t, in);
    INFO(c.op << " " << c.label);
    CHECK(t.records() <= 2);
    CHECK(t.closure_bytes() <= 1280);
  }
}

TEST_CASE("the tape gives its memory back as it goes, and all of it at the end") {
  Fixture f;
  {
    Tape t(f.context, nullptr, Tape::Mode::train);
    Var x = t.leaf(f.tensor({64, 64}, ramp(4096)));
    for (int i = 0; i < 8; ++i) x = activate(t, x, Activation::tanh, 0);
    const int64_t forward = f.context.step().peak();
    x.v = Tensor();
    t.backward(x.slot >= 0 ? Var{f.tensor({64, 64}, ramp(4096)), x.slot, -1} : x, f.tensor({64, 64}, ramp(4096)));
    CHECK(f.context.step().peak() <= forward + 3 * 64 * 64 * 8);
    CHECK(t.records() == 0);
  }
  CHECK(f.context.step().live() == 0);
  {
    Tape t(f.context, nullptr, Tape::Mode::train);  // never goes backward
    activate(t, t.leaf(f.tensor({3}, {1, 2, 3})), Activation::tanh, 0);
  }
  CHECK(f.context.step().used() == 0);
}

TEST_CASE("an operation that fails on the way back keeps no memory") {
  Fixture f;
  const int64_t before = f.context.step().live();
  {
    Tape t(f.context, nullptr, Tape::Mode::train);
    const Var x = t.leaf(f.tensor({4}, ramp(4)));
    const Tensor kept = f.tensor({4}, ramp(4));
    const Var y = t.record(f.tensor({4}, ramp(4)), {&x}, [kept](const Tensor&) { throw Error("no"); });
    CHECK_THROWS_AS(t.backward(scale(t, y, 2), f.tensor({4}, ramp(4))), Error);
  }
  CHECK(f.context.step().live() == before);
}

TEST_CASE("operations refuse what does not fit, with name, argument, shapes and reason") {
  Fixture f;
  Tape t(f.context, nullptr, Tape::Mode::train);
  const auto zeros = [&](Shape s, DType d = DType::f32) { return t.leaf(t.zeros(s, d)); };
  const Var x = zeros({8, 128, 512}), small = zeros({4}), b3 = zeros({2, 3, 4});
  const auto message = [&](auto run) { return message_of(run); };
  CHECK(message([&] { layer_norm(t, x, zeros({511}), zeros({512}), 1e-5); }) ==
        "layer_norm: gamma is f32[511], wanted [512] (last axis of x f32[8, 128, 512])");
  CHECK(message([&] {
          linear(t, b3, zeros({5, 3}), nullptr);
        }) == "linear: W is f32[5, 3], wanted [5, 4] (last axis of x f32[2, 3, 4])");
  CHECK(message([&] { add(t, b3, small); }) == "add: b is f32[4], wanted [2, 3, 4] (shape of a f32[2, 3, 4])");
  CHECK(message([&] { multiply(t, small, zeros({4}, DType::bf16)); }) ==
        "multiply: b is bf16[4], wanted the element type of f32[4]");
  CHECK(message([&] { attention(t, b3, b3, b3, 3, {}, 1, false, {}); }) ==
        "attention: q is f32[2, 3, 4], wanted channels divisible by 3 heads");
  CHECK(message([&] { mean_pool(t, small, {}, {}); }) == "mean_pool: x is f32[4], wanted 3 axes");
  CHECK(message([&] {
          cross_entropy(t, zeros({2, 3}), t.zeros({2}, DType::f32), 0, -1, {});
        }) == "cross_entropy: target is f32[2], wanted element type i32");
  CHECK(message([&] { select_position(t, b3, 3); }).find("slice: [3, 4) of axis 1") == 0);
  const Var strided{b3.v.transpose(1, 2), b3.slot, -1};
  CHECK(message([&] { scale(t, strided, 2); }) == "scale: x is a strided view of f32[2, 4, 3], wanted dense memory");
  CHECK(message([&] { matmul(t, small, small, false); }).find("wanted the same number of axes") != std::string::npos);
  CHECK(message([&] { activate(t, t.leaf(f.context.empty({2}, DType::i32)), Activation::relu, 0); }) ==
        "element type i32 is not a floating-point type");
}

}  // namespace selene::testing
