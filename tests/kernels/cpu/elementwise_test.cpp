// Sums, strided copies and casts against plain loops in double. Running sums and pooling: tests/golden and the cases
// of `cumulative_sum` and `mean_pool`.
#include "kernels/elementwise.h"

#include "kernels/error.h"
#include "tests/kernels/cpu/rows.h"
#include "tests/support/workspace.h"

namespace selene::testing {

TEMPLATE_TEST_CASE("elementwise: every operation, in place too", "", float, double, bf16, f16) {
  using T = TestType;
  Stream stream;
  std::vector<int64_t> sizes = kSizes;
  sizes.push_back(20'000);  // more than one task
  for (const int64_t n : sizes) {
    const std::vector<T> a = numbers<T>(n, 1), b = numbers<T>(n, 2);
    std::vector<double> sum, difference, product, scaled;
    for (size_t i = 0; i < a.size(); ++i) {
      const double x = double(up(a[i])), y = double(up(b[i]));
      sum.push_back(0.5 * (x + y)), difference.push_back(0.5 * (x - y)), product.push_back(0.5 * (x * y));
      scaled.push_back(0.5 * x);
    }
    const auto result = [&](Binary op, bool with_b) {
      std::vector<T> y = b;
      run(stream, Elementwise<T>{a.data(), with_b ? y.data() : nullptr, y.data(), n, op, Acc<T>(0.5)});
      return y;
    };
    CHECK(differs(result(Binary::add, true), sum, 1e-7) == "");
    CHECK(differs(result(Binary::subtract, true), difference, 1e-7) == "");
    CHECK(differs(result(Binary::multiply, true), product, 1e-7) == "");
    CHECK(differs(result(Binary::add, false), scaled, 1e-7) == "");
    std::vector<T> y = b;
    run(stream, Fill<T>{y.data(), n, Acc<T>(0.25)});
    for (const T v : y) REQUIRE(up(v) == Acc<T>(0.25));
  }
}

TEMPLATE_TEST_CASE("strided copy: transposed, broadcast, accumulated", "", float, double, bf16, f16) {
  using T = TestType;
  Stream stream;
  const int64_t n[4] = {2, 3, 5, 7}, all = 2 * 3 * 5 * 7;
  const int64_t x_stride[3][4] = {{105, 35, 7, 1}, {0, 5, 1, 15}, {35, 0, 7, 1}};
  const int64_t y_stride[2][4] = {{105, 35, 7, 1}, {105, 7, 21, 1}};
  const std::vector<T> x = numbers<T>(all, 1), before = numbers<T>(all, 2);
  for (const auto& xs : x_stride)
    for (const auto& ys : y_stride)
      for (const int32_t accumulate : {0, 1}) {
        std::vector<T> y = before;
        CopyStrided<T> a{x.data(), y.data(), {}, {}, {}, accumulate};
        for (int i = 0; i < 4; ++i) a.n[i] = n[i], a.x_stride[i] = xs[i], a.y_stride[i] = ys[i];
        run(stream, a);
        std::vector<double> want(y.size());
        for (int64_t i = 0; i < all; ++i) {
          const int64_t at[4] = {i / 105, i / 35 % 3, i / 7 % 5, i % 7};
          int64_t from = 0, to = 0;
          for (int k = 0; k < 4; ++k) from += at[k] * xs[k], to += at[k] * ys[k];
          want[size_t(to)] = double(up(x[size_t(from)])) + (accumulate ? double(up(before[size_t(to)])) : 0);
        }
        CHECK(differs(y, want, 1e-7) == "");
      }
}

TEMPLATE_TEST_CASE("cast: to every type and nothing else", "", float, double, bf16, f16) {
  using T = TestType;
  Stream stream;
  const std::vector<T> x = numbers<T>(1000, 1, 10);
  std::vector<double> want, f64(1000);
  for (const T v : x) want.push_back(double(up(v)));
  std::vector<float> f32(1000);
  std::vector<bf16> b16(1000);
  std::vector<f16> h16(1000);
  run(stream, Cast<T>{x.data(), f32.data(), DType::f32, 1000});
  run(stream, Cast<T>{x.data(), b16.data(), DType::bf16, 1000});
  run(stream, Cast<T>{x.data(), h16.data(), DType::f16, 1000});
  run(stream, Cast<T>{x.data(), f64.data(), DType::f64, 1000});
  for (size_t i = 0; i < x.size(); ++i) {
    REQUIRE(f32[i] == float(want[i]));
    REQUIRE(b16[i].bits == down<bf16>(want[i]).bits);
    REQUIRE(h16[i].bits == down<f16>(want[i]).bits);
  }
  CHECK(f64 == want);
  const Cast<T> bad{x.data(), f32.data(), DType::i32, 1000};
  CHECK_THROWS_WITH(run(stream, bad), "cast: to type i32, wanted f32, bf16, f16 or f64");
}

TEST_CASE("mean pooling: a length beyond the rows is all of them") {
  Stream stream;
  const int64_t B = 3, N = 20, D = 7;
  const int32_t beyond = 999;
  const std::vector<float> x = numbers<float>(B * N * D, 1);
  std::vector<float> all(size_t(B * D)), cut = all;
  run_with_scratch(stream, MeanPoolFwd<float>{x.data(), all.data(), nullptr, nullptr, B, N, D, nullptr});
  run_with_scratch(stream, MeanPoolFwd<float>{x.data(), cut.data(), nullptr, &beyond, B, N, D, nullptr});
  CHECK(bytes(all) == bytes(cut));
  std::vector<float> dx(x.size()), dx_cut = dx;
  run(stream, MeanPoolBwd<float>{all.data(), dx.data(), nullptr, nullptr, B, N, D});
  run(stream, MeanPoolBwd<float>{all.data(), dx_cut.data(), nullptr, &beyond, B, N, D});
  CHECK(bytes(dx) == bytes(dx_cut));
}

}  // namespace selene::testing
