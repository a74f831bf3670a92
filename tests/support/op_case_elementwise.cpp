// Cases of the inputs at the bottom of a model, of pooling, and of the small change.
#include <algorithm>
#include <array>
#include <set>

#include "tests/support/op_case.h"

namespace selene::testing {
namespace {

using Sizes = std::vector<std::array<int64_t, 3>>;
const Sizes kSmall = {{1, 1, 1}, {2, 3, 7}, {1, 5, 8}, {3, 4, 17}, {2, 9, 33}};
const Sizes kDevice = {{2, 70, 33}, {1, 300, 64}, {2, 1100, 8}, {1, 2100, 3}};
const Sizes kThreads = {{5, 140, 100}};
constexpr int64_t kTableRows = 11;

// Ids with repetitions, padding (1) among them.
Tensor ids(Tape& t, int64_t B, int64_t N, int64_t step) {
  std::vector<int32_t> v;
  for (int64_t i = 0; i < B * N; ++i) v.push_back(int32_t(i * step % kTableRows));
  return t.context().tensor<int32_t>({B, N}, v);
}

void add_inputs(std::vector<OpCase>& cases, const Sizes& sizes) {
  for (const auto& [B, N, D] : sizes) {
    const std::string label = Shape{B, N, D}.text();
    const OpInput table{{kTableRows, D}};
    const auto tokens = [b = B, n = N](Tape& t) { return ids(t, b, n, 4); };
    const auto places = [b = B, n = N](Tape& t) { return ids(t, b, n, 7); };
    const OpInput padded{table.shape, -1, 1, 0, 1};
    for (const int32_t pad : {-1, 1}) {
      const OpInput rows = pad < 0 ? table : padded;
      cases.push_back({"embedding", label + (pad < 0 ? "" : " padding"), {rows}, [=](Tape& t, auto& v) {
                         return embedding(t, tokens(t), v[0], 1, pad, {});
                       }});
      cases.push_back(
          {"embedding", label + " positions" + (pad < 0 ? "" : " padding"), {rows, rows}, [=](Tape& t, auto& v) {
             return embedding(t, tokens(t), v[0], 1.5, pad, {&v[1], places(t), pad});
           }});
    }
    const std::vector<OpInput> pixels{{{B, N}}, {{D}}, {{D}}};
    cases.push_back({"pixel_embedding", label, pixels,
                     [](Tape& t, auto& v) { return pixel_embedding(t, v[0], v[1], v[2], 1, {}); }});
    cases.push_back(
        {"pixel_embedding", label + " positions", {pixels[0], pixels[1], pixels[2], padded}, [=](Tape& t, auto& v) {
           return pixel_embedding(t, v[0], v[1], v[2], 2.5, {&v[3], places(t), 1});
         }});
    for (const int64_t rows : std::set<int64_t>{N, (N + 1) / 2})
      cases.push_back({"expand_batch", label + " " + std::to_string(rows), {{{N, D}}}, [=, b = B](Tape& t, auto& v) {
                         return expand_batch(t, v[0], b, rows);
                       }});
  }
}

void add_pooling(std::vector<OpCase>& cases, const Sizes& sizes) {
  for (const auto& [B, N, D] : sizes) {
    const OpInput x{{B, N, D}};
    const std::string label = x.shape.text();
    cases.push_back({"mean_pool", label, {x}, [](Tape& t, auto& v) { return mean_pool(t, v[0], {}, {}); }});
    cases.push_back({"mean_pool", label + " longest", {x}, [n = N](Tape& t, auto& v) {
                       const int32_t longest = int32_t(std::max<int64_t>(1, n - 1));
                       return mean_pool(t, v[0], {}, t.context().tensor<int32_t>({1}, {longest}));
                     }});
    cases.push_back({"mean_pool", label + " lengths", {x}, [b = B, n = N](Tape& t, auto& v) {
                       std::vector<int32_t> lengths;
                       for (int64_t i = 0; i < b; ++i) lengths.push_back(int32_t(std::max<int64_t>(1, n - i)));
                       return mean_pool(t, v[0], t.context().tensor<int32_t>({b}, lengths), {});
                     }});
    for (const int64_t n : std::set<int64_t>{0, N - 1})
      cases.push_back({"select_position", label + " " + std::to_string(n), {x}, [n](Tape& t, auto& v) {
                         return select_position(t, v[0], n);
                       }});
  }
}

void add_activations(std::vector<OpCase>& cases, const std::vector<int64_t>& sizes) {
  struct Row {
    Activation f;
    const char* name;
    double away, beta;  // distance from the kink at 0
  };
  for (const Row& r :
       {Row{Activation::identity, "identity", 0, 0}, Row{Activation::relu, "relu", 1e-3, 0},
        Row{Activation::gelu, "gelu", 0, 0}, Row{Activation::gelu_tanh, "gelu_tanh", 0, 0},
        Row{Activation::silu, "silu", 0, 0}, Row{Activation::sigmoid, "sigmoid", 0, 0},
        Row{Activation::tanh, "tanh", 0, 0}, Row{Activation::elu, "elu", 1e-3, 0},
        Row{Activation::elu_plus_one, "elu_plus_one", 1e-3, 0}, Row{Activation::softplus, "softplus", 0, 0.7}})
    for (const int64_t n : sizes)
      cases.push_back({"activate", r.name + Shape{n}.text(), {{{n}, -4, 4, r.away}}, [r](Tape& t, auto& v) {
                         return activate(t, v[0], r.f, r.beta);
                       }});
}

void add_small_change(std::vector<OpCase>& cases, const Sizes& sizes) {
  const auto push = [&](const char* op, const std::string& label, std::vector<OpInput> inputs, auto apply) {
    cases.push_back({op, label, std::move(inputs), apply});
  };
  for (const auto& [B, N, D] : sizes) {
    const Shape s{B, N, D};
    const std::string label = s.text();
    push("concat", label, {{s}, {{B, N, D + 2}}}, [](Tape& t, auto& v) { return concat(t, v[0], v[1]); });
    push("add", label, {{s}, {s}}, [](Tape& t, auto& v) { return add(t, v[0], v[1]); });
    push("subtract", label, {{s}, {s}}, [](Tape& t, auto& v) { return subtract(t, v[0], v[1]); });
    push("multiply", label, {{s}, {s}}, [](Tape& t, auto& v) { return multiply(t, v[0], v[1]); });
    push("scale", label, {{s}}, [](Tape& t, auto& v) { return scale(t, v[0], -1.75); });
    for (const int axis : {0, 1, 2})
      push("cumulative_sum", label + " axis " + std::to_string(axis), {{s}},
           [axis](Tape& t, auto& v) { return cumulative_sum(t, v[0], axis); });
    push("reshape", label, {{s}}, [](Tape& t, auto& v) { return reshape(t, v[0], {v[0].dim(1), -1}); });
    for (const int axis : {0, 1})
      push("transpose", label + " axis " + std::to_string(axis), {{s}},
           [axis](Tape& t, auto& v) { return transpose(t, v[0], axis, 2); });
  }
  const OpInput x{{3, 9}};
  push("add", "x twice", {x}, [](Tape& t, auto& v) { return add(t, v[0], v[0]); });
  push("subtract", "x twice", {x}, [](Tape& t, auto& v) { return subtract(t, v[0], scale(t, v[0], 3)); });
  push("multiply", "x twice", {x}, [](Tape& t, auto& v) { return multiply(t, v[0], v[0]); });
  push("concat", "x twice", {x}, [](Tape& t, auto& v) { return concat(t, v[0], v[0]); });
  push("transpose", "[2, 3, 4, 5]", {{{2, 3, 4, 5}}}, [](Tape& t, auto& v) { return transpose(t, v[0], 1, 2); });
}

}  // namespace

void add_elementwise_cases(std::vector<OpCase>& cases, Extent extent) {
  const Sizes& sizes = extent == Extent::small ? kSmall : extent == Extent::device ? kDevice : kThreads;
  add_inputs(cases, sizes);
  add_pooling(cases, sizes);
  if (extent == Extent::small) add_activations(cases, {1, 7, 8, 17, 33, 130});
  else if (extent == Extent::device) add_activations(cases, {2048, 5003});
  else add_activations(cases, {49999});
  add_small_change(cases, sizes);
}

}  // namespace selene::testing
