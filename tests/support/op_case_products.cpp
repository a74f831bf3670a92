// Cases of the operations that are mostly products: linear, matmul, feed_forward, attention.
#include <algorithm>
#include <cmath>

#include "tests/support/op_case.h"

namespace selene::testing {
namespace {

struct Sizes {
  int64_t R, K, N;
};
const std::vector<Sizes> kSmall = {{1, 1, 1}, {3, 7, 5}, {8, 8, 8}, {17, 33, 9}, {5, 16, 31}, {33, 3, 17}};
// Tiles of 64 x 64 x 16, and a K long enough to be cut.
const std::vector<Sizes> kDevice = {{64, 64, 64}, {65, 130, 63}, {3, 2100, 5}, {130, 16, 72}};
// Several tiles, a K that is cut into chunks, and a backward pass with such a K.
const std::vector<Sizes> kThreads = {{300, 65, 257}, {16, 8999, 33}, {4100, 40, 17}};

std::string text(std::initializer_list<int64_t> sizes) { return Shape(sizes).text(); }

void add_linear(std::vector<OpCase>& cases, const std::vector<Sizes>& sizes) {
  for (const auto& [R, K, N] : sizes) {
    cases.push_back({"linear", "bias " + text({R, K, N}), {{{R, K}}, {{N, K}}, {{N}}}, [](Tape& t, auto& v) {
                       return linear(t, v[0], v[1], &v[2]);
                     }});
    cases.push_back({"linear", "no bias " + text({2, R, K, N}), {{{2, R, K}}, {{N, K}}}, [](Tape& t, auto& v) {
                       return linear(t, v[0], v[1], nullptr);
                     }});
  }
}

void add_matmul(std::vector<OpCase>& cases, const std::vector<Sizes>& sizes) {
  for (const auto& [M, K, N] : sizes)
    for (const bool trans : {false, true})
      for (const int rank : {2, 3, 4}) {
        Shape a, b;
        for (int i = 2; i < rank; ++i) a.append(i), b.append(i);
        a.append(M), a.append(K), b.append(trans ? N : K), b.append(trans ? K : N);
        const std::string label = a.text() + b.text() + (trans ? " transposed" : "");
        cases.push_back(
            {"matmul", label, {{a}, {b}}, [trans](Tape& t, auto& v) { return matmul(t, v[0], v[1], trans); }});
      }
}

void add_feed_forward(std::vector<OpCase>& cases, const std::vector<Sizes>& sizes) {
  struct Row {
    Activation f;
    const char* name;
    double dropout;
  };
  for (const Row& row :
       {Row{Activation::gelu, "gelu", 0}, Row{Activation::gelu, "gelu", 0.3}, Row{Activation::relu, "relu", 0.3},
        Row{Activation::gelu_tanh, "gelu_tanh", 0.1}, Row{Activation::gelu_tanh, "gelu_tanh", 0},
        Row{Activation::silu, "silu", 0}, Row{Activation::tanh, "tanh", 0.5}})
    for (const auto& [N, D, F] : sizes) {
      const std::string label = row.name + std::string(row.dropout > 0 ? " dropout " : " ") + text({2, N, D, F});
      const double p = row.dropout;
      const Activation f = row.f;
      const double size = std::min(1.0, 4 / std::sqrt(double(D)));  // of weights: hidden values stay about 1
      cases.push_back(
          {"feed_forward",
           label,
           {{{2, N, D}}, {{F, D}, -size, size}, {{F}}, {{D, F}}, {{D}}},
           [f, p](Tape& t, auto& v) { return feed_forward(t, v[0], v[1], v[2], v[3], v[4], f, t.dropout(p, 11)); }});
    }
}

struct AttentionSizes {
  int64_t B, Nq, Nk, H, K;
};

// 1 = padding: example b keeps Nk - b * Nk / 3 keys.
Tensor key_mask(Tape& t, int64_t B, int64_t Nk) {
  std::vector<uint8_t> mask;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t k = 0; k < Nk; ++k) mask.push_back(k >= Nk - b * Nk / 3);
  return t.context().tensor<uint8_t>({B, Nk}, mask);
}

OpCase attention_case(const AttentionSizes& s, bool masked, bool causal, bool tied, double p) {
  const int64_t B = s.B, Nq = s.Nq, Nk = s.Nk, H = s.H, K = s.K;
  const std::string label = text({B, Nq, Nk, H, K}) + (masked ? " masked" : "") + (causal ? " causal" : "") +
                            (tied ? " tied" : "") + (p > 0 ? " dropout" : "");
  std::vector<OpInput> inputs{{{B, Nq, H * K}, -2, 2}, {{B, Nk, H * K}, -2, 2}};
  if (!tied) inputs.push_back({{B, Nk, H * K}, -2, 2});
  const double scale = 1 / std::sqrt(double(K));
  return {"attention", label, inputs, [=](Tape& t, const std::vector<Var>& v) {
            const Tensor mask = masked ? key_mask(t, B, Nk) : Tensor();
            return attention(t, v[0], v[1], v[tied ? 1 : 2], H, mask, scale, causal, t.dropout(p, 12));
          }};
}

// Queries, keys and values side by side in one tensor, as Tape::split gives them: strided, and so are the gradients.
OpCase split_attention_case(int64_t B, int64_t N, int64_t H, int64_t K) {
  const double scale = 1 / std::sqrt(double(K));
  return {"attention",
          "parts of " + text({B, N, 3 * H * K}),
          {{{B, N, 3 * H * K}, -2, 2}},
          [=](Tape& t, const std::vector<Var>& v) {
            const std::vector<Var> parts = t.split(v[0], 3);
            return attention(t, parts[0], parts[1], parts[2], H, key_mask(t, B, N), scale, false,
                             t.dropout(0.25, 12));
          }};
}

void add_attention(std::vector<OpCase>& cases, const std::vector<AttentionSizes>& sizes) {
  for (const AttentionSizes& s : sizes)
    for (int variant = 0; variant < (s.Nk < s.Nq ? 4 : 8); ++variant)  // causal: every query sees a key
      cases.push_back(attention_case(s, variant & 1, variant & 4, variant & 2, variant & 1 ? 0.25 : 0));
}

}  // namespace

void add_product_cases(std::vector<OpCase>& cases, Extent extent) {
  const auto& sizes = extent == Extent::small ? kSmall : extent == Extent::device ? kDevice : kThreads;
  add_linear(cases, sizes);
  add_matmul(cases, sizes);
  add_feed_forward(cases, extent == Extent::threads ? std::vector<Sizes>{{140, 64, 192}} : sizes);
  if (extent == Extent::threads) {
    cases.push_back(split_attention_case(2, 300, 2, 16));
    add_attention(cases, {{2, 300, 300, 2, 16}, {1, 16, 5000, 3, 16}, {1, 5000, 16, 3, 16}});
  } else if (extent == Extent::small) {
    cases.push_back(split_attention_case(1, 1, 2, 4));
    cases.push_back(split_attention_case(2, 17, 2, 3));
    add_attention(
        cases,
        {{1, 1, 1, 1, 1}, {2, 3, 7, 2, 3}, {2, 8, 8, 1, 8}, {3, 17, 33, 2, 8}, {2, 33, 5, 3, 7}, {1, 5, 65, 1, 16}});
    cases.push_back(attention_case({1, 140, 270, 1, 4}, false, true, false, 0.1));
    cases.push_back(attention_case({2, 4, 1100, 2, 4}, true, false, true, 0.1));
    cases.push_back(attention_case({2, 1100, 4, 2, 4}, false, false, true, 0.1));
  } else {  // tiles of 16 and 64 rows, head sizes of 16 to 128, long axes that are cut
    cases.push_back(split_attention_case(2, 65, 2, 16));
    cases.push_back(split_attention_case(1, 130, 2, 64));
    cases.push_back(split_attention_case(2, 33, 1, 20));
    add_attention(cases, {{1, 64, 64, 2, 16},
                          {2, 65, 130, 1, 32},
                          {1, 16, 257, 2, 64},
                          {1, 130, 17, 1, 64},
                          {1, 63, 65, 1, 128},
                          {1, 15, 33, 2, 20},
                          {1, 16, 600, 1, 16},
                          {1, 600, 16, 1, 16}});
  }
}

}  // namespace selene::testing
