// The drawing rules of Pathfinder pictures (Linsley et al. 2018): lines and Lanczos reduction as in Pillow,
// dilation as in OpenCV, and the segment ("paddle") that contours are made of. Pictures are grey images
// (data/io/image.h).
#pragma once
#include <cstdint>
#include <vector>

#include "data/io/image.h"

namespace selene::data {

struct Point {
  int64_t y = 0, x = 0;  // row, column
  bool operator==(const Point&) const = default;
};

/// The cell `distance` pixels from `from` in direction `angle` (radians, direction (sin, cos)), both coordinates
/// rounded up.
Point move(Point from, double angle, double distance);

/// A black image, [height, width].
Image black(int64_t height, int64_t width);
/// Draws a straight line of value 255, `width` >= 1 pixels wide, both ends included, clipped at the border. One
/// pixel: Bresenham. Wider: the rectangle around it, its corners rounded to pixels.
void draw_line(Image& image, Point from, Point to, int64_t width);
/// [2r + 1, 2r + 1]: 1 where dy^2 + dx^2 <= r^2, else 0.
Image disc(int64_t radius);
/// out(y, x) = max over the kernel's cells (a, b) that are not 0 of in(y + a - h/2, x + b - w/2); outside is
/// ignored.
Image dilate(const Image& image, const Image& kernel);

/// Weights of one axis of a reduction from `in` to `out` samples by a Lanczos filter with three lobes, whose
/// support grows with the reduction; fixed point with 22 bits, as Pillow's for 8-bit images.
struct LanczosWeights {
  struct Sample {
    int64_t first = 0;             // input sample of the first weight
    std::vector<int32_t> weights;  // their sum is 2^22 up to rounding
  };
  int64_t in = 0;
  std::vector<Sample> samples;  // [out]
};
LanczosWeights lanczos_weights(int64_t in, int64_t out);

struct Box {
  int64_t top = 0, left = 0, bottom = 0, right = 0;  // bottom and right are after the last row and column
};
/// The part `box` of a square image of side weights.in reduced to the side of `weights`: first along rows, then
/// along columns, rounded to 8 bits each time.
Image lanczos_reduce(const Image& image, const LanczosWeights& weights, Box box);

/// A drawn segment, both images square with the start in the middle.
struct Segment {
  Image line;  // 255: fully lit
  Image mask;  // the line with `margin` pixels around it, 255: taken
};
struct SegmentForm {
  int64_t length = 5, margin = 3, antialias = 2;
  double thickness = 1.5;  // pixels; times antialias an integer
};
/// A segment from the middle in direction `angle` (radians), drawn `antialias` times as large and reduced. Side 2
/// (length + ceil(thickness) + margin) + 1. Error for a thickness that is no multiple of 1/antialias.
Segment draw_segment(const SegmentForm& form, double angle);

/// target = max(target, source) where the middle of `source` is at `at` of `target`, clipped at the border.
void paste_max(Image& target, const Image& source, Point at);

}  // namespace selene::data
