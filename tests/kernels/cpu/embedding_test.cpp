// Positions, masks, and what the gradient of a token table refuses. Values and gradients of tables and pixels:
// tests/golden and the cases of `embedding` and `pixel_embedding`.
#include "kernels/embedding.h"

#include <vector>

#include "tests/support/catch.h"
#include "tests/support/workspace.h"

namespace selene::testing {

TEST_CASE("positions: fairseq's rule, padding on either side") {
  Stream stream;
  const std::vector<int32_t> tokens = {5, 6, 7, 1, 1, 1, 1, 9, 1, 8};
  std::vector<int32_t> positions(10);
  run(stream, Positions<float>{tokens.data(), positions.data(), 2, 5, 1});
  CHECK(positions == std::vector<int32_t>{2, 3, 4, 1, 1, 1, 1, 2, 1, 3});
  run(stream, Positions<float>{tokens.data(), positions.data(), 2, 5, -1});
  CHECK(positions == std::vector<int32_t>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4});
}

TEST_CASE("padding mask") {
  Stream stream;
  const std::vector<int32_t> lengths = {3, 0, 4};
  std::vector<uint8_t> mask(12, 9);
  run(stream, PaddingMask<float>{lengths.data(), mask.data(), 3, 4});
  CHECK(mask == std::vector<uint8_t>{0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0});
}

TEST_CASE("embedding: pad -1 leaves out no symbol, an unknown id is refused before anything is added") {
  Stream stream;
  std::vector<int32_t> ids = {0, 1, 1};
  const std::vector<float> dy = {1, 2, 4};
  std::vector<float> dtable(2);
  run_with_scratch(stream, EmbeddingBwd<float>{ids.data(), dy.data(), dtable.data(), 3, 1, 2, -1, 1, nullptr});
  CHECK(dtable == std::vector<float>{1, 6});
  ids[2] = 2;
  const EmbeddingBwd<float> bad{ids.data(), dy.data(), dtable.data(), 3, 1, 2, -1, 1, nullptr};
  CHECK_THROWS_WITH(run(stream, bad), "embedding: ids[2] is 2, wanted a row of the table, 0 to 1");
  CHECK(dtable == std::vector<float>{1, 6});
}

}  // namespace selene::testing
