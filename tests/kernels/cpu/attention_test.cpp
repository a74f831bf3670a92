// Fused attention where the operation does not lead: a tail of padding, heads inside wider rows. Against its
// composition: tests/autograd/op_property_test.cpp; against the CUDA kernels, which have their own way:
// tests/kernels/cuda/attention_test.cpp.
#include <algorithm>

#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/attention.h"
#include "tests/support/catch.h"
#include "tests/support/workspace.h"

namespace selene::testing {
namespace {

struct Case {
  int64_t B, H, Nq, Nk, K;
  bool masked = false, causal = false, dropped = false, tied = false,
       packed = false;  // packed: heads inside wider rows
  int64_t tail = 0;     // so many keys of every example are padding, beside those of `masked`

  std::string name() const {
    std::string s;
    for (const int64_t n : {B, H, Nq, Nk, K}) s += std::to_string(n) + " ";
    return s + (masked ? "masked " : "") + (causal ? "causal " : "") + (dropped ? "dropped " : "") +
           (tied ? "tied " : "") + (packed ? "packed " : "") + "tail " + std::to_string(tail);
  }
};

constexpr uint32_t kThreshold = 45875;  // keeps 70 %

struct Site {
  StepScalars step{};
  DropoutSite site{};
  explicit Site(bool on) {
    step.seed = 0x1234567890abcdef, step.micro_batch = 11;
    site = {&step, 3, on ? kThreshold : 65536};
  }
};

// A [B, N, H, K] tensor inside rows of `row` numbers that start at `offset`.
template <class T>
struct Rows {
  int64_t N, H, K, row, offset;
  std::vector<T> data;
  Rows(const Case& c, int64_t n, int64_t place, uint64_t seed)
      : N(n),
        H(c.H),
        K(c.K),
        row(c.packed ? 3 * c.H * c.K + 5 : c.H * c.K),
        offset(c.packed ? place * c.H * c.K : 0) {
    PhiloxStream numbers(77, seed);
    data.resize(size_t(c.B * n * row));
    for (T& x : data) x = down<T>(numbers.uniform() * 2 - 1);
  }
  T* begin() { return data.data() + offset; }
  int64_t batch() const { return N * row; }
  void copy_heads(const Rows& from, int64_t B) {
    for (int64_t n = 0; n < B * N; ++n) std::copy_n(&from.data[from.at(0, n, 0, 0)], H * K, &data[at(0, n, 0, 0)]);
  }
  size_t at(int64_t b, int64_t n, int64_t h, int64_t c) const {
    return size_t(offset + (b * N + n) * row + h * K + c);
  }
};

// Inputs and outputs of one case.
template <class T>
struct Problem {
  Case c;
  Rows<T> q, k, v, o, d_o, dq, dk, dv;
  std::vector<uint8_t> mask;
  std::vector<Acc<T>> lse;
  Site drop;

  explicit Problem(const Case& cc)
      : c(cc),
        q(c, c.Nq, 0, 1),
        k(c, c.Nk, 1, 2),
        v(c, c.Nk, 2, 3),
        o(c, c.Nq, 0, 4),
        d_o(c, c.Nq, 0, 5),
        dq(c, c.Nq, 0, 6),
        dk(c, c.Nk, 1, 7),
        dv(c, c.Nk, 2, 8),
        drop(c.dropped) {
    if (c.tied) v = k;
    PhiloxStream numbers(78, 1);
    mask.assign(size_t(c.B * c.Nk), 0);
    for (int64_t b = 0; b < c.B; ++b)
      for (int64_t j = 1; j < c.Nk; ++j)  // the first key always counts; example b loses a suffix and some others
        mask[size_t(b * c.Nk + j)] =
            (c.masked && (j >= c.Nk - b * c.Nk / (c.B + 1) || numbers.below(5) == 0)) || j >= c.Nk - c.tail;
    lse.resize(size_t(c.B * c.H * c.Nq));
  }
  const uint8_t* mask_or_null() const { return c.masked || c.tail ? mask.data() : nullptr; }

  // The members that both passes have.
  template <class A>
  A arguments() {
    A a{};
    a.q = q.begin(), a.k = k.begin(), a.v = c.tied ? k.begin() : v.begin(), a.key_mask = mask_or_null();
    a.o = o.begin(), a.lse = lse.data(), a.B = c.B, a.H = c.H, a.Nq = c.Nq, a.Nk = c.Nk, a.K = c.K;
    a.q_batch = q.batch(), a.k_batch = k.batch(), a.v_batch = v.batch(), a.o_batch = o.batch();
    a.q_row = q.row, a.k_row = k.row, a.v_row = v.row, a.o_row = o.row;
    a.scale = Acc<T>(1.5 / std::sqrt(double(c.K))), a.causal = c.causal, a.drop = drop.site;
    return a;
  }
  void run() {
    Stream s;
    run_with_scratch(s, arguments<AttentionFwd<T>>());
    auto a = arguments<AttentionBwd<T>>();
    a.d_o = d_o.begin(), a.dq = dq.begin(), a.dk = dk.begin(), a.dv = c.tied ? dk.begin() : dv.begin();
    a.dq_batch = dq.batch(), a.dk_batch = dk.batch(), a.dv_batch = dv.batch();
    a.dq_row = dq.row, a.dk_row = dk.row, a.dv_row = dv.row;
    run_with_scratch(s, a);
  }
};

template <class X>
bool same_bits(const std::vector<X>& a, const std::vector<X>& b) {
  return a.size() == b.size() && (a.empty() || memcmp(a.data(), b.data(), a.size() * sizeof(X)) == 0);
}

}  // namespace

// The keys of `longer` begin with those of `shorter`, and the rest is padding.
template <class T>
static void check_padding(Case c, int64_t more) {
  INFO(c.name() << more << " " << name_of(dtype_of<T>));
  Problem<T> shorter(c);
  c.Nk += more, c.tail += more;
  Problem<T> longer(c);
  for (int64_t b = 0; b < c.B; ++b)
    for (int64_t n = 0; n < shorter.c.Nk; ++n) {
      longer.mask[size_t(b * c.Nk + n)] = shorter.mask[size_t(b * shorter.c.Nk + n)];
      for (int64_t i = 0; i < c.H * c.K; ++i) {
        longer.k.data[longer.k.at(b, n, 0, i)] = shorter.k.data[shorter.k.at(b, n, 0, i)];
        longer.v.data[longer.v.at(b, n, 0, i)] = shorter.v.data[shorter.v.at(b, n, 0, i)];
      }
    }
  shorter.run(), longer.run();
  CHECK(memcmp(shorter.o.data.data(), longer.o.data.data(), shorter.o.data.size() * sizeof(T)) == 0);
  CHECK(memcmp(shorter.dq.data.data(), longer.dq.data.data(), shorter.dq.data.size() * sizeof(T)) == 0);
  CHECK(same_bits(shorter.lse, longer.lse));
  int wrong = 0;
  for (int64_t b = 0; b < c.B; ++b)
    for (int64_t n = 0; n < c.Nk; ++n)
      for (int64_t i = 0; i < c.H * c.K; ++i) {
        const T gk = longer.dk.data[longer.dk.at(b, n, 0, i)], gv = longer.dv.data[longer.dv.at(b, n, 0, i)];
        const bool real = n < shorter.c.Nk;
        const T wk = real ? shorter.dk.data[shorter.dk.at(b, n, 0, i)] : T{};
        const T wv = real ? shorter.dv.data[shorter.dv.at(b, n, 0, i)] : T{};
        wrong += !(up(gk) == up(wk)) + !(up(gv) == up(wv));
      }
  CHECK(wrong == 0);
}

TEST_CASE("a longer tail of padding changes no bit") {
  check_padding<float>({2, 2, 33, 37, 16, true, false, true}, 1);
  check_padding<float>({2, 2, 33, 37, 16, true, false, true}, 91);
  check_padding<float>({1, 2, 300, 301, 16, true, false, true}, 700);
  check_padding<float>({1, 2, 16, 1900, 16, true, false, true}, 3000);
  check_padding<float>({1, 1, 5000, 13, 8, true, false, true}, 30);
  check_padding<bf16>({1, 2, 20, 45, 16, true, false, true}, 100);
  check_padding<double>({1, 2, 20, 45, 16, false, false, true}, 100);
}

TEMPLATE_TEST_CASE("attention to heads inside wider rows gives the same bits and touches nothing else", "", float,
                   double, bf16, f16) {
  using T = TestType;
  for (Case c : {Case{2, 2, 33, 37, 16, true, false, true}, Case{1, 3, 700, 710, 5, true, true, true, true}}) {
    Problem<T> dense(c);
    c.packed = true;
    Problem<T> packed(c);
    for (const auto& [to, from] : std::vector<std::pair<Rows<T>*, Rows<T>*>>{
             {&packed.q, &dense.q}, {&packed.k, &dense.k}, {&packed.v, &dense.v}, {&packed.d_o, &dense.d_o}})
      to->copy_heads(*from, c.B);
    const Problem<T> before = packed;
    dense.run(), packed.run();
    for (const auto& [mine, other, was] :
         std::vector<std::tuple<Rows<T>*, Rows<T>*, const Rows<T>*>>{{&packed.o, &dense.o, &before.o},
                                                                     {&packed.dq, &dense.dq, &before.dq},
                                                                     {&packed.dk, &dense.dk, &before.dk}}) {
      Rows<T> wanted = *was;  // what lies between stays as it was
      wanted.copy_heads(*other, c.B);
      CHECK(same_bits(mine->data, wanted.data));
    }
    CHECK(same_bits(packed.lse, dense.lse));
  }
}

}  // namespace selene::testing
