// Fused attention against softmax(scale Q K^T) V and its gradients written out in double, one number at a time.
#ifdef _OPENMP
#include <omp.h>
#endif

#include <cmath>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "tests/support/catch.h"
#include "tests/support/workspace.h"

using namespace selene;

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
  Acc<T> scale() const { return Acc<T>(1.5 / std::sqrt(double(c.K))); }

  void run() {
    Stream s;
    test::run_with_scratch(s, AttentionFwd<T>{q.begin(),
                                              k.begin(),
                                              c.tied ? k.begin() : v.begin(),
                                              mask_or_null(),
                                              o.begin(),
                                              lse.data(),
                                              c.B,
                                              c.H,
                                              c.Nq,
                                              c.Nk,
                                              c.K,
                                              q.batch(),
                                              q.row,
                                              k.batch(),
                                              k.row,
                                              v.batch(),
                                              v.row,
                                              o.batch(),
                                              o.row,
                                              scale(),
                                              c.causal,
                                              drop.site,
                                              nullptr});
    test::run_with_scratch(s, AttentionBwd<T>{q.begin(),
                                              k.begin(),
                                              c.tied ? k.begin() : v.begin(),
                                              o.begin(),
                                              d_o.begin(),
                                              mask_or_null(),
                                              lse.data(),
                                              dq.begin(),
                                              dk.begin(),
                                              c.tied ? dk.begin() : dv.begin(),
                                              c.B,
                                              c.H,
                                              c.Nq,
                                              c.Nk,
                                              c.K,
                                              q.batch(),
                                              q.row,
                                              k.batch(),
                                              k.row,
                                              v.batch(),
                                              v.row,
                                              o.batch(),
                                              o.row,
                                              dq.batch(),
                                              dq.row,
                                              dk.batch(),
                                              dk.row,
                                              dv.batch(),
                                              dv.row,
                                              scale(),
                                              c.causal,
                                              drop.site,
                                              nullptr});
  }
};

// The same in double, without blocks, in the layout of Problem's tensors.
struct Reference {
  std::vector<double> o, lse, dq, dk, dv;
};

template <class T>
bool visible(const Problem<T>& p, int64_t b, int64_t n, int64_t j) {
  return !(p.c.causal && j > n + p.c.Nk - p.c.Nq) && !(p.mask_or_null() && p.mask[size_t(b * p.c.Nk + j)]);
}

template <class T>
double survivor(const Problem<T>& p, int64_t bh, int64_t n, int64_t j) {
  if (!p.c.dropped) return 1;
  const Philox bits = dropout_bits(p.drop.site, dropout_attention_block(uint64_t(bh), uint64_t(n), uint64_t(j)));
  return dropout_keeps(bits, int(j % 8), kThreshold) ? double(dropout_scale(kThreshold)) : 0;
}

template <class T>
void reference_row(const Problem<T>& p, int64_t b, int64_t h, int64_t n, Reference& r) {
  const Case& c = p.c;
  const Rows<T>& values = c.tied ? p.k : p.v;
  std::vector<double> s(size_t(c.Nk), 0), keep(size_t(c.Nk), 0), dp(size_t(c.Nk), 0);
  double max = -INFINITY, sum = 0, delta = 0;
  for (int64_t j = 0; j < c.Nk; ++j) {
    if (!visible(p, b, n, j)) continue;
    for (int64_t i = 0; i < c.K; ++i)
      s[size_t(j)] += double(up(p.q.data[p.q.at(b, n, h, i)])) * double(up(p.k.data[p.k.at(b, j, h, i)]));
    max = std::max(max, s[size_t(j)] *= double(p.scale()));
  }
  for (int64_t j = 0; j < c.Nk; ++j) sum += s[size_t(j)] = visible(p, b, n, j) ? std::exp(s[size_t(j)] - max) : 0;
  r.lse[size_t((b * c.H + h) * c.Nq + n)] = max + std::log(sum);
  for (int64_t j = 0; j < c.Nk; ++j) {
    double& pj = s[size_t(j)];
    pj /= sum, keep[size_t(j)] = survivor(p, b * c.H + h, n, j);
    for (int64_t i = 0; i < c.K; ++i) {
      const double g = up(p.d_o.data[p.d_o.at(b, n, h, i)]), x = up(values.data[values.at(b, j, h, i)]);
      r.o[p.o.at(b, n, h, i)] += pj * keep[size_t(j)] * x;
      r.dv[p.dv.at(b, j, h, i)] += pj * keep[size_t(j)] * g;
      dp[size_t(j)] += g * x * keep[size_t(j)];
    }
    delta += pj * dp[size_t(j)];
  }
  for (int64_t j = 0; j < c.Nk; ++j) {
    const double ds = s[size_t(j)] * (dp[size_t(j)] - delta) * double(p.scale());
    for (int64_t i = 0; i < c.K; ++i) {
      r.dq[p.dq.at(b, n, h, i)] += ds * double(up(p.k.data[p.k.at(b, j, h, i)]));
      r.dk[p.dk.at(b, j, h, i)] += ds * double(up(p.q.data[p.q.at(b, n, h, i)]));
    }
  }
}

template <class T>
Reference reference(const Problem<T>& p) {
  Reference r;
  r.o.resize(p.o.data.size()), r.dq.resize(p.dq.data.size()), r.dk.resize(p.dk.data.size());
  r.dv.resize(p.dv.data.size()), r.lse.resize(p.lse.size());
  for (int64_t b = 0; b < p.c.B; ++b)
    for (int64_t h = 0; h < p.c.H; ++h)
      for (int64_t n = 0; n < p.c.Nq; ++n) reference_row(p, b, h, n, r);
  if (p.c.tied)
    for (int64_t b = 0; b < p.c.B; ++b)
      for (int64_t j = 0; j < p.c.Nk; ++j)
        for (int64_t h = 0; h < p.c.H; ++h)
          for (int64_t i = 0; i < p.c.K; ++i) r.dk[p.dk.at(b, j, h, i)] += r.dv[p.dv.at(b, j, h, i)];
  return r;
}

// Largest difference over a tensor's elements, relative to the largest wanted magnitude; NaN if any is NaN.
template <class T>
double difference(const Rows<T>& got, const std::vector<double>& wanted, int64_t B, int64_t keys) {
  double worst = 0, largest = 1.0 / double(keys);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t n = 0; n < got.N; ++n)
      for (int64_t h = 0; h < got.H; ++h)
        for (int64_t i = 0; i < got.K; ++i) {
          const size_t at = got.at(b, n, h, i);
          const double d = std::abs(double(up(got.data[at])) - wanted[at]);
          if (!(d <= worst)) worst = d;
          largest = std::max(largest, std::abs(wanted[at]));
        }
  return worst / largest;
}

template <class T>
void check(const Case& c, double tolerance) {
  INFO(c.name() << name_of(dtype_of<T>));
  Problem<T> p(c);
  p.run();
  const Reference r = reference(p);
  CHECK(difference(p.o, r.o, c.B, c.Nk) <= tolerance);
  CHECK(difference(p.dq, r.dq, c.B, c.Nk) <= tolerance);
  CHECK(difference(p.dk, r.dk, c.B, c.Nk) <= tolerance);
  if (!c.tied) CHECK(difference(p.dv, r.dv, c.B, c.Nk) <= tolerance);
  double worst = 0;
  for (size_t i = 0; i < p.lse.size(); ++i) {
    const double d = std::abs(double(p.lse[i]) - r.lse[i]);
    if (!(d <= worst)) worst = d;
  }
  CHECK(worst <= 10 * tolerance);
}

// Twice the unit roundoff of the operands and of P, over sums whose terms partly cancel.
constexpr double kFloat = 4e-6, kDouble = 1e-13, kBf16 = 3e-2, kF16 = 4e-3;

template <class X>
bool same_bits(const std::vector<X>& a, const std::vector<X>& b) {
  return a.size() == b.size() && (a.empty() || memcmp(a.data(), b.data(), a.size() * sizeof(X)) == 0);
}

}  // namespace

TEST_CASE("attention equals the formula for every combination of flags") {
  for (int flags = 0; flags < 32; ++flags) {
    Case c{2, 2, 33, 33, 16};
    c.masked = flags & 1, c.causal = flags & 2, c.dropped = flags & 4, c.tied = flags & 8, c.packed = flags & 16;
    check<float>(c, kFloat);
    check<double>(c, kDouble);
    check<bf16>(c, kBf16);
    check<f16>(c, kF16);
  }
}

TEST_CASE("attention equals the formula for odd sizes") {
  for (const int64_t n : {1, 3, 7, 15, 16, 17, 31, 33, 100, 257})
    for (const int64_t m : {1, 7, 16, 33, 300}) {
      check<float>({1, 2, n, m, 8, true, false, true}, kFloat);
      check<double>({1, 1, n, m, 5, true, n <= m, true, true}, kDouble);
      check<bf16>({1, 1, n, m, 8, false, n <= m}, kBf16);
    }
  check<float>({1, 1, 40, 50, 64, true, true, true, false, true}, kFloat);
  check<float>({1, 1, 20, 30, 1, true, true, true}, kFloat);
}

TEST_CASE("attention over several blocks and groups equals the formula") {
  check<float>({1, 1, 700, 700, 8, true, true, true}, kFloat);
  check<float>({1, 1, 700, 60, 8, true, false, true, true}, kFloat);
  check<float>({1, 1, 300, 4100, 4, true, true, true}, kFloat);
  check<float>({2, 1, 16, 2500, 8, true, true, true, true, true}, kFloat);
  check<float>({2, 2, 3, 5000, 8, true, false, true}, kFloat);
  check<float>({2, 2, 5000, 3, 8, true, false, true}, kFloat);
  check<float>({1, 1, 5000, 3, 8, false, false, false, true, true}, kFloat);
  check<double>({1, 1, 3, 5000, 4, true, true, true}, kDouble);
  check<double>({1, 1, 4500, 2, 4, true, false, true}, kDouble);
  check<bf16>({1, 1, 3, 5000, 8, true, false, true}, kBf16);
  check<f16>({1, 1, 3, 5000, 8, false, true, true}, kF16);
}

#ifdef _OPENMP
template <class T>
static void check_threads(const Case& c) {
  INFO(c.name() << name_of(dtype_of<T>));
  const int before = omp_get_max_threads();
  Problem<T> one(c);
  omp_set_num_threads(1);
  one.run();
  for (const int threads : {2, 3}) {
    Problem<T> more(c);
    omp_set_num_threads(threads);
    more.run();
    CHECK(memcmp(one.o.data.data(), more.o.data.data(), one.o.data.size() * sizeof(T)) == 0);
    CHECK(memcmp(one.dq.data.data(), more.dq.data.data(), one.dq.data.size() * sizeof(T)) == 0);
    CHECK(memcmp(one.dk.data.data(), more.dk.data.data(), one.dk.data.size() * sizeof(T)) == 0);
    CHECK(memcmp(one.dv.data.data(), more.dv.data.data(), one.dv.data.size() * sizeof(T)) == 0);
    CHECK(same_bits(one.lse, more.lse));
  }
  omp_set_num_threads(before);
}

TEST_CASE("attention has the same bits with 1, 2 and 3 threads") {
  check_threads<float>({2, 2, 300, 300, 16, true, true, true});
  check_threads<float>({1, 3, 16, 5000, 16, true, false, true, true});
  check_threads<float>({1, 3, 5000, 16, 16, true, false, true});
  check_threads<bf16>({2, 2, 100, 300, 16, true, false, true});
}
#endif

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

TEST_CASE("attention shows NaN") {
  Problem<float> p({1, 1, 20, 40, 8, true, false, true});
  p.q.data[p.q.at(0, 3, 0, 2)] = NAN;
  p.run();
  CHECK(std::isnan(p.o.data[p.o.at(0, 3, 0, 0)]));
  CHECK(std::isnan(p.lse[3]));
  CHECK(std::isnan(p.dq.data[p.dq.at(0, 3, 0, 0)]));
  CHECK(std::isnan(p.dk.data[p.dk.at(0, 0, 0, 0)]));
  CHECK_FALSE(std::isnan(p.o.data[p.o.at(0, 4, 0, 0)]));
}
