// Tensors and their views, and the 16-bit element types.
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/context.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

// binary16 by its definition (IEEE 754-2008, 3.4), as a second opinion.
double f16_by_definition(uint16_t bits) {
  const int sign = bits >> 15, exponent = bits >> 10 & 31, fraction = bits & 1023;
  double x = exponent == 31 ? (fraction ? NAN : INFINITY)
             : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                            : std::ldexp(fraction, -24);
  return sign ? -x : x;
}

bool same(double a, double b) { return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b); }

}  // namespace

TEST_CASE("all 65,536 f16 values are what the standard says and round-trip") {
  for (uint32_t u = 0; u < 65536; ++u) {
    const f16 x{uint16_t(u)};
    if (!same(up(x), f16_by_definition(x.bits))) FAIL("value of f16 bits " << u);
    const f16 back = down<f16>(up(x));
    const bool nan = std::isnan(up(x));
    if (nan ? !std::isnan(up(back)) : back.bits != x.bits) FAIL("round trip of f16 bits " << u);
  }
}

TEST_CASE("all 65,536 bf16 values are the upper half of a float and round-trip") {
  for (uint32_t u = 0; u < 65536; ++u) {
    const bf16 x{uint16_t(u)};
    if (float_bits(up(x)) != u << 16) FAIL("value of bf16 bits " << u);
    const bf16 back = down<bf16>(up(x));
    if (std::isnan(up(x)) ? !std::isnan(up(back)) : back.bits != x.bits) FAIL("round trip of bf16 bits " << u);
  }
}

TEST_CASE("between two 16-bit neighbours rounding goes to the nearer, ties to the even one") {
  const auto check = [](auto of, uint32_t last) {
    using T = decltype(of);
    for (uint32_t u = 0; u < last; ++u) {
      const T a{uint16_t(u)}, b{uint16_t(u + 1)};
      const float low = up(a), high = up(b), middle = low + (high - low) / 2;
      const uint16_t even = uint16_t(u % 2 ? u + 1 : u);
      if (down<T>(middle).bits != even) FAIL("tie above bits " << u);
      if (down<T>(std::nextafter(middle, low)).bits != a.bits) FAIL("below the middle, bits " << u);
      if (down<T>(std::nextafter(middle, high)).bits != b.bits) FAIL("above the middle, bits " << u);
      if (down<T>(-middle).bits != (even | 0x8000u)) FAIL("negative tie, bits " << u);
    }
  };
  check(f16{}, 0x7bff);   // up to the largest finite value; the smallest steps are subnormal
  check(bf16{}, 0x7f7f);  // bf16's subnormals have float's exponent range
}

TEST_CASE("overflow, infinity and NaN of the 16-bit types") {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(down<f16>(65504.0f).bits == 0x7bff);
  CHECK(down<f16>(65519.99f).bits == 0x7bff);
  CHECK(down<f16>(65520.0f).bits == 0x7c00);
  CHECK(down<f16>(-1e30f).bits == 0xfc00);
  CHECK(down<f16>(inf).bits == 0x7c00);
  CHECK(down<f16>(0x1p-25f).bits == 0);  // a tie with 0
  CHECK(down<f16>(0x1.8p-25f).bits == 1);
  CHECK(down<f16>(-0.0f).bits == 0x8000);
  CHECK(down<bf16>(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(down<bf16>(-inf).bits == 0xff80);
  for (const uint32_t bits : {0x7f800001u, 0x7fc00000u, 0xffffffffu, 0x7f80ffffu}) {
    CHECK(std::isnan(up(down<f16>(bits_float(bits)))));
    CHECK(std::isnan(up(down<bf16>(bits_float(bits)))));
  }
  CHECK(std::isnan(up(down<bf16>(-nan))));
}

TEST_CASE("shapes") {
  Shape s{2, 3, 4};
  CHECK(s.rank() == 3);
  CHECK(s.numel() == 24);
  CHECK(s[-1] == 4);
  CHECK(s.text() == "[2, 3, 4]");
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{0, 5}.numel() == 0);
  CHECK(!(s == Shape{2, 3}));
  CHECK(!(s == Shape{2, 3, 5}));
  CHECK(message_of([&] { s[3]; }) == "axis 3 of a shape with 3 axes");
  CHECK(message_of([&] { s[-4]; }) == "axis -4 of a shape with 3 axes");
  CHECK(message_of([] { Shape{1, 2, 3, 4, 5, 6, 7}; }) == "a shape has at most 6 axes");
}

TEST_CASE("views share memory and know their strides") {
  Context context({0, 1 << 16, 0});
  std::vector<float> v(24);
  for (size_t i = 0; i < v.size(); ++i) v[i] = float(i);
  const Tensor x = context.tensor<float>({2, 3, 4}, v);
  CHECK(x.unique());
  const Tensor turned = x.transpose(0, 2);
  CHECK(!x.unique());
  CHECK(turned.shape() == Shape{4, 3, 2});
  CHECK(!turned.dense());
  CHECK(turned.stride(0) == 1);
  CHECK(turned.data<float>() == x.data<float>());
  const Tensor part = x.slice(1, 1, 3);
  CHECK(part.shape() == Shape{2, 2, 4});
  CHECK(part.data<float>()[0] == 4);
  CHECK(!part.dense());
  CHECK(x.slice(0, 1, 2).dense());
  CHECK(x.slice(0, 1, 2).reshape({-1}).data<float>()[11] == 23);
  CHECK(x.reshape({6, -1}).shape() == Shape{6, 4});
  const Tensor heads = x.reshape({2, 3, 2, 2}).transpose(1, 2);
  CHECK(heads.data<float>()[heads.stride(1) + heads.stride(2) + 1] == 7);  // head 1, row 1, channel 1
  CHECK(x.text() == "f32[2, 3, 4]");
  CHECK(x.bytes() == 96);
}

TEST_CASE("errors of views name the tensor and what was wanted") {
  Context context({0, 1 << 16, 0});
  const Tensor x = context.empty({2, 3, 4}, DType::f32);
  CHECK(message_of([&] { x.transpose(1, 2).reshape({24}); }) ==
        "reshape: f32[2, 4, 3] is not dense, wanted a dense tensor (use contiguous)");
  CHECK(message_of([&] { x.reshape({5, 5}); }) == "reshape: f32[2, 3, 4] to [5, 5]: other number of elements");
  CHECK(holds(message_of([&] { x.reshape({-1, 7}); }), "other number of elements"));
  CHECK(message_of([&] { x.slice(1, 2, 4); }) == "slice: [2, 4) of axis 1 of f32[2, 3, 4]");
  CHECK(holds(message_of([&] { x.slice(1, -1, 2); }), "slice: [-1, 2)"));
  CHECK(holds(message_of([&] { x.slice(1, 2, 1); }), "slice: [2, 1)"));
  CHECK(message_of([&] { x.data<double>(); }) == "tensor is f32[2, 3, 4], its data is asked for as f64");
  CHECK(message_of([] { Tensor().raw(); }) == "an empty tensor has no data");
  CHECK(message_of([&] { context.tensor<float>({3}, {1, 2}); }) == "tensor [3]: 2 values given");
  float host[24];
  CHECK(message_of([&] { context.upload(x.transpose(0, 1), host); }) == "upload: f32[3, 2, 4] is not dense");
  CHECK(message_of([&] { context.download(x.slice(2, 0, 1), host); }) == "download: f32[2, 3, 1] is not dense");
}

TEST_CASE("the block goes back with its last tensor, whichever that is") {
  Context context({0, 1 << 16, 0});
  Tensor view;
  {
    const Tensor x = context.empty({4, 4}, DType::f32);
    view = x.slice(0, 1, 2);
    Tensor moved = std::move(view);
    view = moved;
    view = *&view;  // self-assignment keeps it
  }
  CHECK(context.step().live() == 1);
  CHECK(view.unique());
  view = Tensor();
  CHECK(context.step().live() == 0);
}

}  // namespace selene::testing
