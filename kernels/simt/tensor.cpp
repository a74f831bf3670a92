// The tensor-core twins: the lanes hand over their registers, one of them multiplies. Register layouts: PTX ISA,
// "Warp-level matrix instructions".
#include "kernels/simt/tensor.h"

namespace selene::simt {
namespace {

struct Mma {
  float* d;
  const uint32_t *a, *b;
  bool is_bf16;
};
struct Matrices {
  uint32_t* part;
  const uint32_t* row;
  bool transposed;
};
struct Tiles {
  float* acc;
  const f16 *a, *b;
};

float half_of(uint32_t pair, int high, bool is_bf16) {
  const uint16_t bits = uint16_t(pair >> 16 * high);
  return is_bf16 ? up(bf16{bits}) : up(f16{bits});
}

void multiply_16816(void* const* lanes) {
  float a[16][16], b[16][8];
  for (int l = 0; l < 32; ++l) {
    const Mma& m = *static_cast<const Mma*>(lanes[l]);
    const int group = l / 4, pair = l % 4 * 2;
    for (int r = 0; r < 4; ++r)
      for (int h = 0; h < 2; ++h) a[group + r % 2 * 8][pair + r / 2 * 8 + h] = half_of(m.a[r], h, m.is_bf16);
    for (int r = 0; r < 2; ++r)
      for (int h = 0; h < 2; ++h) b[pair + r * 8 + h][group] = half_of(m.b[r], h, m.is_bf16);
  }
  for (int l = 0; l < 32; ++l) {
    float* d = static_cast<const Mma*>(lanes[l])->d;
    for (int e = 0; e < 4; ++e) {
      const int row = l / 4 + e / 2 * 8, column = l % 4 * 2 + e % 2;
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      d[e] += sum;
    }
  }
}

void distribute(void* const* lanes) {
  for (int l = 0; l < 32; ++l) {
    const Matrices& to = *static_cast<const Matrices*>(lanes[l]);
    for (int i = 0; i < 4; ++i) {
      const auto word = [&](int row, int pair) {
        return static_cast<const Matrices*>(lanes[i * 8 + row])->row[pair];
      };
      if (!to.transposed) {
        to.part[i] = word(l / 4, l % 4);
        continue;
      }
      const int column = l / 4, row = l % 4 * 2, shift = column % 2 * 16;
      const uint32_t low = word(row, column / 2) >> shift & 0xffff,
                     high = word(row + 1, column / 2) >> shift & 0xffff;
      to.part[i] = low | high << 16;
    }
  }
}

void multiply_tiles(void* const* lanes) {
  float a[256], b[256];
  for (int l = 0; l < 32; ++l)
    for (int e = 0; e < 8; ++e) {
      const Tiles& t = *static_cast<const Tiles*>(lanes[l]);
      a[32 * e + l] = up(t.a[e]), b[32 * e + l] = up(t.b[e]);
    }
  for (int row = 0; row < 16; ++row) {
    float sum[16] = {};
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 16; ++column) sum[column] += a[row * 16 + k] * b[k * 16 + column];
    for (int column = 0; column < 16; ++column) {
      const int at = row * 16 + column;
      static_cast<const Tiles*>(lanes[at % 32])->acc[at / 32] += sum[column];
    }
  }
}

template <class Lane>
void together(Lane lane, void (*work)(void* const*)) {
  warp(WarpOperation::collective, 0xffffffffu, reinterpret_cast<uintptr_t>(&lane), 0, work);
}

}  // namespace

void mma_16816(float* d, const uint32_t* a, const uint32_t* b, bool is_bf16) {
  together(Mma{d, a, b, is_bf16}, multiply_16816);
}
void ldmatrix_x4(uint32_t* part, const uint32_t* row, bool transposed) {
  together(Matrices{part, row, transposed}, distribute);
}
void wmma_mma(float* acc, const f16* a, const f16* b) { together(Tiles{acc, a, b}, multiply_tiles); }

}  // namespace selene::simt
