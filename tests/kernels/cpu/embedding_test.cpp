// Positions, masks, token tables and pixels against plain loops in double.
#include "kernels/embedding.h"

#include <limits>

#include "kernels/error.h"
#include "tests/kernels/cpu/rows.h"
#include "tests/support/workspace.h"

using namespace selene;
using namespace selene::test;

namespace {

std::vector<int32_t> symbols(int64_t n, uint32_t below, uint64_t seed) {
  PhiloxStream stream(3, seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(int32_t(stream.below(below)));
  return ids;
}

}  // namespace

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

TEMPLATE_TEST_CASE("embedding: sum of two tables, gradient without padding", "", float, double, bf16, f16) {
  using T = TestType;
  using A = Acc<T>;
  Stream stream;
  const int64_t R = 50, V = 11;
  for (const int64_t D : kSizes) {
    const std::vector<int32_t> ids = symbols(R, uint32_t(V), 1), ids2 = symbols(R, 7, 2);
    const std::vector<T> table = numbers<T>(V * D, 3), add = numbers<T>(7 * D, 4), dy = numbers<T>(R * D, 5);
    std::vector<T> one(size_t(R * D)), both(one.size());
    std::vector<A> dtable(size_t(V * D), A(2));
    run(stream, EmbeddingFwd<T>{ids.data(), nullptr, table.data(), nullptr, one.data(), R, D, A(1.5)});
    run(stream, EmbeddingFwd<T>{ids.data(), ids2.data(), table.data(), add.data(), both.data(), R, D, A(1.5)});
    run_with_scratch(stream, EmbeddingBwd<T>{ids.data(), dy.data(), dtable.data(), R, D, V, 4, A(1.5), nullptr});
    std::vector<double> want(one.size()), want_both(one.size()), gradient(dtable.size(), 2);
    for (int64_t i = 0; i < R * D; ++i) {
      const int64_t id = ids[size_t(i / D)];
      want[size_t(i)] = 1.5 * double(up(table[size_t(id * D + i % D)]));
      want_both[size_t(i)] = want[size_t(i)] + double(up(add[size_t(ids2[size_t(i / D)] * D + i % D)]));
      if (id != 4) gradient[size_t(id * D + i % D)] += 1.5 * double(up(dy[size_t(i)]));
    }
    CHECK(differs(one, want, 1e-7) == "");
    CHECK(differs(both, want_both, 3e-7) == "");
    CHECK(differs(dtable, gradient, 5e-6) == "");
  }
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

TEMPLATE_TEST_CASE("pixels: values and gradients", "", float, double, bf16, f16) {
  using T = TestType;
  using A = Acc<T>;
  Stream stream;
  for (const int64_t D : kSizes)
    for (const int64_t R : {5, 600}) {  // 600: several partial sums
      if (R == 600 && D > 33) continue;
      const std::vector<T> x = numbers<T>(R, 1), w = numbers<T>(D, 2), b = numbers<T>(D, 3),
                           add = numbers<T>(7 * D, 4);
      const std::vector<T> dy = numbers<T>(R * D, 5);
      const std::vector<int32_t> ids = symbols(R, 7, 6);
      std::vector<T> y(size_t(R * D)), dx(static_cast<size_t>(R));
      std::vector<A> dw(size_t(D), A(1)), db(size_t(D), A(-1));
      run(stream, PixelFwd<T>{x.data(), w.data(), b.data(), ids.data(), add.data(), y.data(), R, D, A(2)});
      run_with_scratch(
          stream, PixelBwd<T>{x.data(), w.data(), dy.data(), dx.data(), dw.data(), db.data(), R, D, A(2), nullptr});
      std::vector<double> want(y.size()), wdx(dx.size()), wdw(dw.size(), 1), wdb(db.size(), -1);
      for (size_t i = 0; i < y.size(); ++i) {
        const size_t r = i / size_t(D), d = i % size_t(D);
        const double g = 2 * double(up(dy[i])), weight = double(up(w[d]));
        want[i] =
            2 * (double(up(x[r])) * weight + double(up(b[d]))) + double(up(add[size_t(ids[r]) * size_t(D) + d]));
        wdx[r] += g * weight, wdw[d] += g * double(up(x[r])), wdb[d] += g;
      }
      CHECK(differs(y, want, 6e-7) == "");
      CHECK(differs(dx, wdx, 2e-5) == "");
      CHECK(differs(dw, wdw, 5e-5) == "");
      CHECK(differs(db, wdb, 5e-5) == "");
    }
}

TEST_CASE("embedding and pixels: same bits for any number of threads") {
  const int64_t R = 700, D = 100;
  const std::vector<int32_t> ids = symbols(R, 11, 1);
  const std::vector<float> dy = numbers<float>(R * D, 1), x = numbers<float>(R, 2), w = numbers<float>(D, 3);
  CHECK(same_bits([&] {
    Stream stream;
    std::vector<float> dtable(11 * 100), dx(700), dw(100), db(100);
    run_with_scratch(stream, EmbeddingBwd<float>{ids.data(), dy.data(), dtable.data(), R, D, 11, -1, 0.7f, nullptr});
    run_with_scratch(
        stream, PixelBwd<float>{x.data(), w.data(), dy.data(), dx.data(), dw.data(), db.data(), R, D, 0.7f, nullptr});
    return bytes(dtable) + bytes(dx) + bytes(dw) + bytes(db);
  }));
}
