#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"
#include "kernels/error.h"
#include "kernels/matmul.h"
#include "kernels/philox.h"
#include "tests/support/catch.h"
#include "tests/support/threads.h"
#include "tests/support/workspace.h"

namespace selene::testing {
namespace {

template <class T>
std::vector<T> random_values(int64_t n, uint64_t stream) {
  PhiloxStream p(17, stream);
  std::vector<T> v(static_cast<size_t>(n));
  for (T& x : v) x = down<T>(2 * p.uniform() - 1);
  return v;
}

template <class T>
double roundoff() {  // half a unit in the last place of a value near 1
  return std::is_same_v<T, double>  ? 0x1p-53
         : std::is_same_v<T, float> ? 0x1p-24
         : std::is_same_v<T, bf16>  ? 0x1p-8
                                    : 0x1p-11;
}

struct Case {
  int64_t M, N, K;
  bool trans_a = false, trans_b = false, bias = false, accumulate = false, c_is_acc = false;
  int64_t outer = 1, inner = 1, pad = 0;  // pad: row strides and batch strides exceed the dense ones by it
};

// One product with its operands; run() leaves the output in c (Out = Acc<T> when c_is_acc).
template <class T, class Out>
struct Problem {
  Case s;
  int64_t a_rows, b_rows, lda, ldb, ldc;
  std::vector<T> a, b, bias;
  std::vector<Out> before, c;

  explicit Problem(const Case& k) : s(k) {
    a_rows = s.trans_a ? s.K : s.M, b_rows = s.trans_b ? s.N : s.K;
    lda = (s.trans_a ? s.M : s.K) + s.pad, ldb = (s.trans_b ? s.K : s.N) + s.pad, ldc = s.N + s.pad;
    const int64_t batch = s.outer * s.inner;
    a = random_values<T>(batch * (a_rows * lda + s.pad), 1), b = random_values<T>(batch * (b_rows * ldb + s.pad), 2);
    bias = random_values<T>(s.N, 3), before = random_values<Out>(batch * (s.M * ldc + s.pad), 4);
  }
  // The outer axis is the fast one in memory, as heads are when batch x head is (outer, inner) of a [N, B, H, K]
  // tensor.
  int64_t batch_at(int64_t o, int64_t i, int64_t matrix) const { return (i * s.outer + o) * (matrix + s.pad); }

  void run() {
    Stream stream;
    c = before;
    Matmul<T> m{};
    m.a = a.data(), m.b = b.data(), m.bias = s.bias ? bias.data() : nullptr, m.c = c.data();
    m.M = s.M, m.N = s.N, m.K = s.K, m.lda = lda, m.ldb = ldb, m.ldc = ldc, m.outer = s.outer, m.inner = s.inner;
    m.a_outer = a_rows * lda + s.pad, m.a_inner = m.a_outer * s.outer;
    m.b_outer = b_rows * ldb + s.pad, m.b_inner = m.b_outer * s.outer;
    m.c_outer = s.M * ldc + s.pad, m.c_inner = m.c_outer * s.outer;
    m.trans_a = s.trans_a, m.trans_b = s.trans_b, m.c_is_acc = s.c_is_acc, m.accumulate = s.accumulate;
    run_with_scratch(stream, m);
  }

  // Elements that are not within the bound of Higham 2002, (3.5): (K + 2) u sum |a b|, and one rounding of the
  // output; or, in the gaps between rows and matrices, that were touched.
  int64_t wrong() const {
    int64_t bad = 0;
    std::vector<char> inside(c.size(), 0);
    for (int64_t o = 0; o < s.outer; ++o)
      for (int64_t i = 0; i < s.inner; ++i)
        for (int64_t m = 0; m < s.M; ++m)
          for (int64_t n = 0; n < s.N; ++n) {
            const int64_t at = batch_at(o, i, s.M * ldc) + m * ldc + n;
            inside[at] = 1, bad += !good(o, i, m, n, double(up(c[at])), double(up(before[at])));
          }
    for (size_t e = 0; e < c.size(); ++e) bad += !inside[e] && std::memcmp(&c[e], &before[e], sizeof(Out)) != 0;
    return bad;
  }

  bool good(int64_t o, int64_t i, int64_t m, int64_t n, double found, double old) const {
    const T *x = a.data() + batch_at(o, i, a_rows * lda), *y = b.data() + batch_at(o, i, b_rows * ldb);
    double sum = 0, size = 0;
    for (int64_t k = 0; k < s.K; ++k) {
      const double term =
          double(up(x[s.trans_a ? k * lda + m : m * lda + k])) * double(up(y[s.trans_b ? n * ldb + k : k * ldb + n]));
      sum += term, size += std::abs(term);
    }
    for (const double extra : {s.bias ? double(up(bias[n])) : 0.0, s.accumulate ? old : 0.0})
      sum += extra, size += std::abs(extra);
    // the reference itself rounds in double: twice the bound where T is double
    const double bound = 2 * double(s.K + 2) * roundoff<Acc<T>>() * size + 1.01 * roundoff<Out>() * std::abs(sum);
    return std::abs(found - sum) <= bound + (std::is_same_v<Out, f16> ? 0x1p-25 : 0);  // f16: its subnormals
  }
};

template <class T>
int64_t wrong_elements(const Case& s) {
  if (s.c_is_acc) {
    Problem<T, Acc<T>> p(s);
    return p.run(), p.wrong();
  }
  Problem<T, T> p(s);
  return p.run(), p.wrong();
}

std::string name(const Case& s) {
  return std::to_string(s.M) + "x" + std::to_string(s.N) + "x" + std::to_string(s.K) + " trans " +
         std::to_string(s.trans_a) + std::to_string(s.trans_b) + " bias " + std::to_string(s.bias) + " accumulate " +
         std::to_string(s.accumulate) + " acc " + std::to_string(s.c_is_acc) + " batch " + std::to_string(s.outer) +
         "x" + std::to_string(s.inner) + " pad " + std::to_string(s.pad);
}

// Shapes that reach every way of cutting: one tile, several, batches of many small matrices, a long K in chunks.
const std::vector<Case> kThreadCases = {
    {300, 257, 65},
    {1024, 256, 64, false, true, true},
    {33, 17, 8999, true, false, true, true, true},
    {64, 64, 8192, true, false, false, true, true},
    {16, 64, 20011},
    {20, 31, 1100, false, true, true, true},
    {128, 257, 4100, false, true, true},
    {40, 16, 33, false, true, false, false, false, 5, 13},
    {300, 256, 100, false, false, true},            // row strides that gemm() does not like: it copies B,
    {512, 33, 290, true, false, true, true, true},  // A,
    {256, 512, 270, true, false, true, true},       // or both
    {7, 16, 4096, false, false, true, true, false, 1, 2, 3},
};

template <class T>
std::vector<char> output_bytes(const Case& s, int threads) {
  const Threads scope(threads);
  const auto bytes = [](auto problem) {
    problem.run();
    const char* data = reinterpret_cast<const char*>(problem.c.data());
    return std::vector<char>(data, data + problem.c.size() * sizeof(problem.c[0]));
  };
  return s.c_is_acc ? bytes(Problem<T, Acc<T>>(s)) : bytes(Problem<T, T>(s));
}

}  // namespace

TEMPLATE_TEST_CASE("matmul is right at odd sizes, transposed, with bias, accumulated", "[matmul]", float, double,
                   bf16, f16) {
  const int64_t sizes[] = {1, 3, 7, 15, 16, 17, 31, 33, 100, 257};
  PhiloxStream pick(5, 0);
  for (int flags = 0; flags < 32; ++flags)
    for (int repeat = 0; repeat < 4; ++repeat) {
      Case s{sizes[pick.below(10)], sizes[pick.below(10)], sizes[pick.below(10)]};
      s.trans_a = flags & 1, s.trans_b = flags & 2, s.bias = flags & 4, s.accumulate = flags & 8,
      s.c_is_acc = flags & 16;
      s.pad = repeat == 0 ? 0 : repeat == 1 ? 1 : 5;
      INFO(name(s));
      CHECK(wrong_elements<TestType>(s) == 0);
    }
  for (const bool trans_a : {false, true})  // all strides equal: only the flags tell these products apart
    for (const bool trans_b : {false, true}) CHECK(wrong_elements<TestType>({33, 33, 33, trans_a, trans_b}) == 0);
}

TEMPLATE_TEST_CASE("matmul is right for batches with strides", "[matmul]", float, double, bf16, f16) {
  for (const bool trans_a : {false, true})
    for (const bool trans_b : {false, true})
      for (const int64_t pad : {0, 3}) {
        const Case s{31, 16, 33, trans_a, trans_b, true, true, false, 3, 5, pad};
        INFO(name(s));
        CHECK(wrong_elements<TestType>(s) == 0);
      }
}

TEMPLATE_TEST_CASE("matmul is right where it is cut into tiles and chunks, with the same bits for all threads",
                   "[matmul]", float, double, bf16, f16) {
  for (const Case& s : kThreadCases) {
    INFO(name(s));
    CHECK(wrong_elements<TestType>(s) == 0);
    const auto one = output_bytes<TestType>(s, 1);
    CHECK(one == output_bytes<TestType>(s, 2));
    CHECK(one == output_bytes<TestType>(s, 3));
  }
}

int64_t scratch_elements(int64_t M, int64_t N, int64_t K, int64_t batch) {
  Matmul<float> m{};
  m.M = M, m.N = N, m.K = K, m.outer = 1, m.inner = batch;
  return workspace_bytes(Stream(), m) / int64_t(sizeof(float));
}

TEST_CASE("matmul asks for a workspace only where K is long and C small") {
  CHECK(scratch_elements(4096, 256, 4096, 1) == 0);
  CHECK(scratch_elements(64, 64, 1024, 1) == 0);
  CHECK(scratch_elements(64, 64, 8192, 16) == 0);
  CHECK(scratch_elements(0, 64, 8192, 1) == 0);
  const int64_t elements = scratch_elements(16, 64, 65536, 1);
  CHECK((elements >= 2 * 16 * 64 && elements <= 16 * 16 * 64));
}

TEMPLATE_TEST_CASE("matmul with K = 0 leaves bias and C, with M, N or batch 0 nothing", "[matmul]", float, double,
                   bf16, f16) {
  for (const bool bias : {false, true})
    for (const bool accumulate : {false, true})
      CHECK(wrong_elements<TestType>({5, 7, 0, false, false, bias, accumulate, false, 2, 1, 1}) == 0);
  CHECK(wrong_elements<TestType>({0, 7, 4, false, false, true, false, false, 1, 1, 1}) == 0);
  CHECK(wrong_elements<TestType>({5, 0, 4, false, false, false, false, false, 1, 1, 1}) == 0);
  CHECK(wrong_elements<TestType>({5, 7, 4, false, false, true, false, false, 0, 3, 1}) == 0);
}

TEMPLATE_TEST_CASE("matmul overwrites a NaN in C and passes on one in A, also times zero", "[matmul]", float, double,
                   bf16, f16) {
  for (const int64_t K : {int64_t(16), int64_t(8192)}) {
    Problem<TestType, TestType> p({3, 20, K});
    const auto nan = down<TestType>(std::numeric_limits<double>::quiet_NaN());
    for (TestType& x : p.before) x = nan;
    for (TestType& y : p.b) y = down<TestType>(0.0);
    p.a[1 * p.lda + K - 1] = nan;
    p.run();
    for (int64_t m = 0; m < 3; ++m)
      for (int64_t n = 0; n < 20; ++n) CHECK(std::isnan(up(p.c[m * p.ldc + n])) == (m == 1));
  }
}

TEST_CASE("gemm has the same bits inside and outside of a parallel region") {
  const int64_t M = 64, N = 48, K = 20000;  // oneDNN itself would cut this K by its number of threads
  const auto a = random_values<float>(M * K, 1), b = random_values<float>(K * N, 2);
  std::vector<float> outside(M * N), inside(4 * M * N);
  cpu::Gemm g;
  g.M = M, g.N = N, g.K = K, g.lda = M, g.ldb = N, g.ldc = N, g.trans_a = true;
  {
    const Threads four(4);
    cpu::gemm(g, a.data(), b.data(), outside.data());
    cpu::parallel_for(4, [&](int64_t i) { cpu::gemm(g, a.data(), b.data(), inside.data() + i * M * N); });
  }
  for (int i = 0; i < 4; ++i)
    CHECK(std::memcmp(outside.data(), inside.data() + i * M * N, sizeof(float) * M * N) == 0);
  const Threads one(1);
  cpu::gemm(g, a.data(), b.data(), inside.data());
  CHECK(std::memcmp(outside.data(), inside.data(), sizeof(float) * M * N) == 0);
#ifdef _OPENMP
  const Threads three(3);
  cpu::gemm(g, a.data(), b.data(), inside.data());
  CHECK(omp_get_max_threads() == 3);  // given back
#endif
}

TEST_CASE("gemm refuses a combination of types that does not exist, with its name") {
  cpu::Gemm g;
  g.M = g.N = g.K = g.lda = g.ldb = g.ldc = 1, g.ab = DType::f32, g.c = DType::bf16;
  const float x = 1;
  bf16 y{};
  CHECK_THROWS_WITH(
      cpu::gemm(g, &x, &x, &y),
      "gemm: f32 x f32 -> bf16 does not exist; wanted f32, f64, or bf16 or f16 with C of the same type or f32");
}

TEMPLATE_TEST_CASE("column sums are right, added to what is there, with the same bits for all threads", "[matmul]",
                   float, double, bf16, f16) {
  using A = Acc<TestType>;
  for (const int64_t R : {0, 1, 3, 127, 128, 129, 257, 1000})
    for (const int64_t C : {1, 7, 16, 33, 257, 2049}) {
      const auto x = random_values<TestType>(R * C, 1);
      const auto before = random_values<A>(C, 2);
      std::vector<A> one;
      for (const int threads : {1, 2, 3}) {
        const Threads scope(threads);
        auto y = before;
        Stream stream;
        run_with_scratch(stream, ColumnSum<TestType>{x.data(), y.data(), R, C, nullptr});
        if (threads == 1) one = y;
        CHECK(std::memcmp(one.data(), y.data(), sizeof(A) * size_t(C)) == 0);
      }
      int64_t bad = 0;
      for (int64_t c = 0; c < C; ++c) {
        double sum = before[c], size = std::abs(sum);
        for (int64_t r = 0; r < R; ++r) sum += double(up(x[r * C + c])), size += std::abs(double(up(x[r * C + c])));
        bad += !(std::abs(double(one[c]) - sum) <= 2 * double(R + 1) * roundoff<A>() * size);
      }
      INFO(R << " x " << C);
      CHECK(bad == 0);
    }
}

}  // namespace selene::testing
