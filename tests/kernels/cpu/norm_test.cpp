// Layer normalisation where the operations do not lead: the mask of its dropout against the definition, the sum that
// it keeps, gradients in place, a large mean. Values and gradients: tests/golden and the cases of `layer_norm`.
#include "kernels/layer_norm.h"

#include <array>

#include "tests/kernels/cpu/rows.h"
#include "tests/support/workspace.h"

namespace selene::testing {
namespace {

template <class T>
struct Norm {
  using A = Acc<T>;
  int64_t R, C, rows;
  Site site;
  bool with_residual;
  std::vector<T> x, residual, gamma, beta, dy, s, y, ds, dx;
  std::vector<A> mean, rstd, dgamma, dbeta;

  Norm(int64_t r, int64_t c, int64_t rows_of_example, bool branch)
      : R(r), C(c), rows(rows_of_example), site(branch), with_residual(branch) {
    x = numbers<T>(R * C, 1, 2), residual = numbers<T>(R * C, 2), dy = numbers<T>(R * C, 3);
    gamma = numbers<T>(C, 4), beta = numbers<T>(C, 5);
    s.resize(x.size()), y = s, ds = s, dx = s;
    mean.resize(size_t(R)), rstd = mean, dgamma.assign(size_t(C), A(1)), dbeta.assign(size_t(C), A(-2));
  }
  void run_both(bool in_place) {
    Stream stream;
    run(stream, LayerNormFwd<T>{x.data(), with_residual ? residual.data() : nullptr,
                                with_residual ? s.data() : nullptr, gamma.data(), beta.data(), y.data(), mean.data(),
                                rstd.data(), R, C, rows, A(1e-5), site.site});
    if (!with_residual) s = x;
    ds = dy;
    run_with_scratch(stream, LayerNormBwd<T>{s.data(), gamma.data(), in_place ? ds.data() : dy.data(), mean.data(),
                                             rstd.data(), ds.data(), with_residual ? dx.data() : nullptr,
                                             dgamma.data(), dbeta.data(), R, C, rows, site.site, nullptr});
  }
};

template <class T>
std::vector<double> wide(const std::vector<T>& v) {
  std::vector<double> d;
  for (const T x : v) d.push_back(double(up(x)));
  return d;
}

}  // namespace

TEMPLATE_TEST_CASE("layer norm: of a branch, it is that of the kept sum, in place or not", "", float, double, bf16,
                   f16) {
  using T = TestType;
  for (const auto& [R, C, rows] : std::vector<std::array<int64_t, 3>>{{6, 7, 3}, {6, 17, 3}, {77, 100, 11}}) {
    INFO("R " << R << " C " << C);
    Norm<T> branch(R, C, rows, true), plain(R, C, rows, false);
    branch.run_both(false);
    std::vector<double> s, dx;
    for (size_t i = 0; i < branch.x.size(); ++i) {
      const double factor = branch.site.factor(int64_t(i), rows * C);
      s.push_back(double(up(branch.residual[i])) + double(up(branch.x[i])) * factor);
      dx.push_back(double(up(branch.ds[i])) * factor);
    }
    CHECK(differs(branch.s, s, 3e-7) == "");
    CHECK(differs(branch.dx, dx, 1e-6) == "");
    plain.x = branch.s;
    plain.run_both(true);
    CHECK(bytes(branch.y) == bytes(plain.y));
    CHECK(differs(plain.ds, wide(branch.ds), 2e-6) == "");
    CHECK(bytes(branch.dgamma) + bytes(branch.dbeta) == bytes(plain.dgamma) + bytes(plain.dbeta));
  }
}

TEST_CASE("layer norm: a large mean doesn't cancel") {
  Norm<float> n(3, 64, 3, false);
  Norm<double> exact(3, 64, 3, false);
  for (float& x : n.x) x += 1000;
  for (size_t i = 0; i < n.x.size(); ++i) exact.x[i] = n.x[i];
  for (size_t i = 0; i < n.beta.size(); ++i) exact.gamma[i] = n.gamma[i], exact.beta[i] = n.beta[i];
  n.run_both(false), exact.run_both(false);
  CHECK(differs(n.y, exact.y, 2e-4) == "");  // the mean is known to 3e-5
}

}  // namespace selene::testing
