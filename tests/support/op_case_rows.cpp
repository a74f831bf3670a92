// Cases of the operations that work on rows: norms, dropout, softmax and the loss.
#include <array>

#include "tests/support/op_case.h"

namespace selene::testing {
namespace {

constexpr double kEps = 1e-5;

// [B, N, C]. Where C is 1 a layer norm is constant, so that size stands in the list of the others only.
using Sizes = std::vector<std::array<int64_t, 3>>;
const Sizes kSmall = {{1, 1, 3}, {2, 3, 7}, {1, 5, 8}, {3, 2, 17}, {2, 9, 33}, {2, 17, 130}};
// Whole rows in registers, in shared memory, in neither; many short rows.
const Sizes kDevice = {{2, 5, 128}, {1, 3, 256}, {1, 4, 1000}, {1, 2, 1032}, {2, 1, 3001}, {2, 70, 16}};
const Sizes kThreads = {{2, 150, 257}};

void add_norms(std::vector<OpCase>& cases, const Sizes& sizes) {
  for (const auto& [B, N, C] : sizes) {
    const Shape s{B, N, C};
    const OpInput x{s, -2, 2}, gamma{{C}, 0.5, 1.5}, beta{{C}};
    cases.push_back({"layer_norm", s.text(), {x, gamma, beta}, [](Tape& t, auto& v) {
                       return layer_norm(t, v[0], v[1], v[2], kEps);
                     }});
    for (const double p : {0.0, 0.3})
      cases.push_back({"dropout_add_layer_norm",
                       s.text() + (p > 0 ? " dropout" : ""),
                       {x, x, gamma, beta},
                       [p](Tape& t, auto& v) {
                         return dropout_add_layer_norm(t, v[0], v[1], v[2], v[3], kEps, t.dropout(p, 3));
                       }});
  }
  cases.push_back({"layer_norm", "[12]", {{{12}}, {{12}}, {{12}}}, [](Tape& t, auto& v) {
                     return layer_norm(t, v[0], v[1], v[2], kEps);
                   }});
  cases.push_back({"dropout_add_layer_norm", "x is the residual", {{{2, 3, 9}}, {{9}}, {{9}}}, [](Tape& t, auto& v) {
                     return dropout_add_layer_norm(t, v[0], v[0], v[1], v[2], kEps, t.dropout(0.3, 3));
                   }});
}

Tensor every_third(Tape& t, int64_t B, int64_t N) {
  std::vector<uint8_t> mask(size_t(B * N));
  for (size_t i = 0; i < mask.size(); i += 3) mask[i] = 1;
  return t.context().tensor<uint8_t>({B, N}, mask);
}

void add_dropouts(std::vector<OpCase>& cases, const Sizes& sizes) {
  for (const auto& [B, N, C] : sizes) {
    const Shape s{B, N, C};
    for (const double p : {0.0, 0.4})
      for (const bool zeroed : {false, true})
        cases.push_back({"dropout",
                         s.text() + (p > 0 ? " dropout" : "") + (zeroed ? " rows" : ""),
                         {{s}},
                         [=, rows = B, columns = N](Tape& t, auto& v) {
                           return dropout(t, v[0], t.dropout(p, 4),
                                          zeroed ? every_third(t, rows, columns) : Tensor());
                         }});
    for (const double p : {0.0, 0.4})
      cases.push_back({"dropout_add", s.text() + (p > 0 ? " dropout" : ""), {{s}, {s}}, [p](Tape& t, auto& v) {
                         return dropout_add(t, v[0], v[1], t.dropout(p, 5));
                       }});
  }
  cases.push_back(
      {"dropout", "[3, 10]", {{{3, 10}}}, [](Tape& t, auto& v) { return dropout(t, v[0], t.dropout(0.5, 6), {}); }});
  cases.push_back({"dropout_add", "x is the residual", {{{2, 2, 9}}}, [](Tape& t, auto& v) {
                     return dropout_add(t, v[0], v[0], t.dropout(0.5, 6));
                   }});
}

// u8[B, C]: the last b + 1 columns of example b are left out, one at least stays.
Tensor column_mask(Tape& t, int64_t B, int64_t C) {
  std::vector<uint8_t> mask;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t c = 0; c < C; ++c) mask.push_back(c > 0 && c >= C - 1 - b);
  return t.context().tensor<uint8_t>({B, C}, mask);
}

void add_softmaxes(std::vector<OpCase>& cases, const Sizes& sizes) {
  for (const auto& [B, N, C] : sizes) {
    const Shape s{B, N, C};
    const OpInput x{s, -3, 3};
    for (const bool masked : {false, true})
      for (const bool causal : {false, true})
        cases.push_back({"softmax",
                         s.text() + (masked ? " masked" : "") + (causal ? " causal" : ""),
                         {x},
                         [=, b = B, c = C](Tape& t, auto& v) {
                           return softmax(t, v[0], masked ? column_mask(t, b, c) : Tensor(), causal);
                         }});
    cases.push_back({"log_softmax", s.text(), {x}, [](Tape& t, auto& v) { return log_softmax(t, v[0]); }});
  }
  cases.push_back({"softmax", "[2, 3, 4, 9] masked", {{{2, 3, 4, 9}}}, [](Tape& t, auto& v) {
                     return softmax(t, v[0], column_mask(t, 2, 9), false);
                   }});
  cases.push_back({"log_softmax", "[1]", {{{1}}}, [](Tape& t, auto& v) { return log_softmax(t, v[0]); }});
}

void add_losses(std::vector<OpCase>& cases, const std::vector<std::array<int64_t, 2>>& sizes) {
  for (const auto& [R, C] : sizes)
    for (const double eps : {0.0, 0.1})
      for (const int32_t ignore : {-1, 1})
        cases.push_back({"cross_entropy",
                         Shape{R, C}.text() + (eps > 0 ? " smoothed" : "") + (ignore >= 0 ? " ignoring" : ""),
                         {{{R, C}, -3, 3}},
                         [=, rows = R, classes = C](Tape& t, auto& v) {
                           std::vector<int32_t> target;
                           for (int64_t r = 0; r < rows; ++r) target.push_back(int32_t(r * 5 % classes));
                           const Tensor on_device = t.context().tensor<int32_t>({rows}, target);
                           return cross_entropy(t, v[0], on_device, eps, ignore, {});
                         }});
}

}  // namespace

void add_row_cases(std::vector<OpCase>& cases, Extent extent) {
  const Sizes& rows = extent == Extent::small ? kSmall : extent == Extent::device ? kDevice : kThreads;
  add_norms(cases, rows);
  add_dropouts(cases, rows);
  add_softmaxes(cases, rows);
  if (extent == Extent::small) add_losses(cases, {{1, 2}, {3, 7}, {8, 8}, {17, 10}, {5, 33}});
  else if (extent == Extent::device) add_losses(cases, {{4, 1000}, {3, 1100}, {2, 5003}, {300, 10}});
  else add_losses(cases, {{300, 257}});
}

}  // namespace selene::testing
