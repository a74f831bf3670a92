// Activations and dropout where operations do not lead: saturated, in place, in pieces, and masks against the
// definition. Values and slopes: tests/golden and the cases of `activate` and `feed_forward`.
#include "kernels/activation.h"

#include "tests/kernels/cpu/rows.h"

namespace selene::testing {
namespace {

template <class T>
struct Activated {
  std::vector<T> y, dx, again;
};
template <class T>
Activated<T> activate(const std::vector<T>& x, const std::vector<T>& dy, int64_t C, int64_t rows, Activation f,
                      const Site& s) {
  Stream stream;
  const int64_t R = int64_t(x.size()) / C;
  const Acc<T> beta = Acc<T>(0.69314718);
  Activated<T> out{std::vector<T>(x.size()), dy, std::vector<T>(x.size())};  // dx in place of dy
  run(stream, ActivationFwd<T>{x.data(), out.y.data(), R, C, rows, f, beta, s.site});
  run(stream,
      ActivationBwd<T>{x.data(), out.dx.data(), out.dx.data(), out.again.data(), R, C, rows, f, beta, s.site});
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("activation: saturated on both sides, and computed again by the backward pass", "", float, double,
                   bf16, f16) {
  using T = TestType;
  const std::vector<T> x = {down<T>(-50.0), down<T>(50.0)}, dy(2, down<T>(1.0));
  const auto is = [&](Activation f, double low, double high, double high_slope) {
    INFO("function " << int(f));
    const Activated<T> got = activate(x, dy, 2, 1, f, Site(false));
    CHECK(differs(got.y, {low, high}, 1e-7) == "");
    CHECK(differs(got.dx, {f == Activation::identity ? 1.0 : 0.0, high_slope}, 1e-7) == "");
    CHECK(bytes(got.y) == bytes(got.again));
  };
  is(Activation::identity, -50, 50, 1);
  for (const Activation f :
       {Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu, Activation::softplus})
    is(f, 0, 50, 1);
  is(Activation::sigmoid, 0, 1, 0);
  is(Activation::tanh, -1, 1, 0);
  is(Activation::elu, -1, 50, 1);
  is(Activation::elu_plus_one, 0, 51, 1);
}

TEST_CASE("activation: the piece length and the short last example don't show") {
  const Site s(true);  // 5 rows in examples of 2: pieces of 1024 elements, a last example of one row
  const int64_t C = 1029, rows = 2, R = 5;
  const std::vector<float> x = numbers<float>(R * C, 3);
  const Activated<float> got = activate(x, x, C, rows, Activation::identity, s);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * s.factor(int64_t(i), rows * C);
  CHECK(differs(got.y, y, 1e-7) == "");
  CHECK(bytes(got.dx) == bytes(got.y));
}

TEMPLATE_TEST_CASE("dropout: residual, zeroed rows, in place", "", float, double, bf16, f16) {
  using T = TestType;
  Stream stream;
  for (const int64_t C : {1, 7, 16, 1500})
    for (const bool drop : {false, true}) {
      const int64_t rows = 3, R = 6;
      const Site s(drop);
      const std::vector<T> x = numbers<T>(R * C, 4), residual = numbers<T>(R * C, 5);
      const std::vector<uint8_t> zero = {0, 1, 0, 0, 0, 1};
      std::vector<T> all = residual;
      run(stream, Dropout<T>{x.data(), all.data(), zero.data(), all.data(), R, C, rows, s.site});
      std::vector<double> want(x.size());
      for (size_t i = 0; i < x.size(); ++i)
        want[i] =
            (zero[i / size_t(C)] ? 0 : double(up(x[i])) * s.factor(int64_t(i), rows * C)) + double(up(residual[i]));
      CHECK(differs(all, want, 3e-7) == "");
    }
}

}  // namespace selene::testing
