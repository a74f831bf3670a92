#include "kernels/philox.h"
#include "tests/support/catch.h"

namespace selene::testing {

static std::vector<uint32_t> words(Philox p) { return {p.v, p.v + 4}; }

// The known answers published with the generator (Random123, kat_vectors, philox4x32 10 and 7).
TEST_CASE("philox equals the published vectors") {
  CHECK(words(philox(0, 0, 0, 0, 0, 0)) == std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(words(philox(~0u, ~0u, ~0u, ~0u, ~0u, ~0u)) ==
        std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(words(philox(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0)) ==
        std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  CHECK(words(philox<7>(0, 0, 0, 0, 0, 0)) == std::vector<uint32_t>{0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48});
  CHECK(words(philox<7>(~0u, ~0u, ~0u, ~0u, ~0u, ~0u)) ==
        std::vector<uint32_t>{0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662});
  CHECK(words(philox<7>(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0)) ==
        std::vector<uint32_t>{0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a});
}

TEST_CASE("a philox stream is uniform, repeatable, and differs between streams") {
  PhiloxStream a(7, 1), b(7, 1), c(7, 2);
  double sum = 0;
  int same = 0, counts[10] = {};
  for (int i = 0; i < 10000; ++i) {
    const double u = a.uniform();
    CHECK((u >= 0 && u < 1));
    same += u == c.uniform();
    CHECK(u == b.uniform());
    sum += u;
    ++counts[a.below(10)], b.below(10);
  }
  CHECK(std::abs(sum / 10000 - 0.5) < 5 * 0.2887 / 100);  // five standard errors
  CHECK(same == 0);
  for (int n : counts) CHECK(std::abs(n - 1000) < 5 * 30);
}

}  // namespace selene::testing
