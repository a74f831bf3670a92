// Layers that read one input: one product, with the values and gradients of one product each.
#include <algorithm>

#include "autograd/with_dtype.h"
#include "kernels/matmul.h"
#include "models/registry.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/op_case.h"

namespace selene::testing {
namespace {

constexpr int64_t kB = 2, kN = 5;
// Sums of up to 3 * 64 products of numbers below 4, in double: 192 * 192 * 16 * 2^-53 apart at most.
constexpr double kRounding = 192 * 192 * 16 * 0x1p-53;

std::vector<double> waves(int64_t n, double phase) {
  std::vector<double> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(std::sin(phase + 0.7 * double(i)));
  return v;
}

/// Three layers of one size, in double.
struct Three {
  Context context{{4 << 20, 4 << 20, 0}};
  Parameters parameters;
  ModelConfig config;
  Linear first, a, b, c, last;
  Three(int64_t width, bool bias, bool arranged) {
    const Builder builder{parameters, config, ""};
    first = Linear(builder, "first", 3, 5), a = Linear(builder, "a", width, width, bias);
    b = Linear(builder, "b", width, width, bias), c = Linear(builder, "c", width, width, bias);
    last = Linear(builder, "last", 3, 5);
    if (arranged) side_by_side(builder, {&b, &c, &a});
    parameters.allocate(context, DType::f64, true, 0, 7);
    set_test_step(context);
  }
  std::vector<double> all(const Tensor& flat) {
    std::vector<double> v;
    for (int i = 0; i < int(parameters.count()); ++i)
      for (const double x : download_doubles(context, parameters.segment(flat, i))) v.push_back(x);
    return v;
  }
};

struct Outcome {
  int products = 0;
  std::vector<double> y, dx, gradients;
  std::vector<bool> touched;
};

/// Some of the layers on one input; `seeded`: the results that get a gradient.
Outcome run(Three& three, bool joined, const std::vector<const Linear*>& layers, const std::vector<size_t>& seeded,
            bool x_wanted) {
  Outcome out;
  three.context.stream().observer = [&](Operation op, DType, double, const void*) {
    out.products += op == Operation::Matmul;
  };
  Tape t(three.context, &three.parameters, Tape::Mode::train);
  const int64_t width = three.parameters[three.a.weight].shape[1];
  const Tensor v = upload_doubles(three.context, {kB, kN, width}, DType::f64, waves(kB * kN * width, 1));
  const Var x = x_wanted ? t.leaf(v) : t.constant(v);
  std::vector<Var> results;
  if (joined) results = together(t, x, layers);
  else
    for (const Linear* l : layers) results.push_back((*l)(t, x));
  for (const Var& y : results) {
    const Tensor dense = t.empty(y.shape(), DType::f64);
    copy_strided(t.stream(), y.v, dense, false);
    for (const double value : download_doubles(three.context, dense)) out.y.push_back(value);
  }
  std::vector<std::pair<Var, Tensor>> seeds;
  for (const size_t i : seeded)
    seeds.emplace_back(results[i], upload_doubles(three.context, results[i].shape(), DType::f64,
                                                  waves(results[i].v.numel(), 2 + double(i))));
  t.backward(std::move(seeds));
  if (x_wanted) out.dx = download_doubles(three.context, t.gradient(x));
  out.gradients = three.all(three.parameters.gradients()), out.touched = t.touched();
  three.context.stream().observer = {};
  return out;
}

}  // namespace

TEST_CASE("layers together give what each gives alone, in one product each way") {
  for (const bool bias : {true, false})
    for (const bool x_wanted : {true, false})
      for (const std::vector<size_t>& seeded : {std::vector<size_t>{0, 1, 2}, std::vector<size_t>{2}}) {
        INFO(bias << x_wanted << seeded.size());
        Three one(64, bias, true), each(64, bias, false);
        const Outcome a = run(one, true, {&one.b, &one.c, &one.a}, seeded, x_wanted),
                      b = run(each, false, {&each.b, &each.c, &each.a}, seeded, x_wanted);
        CHECK(a.products == 2 + x_wanted);
        CHECK(distance(a.y, b.y) <= kRounding);
        CHECK(distance(a.dx, b.dx) <= kRounding);
        CHECK(distance(a.gradients, b.gradients) <= kRounding);
        CHECK(largest(b.gradients) > 1);
        if (seeded.size() == 3) CHECK(a.touched == b.touched);
      }
}

TEST_CASE("layers that do not lie side by side, or are alone, are products of their own") {
  const std::vector<size_t> both{0, 1};
  Three narrow(24, true, true), apart(64, true, false), beside(64, true, true);
  CHECK(run(narrow, true, {&narrow.b, &narrow.c}, both, true).products == 6);
  CHECK(run(apart, true, {&apart.b, &apart.c}, both, true).products == 6);
  CHECK(run(beside, true, {&beside.c, &beside.b}, both, true).products == 6);
  CHECK(run(beside, true, {&beside.b}, {0}, true).products == 3);
  CHECK(run(beside, true, {&beside.b, &beside.c}, both, true).products == 3);
}

TEST_CASE("parameters that are laid side by side keep index, name and initial values") {
  Three arranged(64, true, true), plain(64, true, false), narrow(24, true, true), narrow_plain(24, true, false);
  for (int i = 0; i < int(plain.parameters.count()); ++i) {
    CHECK(arranged.parameters[i].name == plain.parameters[i].name);
    CHECK(narrow.parameters[i].offset == narrow_plain.parameters[i].offset);
  }
  CHECK(arranged.all(arranged.parameters.values()) == plain.all(plain.parameters.values()));
  CHECK(arranged.parameters.elements() == plain.parameters.elements());
  const auto at = [&](int i) { return arranged.parameters[i].offset; };
  CHECK(at(arranged.c.weight) == at(arranged.b.weight) + 64 * 64);
  CHECK(at(arranged.a.weight) == at(arranged.c.weight) + 64 * 64);
  CHECK(at(arranged.b.bias) == at(arranged.a.weight) + 64 * 64);
  CHECK(message_of([&] {
          plain.parameters.arrange({plain.a.weight, plain.c.weight});
        }) == "parameter a.weight: laid beside others that were not declared next to it");
}

TEST_CASE("what the optimiser leaves out is cut from the memory, not from the list") {
  Three three(64, true, true);
  three.c.no_gradient_path(three.parameters);
  const auto offset = [&](int i) { return three.parameters[i].offset; };
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const UpdateRange& r : three.parameters.update_ranges()) ranges.emplace_back(r.begin, r.end);
  CHECK(ranges == std::vector<std::pair<int64_t, int64_t>>{{0, offset(three.c.weight)},
                                                           {offset(three.a.weight), offset(three.c.bias)},
                                                           {offset(three.a.bias), three.parameters.elements()}});
}

TEST_CASE("a mechanism reads its context once: all its projections of it are one product") {
  constexpr int64_t kD = 64, kRows = 3;
  for (const Mechanism& m : attentions())
    for (const bool tied : {false, true}) {
      if (m.name != "full" && m.name != "luna") continue;
      const int64_t of_context = m.name == "luna" && tied ? 2 : 3;
      const auto result = [&](bool self) {
        Context context{{4 << 20, 4 << 20, 0}};
        Parameters parameters;
        ModelConfig config;
        config.attention = m.name, config.dim = kD, config.heads = 4, config.own.at("luna.tie_kv") = tied;
        const auto attention = m.make({parameters, config, ""});
        parameters.allocate(context, DType::f64, true, 0, 7);
        set_test_step(context);
        std::vector<int64_t> widths;  // of the products that read the context
        context.stream().observer = [&](Operation op, DType, double, const void* arguments) {
          if (op != Operation::Matmul) return;
          const auto* product = static_cast<const Matmul<double>*>(arguments);
          if (product->M == kB * kN && product->K == kD) widths.push_back(product->N);
        };
        Tape t(context, &parameters, Tape::Mode::train);
        View view;
        view.self = self;
        view.context = t.leaf(upload_doubles(context, {kB, kN, kD}, DType::f64, waves(kB * kN * kD, 1)));
        if (m.packed)
          view.packed = attention->pack(
              t, t.constant(upload_doubles(context, {kB, kRows, kD}, DType::f64, waves(kB * kRows * kD, 2))), view);
        const Var y = attention->mix(t, view.context, view);
        widths.pop_back();  // of the way out, which reads what was attended to
        std::sort(widths.begin(), widths.end());
        CHECK(widths ==
              (self ? std::vector<int64_t>{of_context * kD} : std::vector<int64_t>{kD, (of_context - 1) * kD}));
        CHECK(!view.queries.v);
        t.backward(y, upload_doubles(context, y.shape(), DType::f64, waves(y.v.numel(), 3)));
        return std::vector<std::vector<double>>{download_doubles(context, y.v),
                                                download_doubles(context, t.gradient(view.context)),
                                                download_doubles(context, parameters.gradients())};
      };
      INFO(m.name << tied);
      const auto once = result(true), twice = result(false);
      for (size_t i = 0; i < once.size(); ++i) CHECK(distance(once[i], twice[i]) <= kRounding);
      CHECK(largest(twice[1]) > 0.01);
    }
}

}  // namespace selene::testing
