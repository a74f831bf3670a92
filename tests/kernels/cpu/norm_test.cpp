// Layer normalisation against its formulas in double.
#include "kernels/layer_norm.h"

#include <limits>

#include "tests/kernels/cpu/rows.h"
#include "tests/support/workspace.h"

using namespace selene;
using namespace selene::test;

namespace {

template <class T>
struct Norm {
  using A = Acc<T>;
  int64_t R, C, rows;
  Site site;
  bool with_residual;
  std::vector<T> x, residual, gamma, beta, dy, s, y, ds, dx;
  std::vector<A> mean, rstd, dgamma, dbeta;

  Norm(int64_t r, int64_t c, int64_t rows_of_example, bool branch, bool drop)
      : R(r), C(c), rows(rows_of_example), site(drop), with_residual(branch) {
    x = numbers<T>(R * C, 1, 2), residual = numbers<T>(R * C, 2), dy = numbers<T>(R * C, 3);
    gamma = numbers<T>(C, 4), beta = numbers<T>(C, 5);
    s.resize(x.size()), y = s, ds = s, dx = s;
    mean.resize(size_t(R)), rstd = mean, dgamma.assign(size_t(C), A(1)), dbeta.assign(size_t(C), A(-2));
  }
  void forward() {
    Stream stream;
    run(stream, LayerNormFwd<T>{x.data(), with_residual ? residual.data() : nullptr,
                                with_residual ? s.data() : nullptr, gamma.data(), beta.data(), y.data(), mean.data(),
                                rstd.data(), R, C, rows, A(1e-5), site.site});
    if (!with_residual) s = x;
  }
  void backward(bool in_place) {
    Stream stream;
    ds = dy;
    run_with_scratch(stream, LayerNormBwd<T>{s.data(), gamma.data(), in_place ? ds.data() : dy.data(), mean.data(),
                                             rstd.data(), ds.data(), with_residual ? dx.data() : nullptr,
                                             dgamma.data(), dbeta.data(), R, C, rows, site.site, nullptr});
  }
};

struct Wanted {
  std::vector<double> s, y, ds, dx, dgamma, dbeta, mean, rstd;
};
/// y and the gradients are those of the kernel's own rounded s.
template <class T>
Wanted wanted(const Norm<T>& n) {
  Wanted w;
  w.dgamma.assign(size_t(n.C), 1), w.dbeta.assign(size_t(n.C), -2);
  for (int64_t r = 0; r < n.R; ++r) {
    std::vector<double> s, xhat, g;
    double mean = 0, variance = 0, s1 = 0, s2 = 0;
    for (int64_t i = r * n.C; i < (r + 1) * n.C; ++i) {
      const double x = double(up(n.x[size_t(i)]));
      w.s.push_back(n.with_residual ? double(up(n.residual[size_t(i)])) + x * n.site.factor(i, n.rows * n.C) : x);
      s.push_back(double(up(n.s[size_t(i)]))), mean += s.back() / double(n.C);
    }
    for (const double v : s) variance += (v - mean) * (v - mean) / double(n.C);
    const double rstd = 1 / std::sqrt(variance + 1e-5);
    w.mean.push_back(mean), w.rstd.push_back(rstd);
    for (size_t c = 0; c < s.size(); ++c) {
      const double dy = double(up(n.dy[size_t(r * n.C) + c])), gamma = double(up(n.gamma[c]));
      xhat.push_back((s[c] - mean) * rstd), g.push_back(dy * gamma);
      w.y.push_back(xhat[c] * gamma + double(up(n.beta[c])));
      s1 += g[c] / double(n.C), s2 += g[c] * xhat[c] / double(n.C);
      w.dgamma[c] += dy * xhat[c], w.dbeta[c] += dy;
    }
    for (size_t c = 0; c < s.size(); ++c) {
      w.ds.push_back(rstd * (g[c] - s1 - xhat[c] * s2));
      w.dx.push_back(w.ds.back() * n.site.factor(r * n.C + int64_t(c), n.rows * n.C));
    }
  }
  return w;
}

template <class T>
void check(int64_t R, int64_t C, int64_t rows, bool residual, bool drop) {
  Norm<T> n(R, C, rows, residual, drop);
  n.forward();
  n.backward(C % 2 == 0);
  const Wanted w = wanted(n);
  INFO("R " << R << " C " << C << " residual " << residual << " dropout " << drop);
  CHECK(differs(n.s, w.s, 3e-7) == "");
  CHECK(differs(n.mean, w.mean, 5e-7) == "");
  CHECK(differs(n.y, w.y, 3e-6) == "");
  double slack = 2e-6;  // ds grows with rstd, up to 1 / sqrt(eps) where a row is nearly constant
  for (const double rstd : w.rstd) slack = std::fmax(slack, 2e-6 * rstd * rstd);
  CHECK(differs(n.rstd, w.rstd, slack) == "");
  CHECK(differs(n.ds, w.ds, slack) == "");
  if (residual) {
    std::vector<double> dx(n.ds.size());  // of the rounded ds
    for (size_t i = 0; i < dx.size(); ++i) dx[i] = double(up(n.ds[i])) * n.site.factor(int64_t(i), rows * C);
    CHECK(differs(n.dx, dx, 1e-6 * slack / 2e-6) == "");
    CHECK(differs(n.dx, w.dx, kRounding<T> * 4 * slack / 2e-6 + 3 * slack) == "");
  }
  CHECK(differs(n.dgamma, w.dgamma, 2e-5) == "");
  CHECK(differs(n.dbeta, w.dbeta, 2e-5) == "");
}

}  // namespace

TEMPLATE_TEST_CASE("layer norm: values and gradients", "", float, double, bf16, f16) {
  for (const int64_t C : kSizes) {
    check<TestType>(6, C, 3, false, false);
    check<TestType>(6, C, 3, true, false);
    check<TestType>(6, C, 3, true, true);
  }
  check<TestType>(77, 100, 11, true, true);  // several blocks of rows, the last one short
  check<TestType>(33, 96, 33, true, true);
}

TEMPLATE_TEST_CASE("layer norm: same bits for any number of threads", "", float, bf16) {
  CHECK(same_bits([] {
    Norm<TestType> n(257, 100, 257, true, true);
    n.forward();
    n.backward(false);
    return bytes(n.y) + bytes(n.s) + bytes(n.ds) + bytes(n.dx) + bytes(n.dgamma) + bytes(n.dbeta);
  }));
}

TEST_CASE("layer norm: a large mean doesn't cancel, NaN stays in its row") {
  Norm<float> n(3, 64, 3, false, false);
  for (float& x : n.x) x += 1000;
  n.x[70] = std::numeric_limits<float>::quiet_NaN();
  n.forward();
  std::vector<float> x = n.x;
  for (size_t i = 64; i < 128; ++i) {
    CHECK(std::isnan(n.y[i]));
    n.y[i] = 0, n.s[i] = 0;
  }
  Wanted w = wanted(n);
  std::fill(w.y.begin() + 64, w.y.begin() + 128, 0.0);
  CHECK(differs(n.y, w.y, 2e-4) == "");  // the mean is known to 3e-5
}
