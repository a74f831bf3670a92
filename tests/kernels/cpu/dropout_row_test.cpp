// Dropout bits made many at a time against the definition.
#include <vector>

#include "kernels/cpu/dropout_row.h"
#include "tests/support/catch.h"

namespace selene::testing {

TEST_CASE("rows of dropout bits equal the blocks one by one") {
  constexpr uint32_t threshold = 45875;  // keeps 70 %
  StepScalars scalars{};
  scalars.seed = 0x1234567890abcdef, scalars.micro_batch = 11;
  const DropoutSite site{&scalars, 3, threshold};
  for (const uint64_t first : {uint64_t(0), uint64_t(0xfffffff3), uint64_t(0x7000fffffff5)})
    for (const int64_t blocks : {1, 2, 3, 7, 15, 16, 17, 31, 33, 100})
      for (const int64_t rows : {1, 2, 5, 16}) {
        const uint64_t step = uint64_t(1) << 20;
        std::vector<uint16_t> bits(size_t(rows * blocks * 8 + 1), 0xabcd);
        cpu::dropout_bits_rows(site, first, rows, step, blocks, bits.data());
        int wrong = 0;
        for (int64_t i = 0; i < rows * blocks; ++i) {
          const Philox p = dropout_bits(site, first + uint64_t(i / blocks) * step + uint64_t(i % blocks));
          for (int j = 0; j < 8; ++j) {
            const uint32_t got = bits[size_t(8 * i + j)];
            wrong += got != ((p.v[j / 2] >> (16 * (j % 2))) & 0xffff);
            wrong += (got < threshold) != dropout_keeps(p, j, threshold);
          }
        }
        INFO(first << " " << blocks << " " << rows);
        CHECK(wrong == 0);
        CHECK(bits.back() == 0xabcd);
      }
}

}  // namespace selene::testing
