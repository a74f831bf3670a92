#include "data/lra/pathfinder/raster.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr int kPrecision = 22;  // binary digits after the point of a weight

void set(Image& image, int64_t y, int64_t x) {
  if (y >= 0 && y < image.height && x >= 0 && x < image.width) image.pixels[size_t(y * image.width + x)] = 255;
}

/// Nearest integer; halves away from zero, or towards zero.
int64_t half_away(double v) { return int64_t(v >= 0 ? std::floor(v + 0.5) : -std::floor(-v + 0.5)); }
int64_t half_to_zero(double v) { return int64_t(v >= 0 ? std::ceil(v - 0.5) : -std::ceil(-v - 0.5)); }

/// Bresenham 1965; where two pixels are equally near, the one further along the short axis.
void draw_thin(Image& image, Point from, Point to) {
  const int64_t dy = std::abs(to.y - from.y), dx = std::abs(to.x - from.x);
  const int64_t sy = to.y > from.y ? 1 : -1, sx = to.x > from.x ? 1 : -1;
  const bool flat = dx > dy;
  const int64_t steps = std::max(dx, dy), rise = std::min(dx, dy);
  int64_t error = 2 * rise - steps;
  for (int64_t i = 0; i <= steps; ++i) {
    set(image, from.y, from.x);
    if (error >= 0) (flat ? from.y : from.x) += flat ? sy : sx, error -= 2 * steps;
    (flat ? from.x : from.y) += flat ? sx : sy, error += 2 * rise;
  }
}

/// Fills a convex quadrilateral: in each row the pixels between the outermost crossings of its edges.
void fill_quad(Image& image, const std::array<Point, 4>& corners) {
  const auto [low, high] =
      std::minmax_element(corners.begin(), corners.end(), [](Point a, Point b) { return a.y < b.y; });
  for (int64_t y = low->y; y <= high->y; ++y) {
    double left = INFINITY, right = -INFINITY;
    const auto cross = [&](double x) { left = std::min(left, x), right = std::max(right, x); };
    for (size_t i = 0; i < 4; ++i) {
      const Point a = corners[i], b = corners[(i + 1) % 4];
      if (y < std::min(a.y, b.y) || y > std::max(a.y, b.y)) continue;
      if (a.y == b.y) {
        cross(double(a.x)), cross(double(b.x));
      } else {
        const float slope = float(b.x - a.x) / float(b.y - a.y);  // fp32 as the reference: it decides ties
        cross(double(float(y - a.y) * slope + float(a.x)));
      }
    }
    for (int64_t x = half_away(left); x <= half_to_zero(right); ++x) set(image, y, x);
  }
}

void draw_wide(Image& image, Point from, Point to, int64_t width) {
  const double dy = double(to.y - from.y), dx = double(to.x - from.x), length = std::hypot(dy, dx);
  const double half = double(width - 1) / 2;
  const double near = double(half_to_zero(half)) / length, far = double(half_away(half)) / length;
  const int64_t x_near = half_to_zero(near * dy), x_far = half_to_zero(far * dy);
  const int64_t y_near = half_away(near * dx), y_far = half_away(far * dx);
  fill_quad(image, {Point{from.y + y_far, from.x - x_near}, Point{to.y + y_far, to.x - x_near},
                    Point{to.y - y_near, to.x + x_far}, Point{from.y - y_near, from.x + x_far}});
}

double sinc(double x) { return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x); }
double lanczos(double x) { return std::abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0; }

uint8_t rounded(int32_t sum) { return uint8_t(std::clamp(sum >> kPrecision, 0, 255)); }

}  // namespace

Point move(Point from, double angle, double distance) {
  return {int64_t(std::ceil(double(from.y) + distance * std::sin(angle))),
          int64_t(std::ceil(double(from.x) + distance * std::cos(angle)))};
}

Image black(int64_t height, int64_t width) {
  return {height, width, 1, std::vector<uint8_t>(size_t(height * width))};
}

void draw_line(Image& image, Point from, Point to, int64_t width) {
  if (width == 1 || from == to) return draw_thin(image, from, to);
  draw_wide(image, from, to, width);
}

Image disc(int64_t radius) {
  Image out = black(2 * radius + 1, 2 * radius + 1);
  for (int64_t y = -radius; y <= radius; ++y)
    for (int64_t x = -radius; x <= radius; ++x)
      out.pixels[size_t((y + radius) * out.width + x + radius)] = y * y + x * x <= radius * radius;
  return out;
}

Image dilate(const Image& image, const Image& kernel) {
  Image out = black(image.height, image.width);
  for (int64_t a = 0; a < kernel.height; ++a)
    for (int64_t b = 0; b < kernel.width; ++b) {
      if (kernel.pixels[size_t(a * kernel.width + b)] == 0) continue;
      const int64_t dy = a - kernel.height / 2, dx = b - kernel.width / 2;
      const int64_t x0 = std::max<int64_t>(0, -dx), x1 = std::min(image.width, image.width - dx);
      for (int64_t y = std::max<int64_t>(0, -dy); y < std::min(image.height, image.height - dy); ++y) {
        const uint8_t* from = image.pixels.data() + (y + dy) * image.width + dx;
        uint8_t* to = out.pixels.data() + y * image.width;
        for (int64_t x = x0; x < x1; ++x) to[x] = std::max(to[x], from[x]);
      }
    }
  return out;
}

LanczosWeights lanczos_weights(int64_t in, int64_t out) {
  LanczosWeights result{in, {}};
  const double scale = double(in) / double(out), stretch = std::max(scale, 1.0), support = 3 * stretch;
  for (int64_t i = 0; i < out; ++i) {
    const double centre = (double(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, int64_t(centre - support + 0.5));
    const int64_t end = std::min(in, int64_t(centre + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t k = first; k < end; ++k) {
      weights.push_back(lanczos((double(k) - centre + 0.5) / stretch));
      sum += weights.back();
    }
    LanczosWeights::Sample sample{first, {}};
    for (const double w : weights) sample.weights.push_back(int32_t(half_away(w / sum * (1 << kPrecision))));
    result.samples.push_back(std::move(sample));
  }
  return result;
}

Image lanczos_reduce(const Image& image, const LanczosWeights& weights, Box box) {
  const auto& samples = weights.samples;
  const auto& last = samples[size_t(box.bottom - 1)];
  const int64_t first_row = samples[size_t(box.top)].first,
                rows = last.first + int64_t(last.weights.size()) - first_row;
  Image across = black(rows, box.right - box.left);
  for (int64_t y = 0; y < rows; ++y)
    for (int64_t x = 0; x < across.width; ++x) {
      const auto& sample = samples[size_t(box.left + x)];
      const uint8_t* from = image.pixels.data() + (first_row + y) * image.width + sample.first;
      int32_t sum = 1 << (kPrecision - 1);
      for (size_t k = 0; k < sample.weights.size(); ++k) sum += int32_t(from[k]) * sample.weights[k];
      across.pixels[size_t(y * across.width + x)] = rounded(sum);
    }
  Image out = black(box.bottom - box.top, across.width);
  for (int64_t y = 0; y < out.height; ++y) {
    const auto& sample = samples[size_t(box.top + y)];
    for (int64_t x = 0; x < out.width; ++x) {
      const uint8_t* from = across.pixels.data() + (sample.first - first_row) * across.width + x;
      int32_t sum = 1 << (kPrecision - 1);
      for (size_t k = 0; k < sample.weights.size(); ++k)
        sum += int32_t(from[int64_t(k) * across.width]) * sample.weights[k];
      out.pixels[size_t(y * out.width + x)] = rounded(sum);
    }
  }
  return out;
}

Segment draw_segment(const SegmentForm& form, double angle) {
  const double width = form.thickness * double(form.antialias);
  if (width != std::round(width) || width < 1)
    throw Error(fmt::format("draw_segment: thickness {} with antialias {}, wanted their product to be an integer",
                            form.thickness, form.antialias));
  const int64_t half = form.length + int64_t(std::ceil(form.thickness)) + form.margin, side = 2 * half + 1;
  Image fine = black(2 * half * form.antialias + 1, 2 * half * form.antialias + 1);
  const Point middle{half * form.antialias, half * form.antialias};
  draw_line(fine, middle, move(middle, angle, double(form.length * form.antialias)), int64_t(width));
  const LanczosWeights weights = lanczos_weights(fine.height, side);
  const Box all{0, 0, side, side};
  return {lanczos_reduce(fine, weights, all),
          lanczos_reduce(dilate(fine, disc(form.margin * form.antialias)), weights, all)};
}

void paste_max(Image& target, const Image& source, Point at) {
  const int64_t top = at.y - source.height / 2, left = at.x - source.width / 2;
  const int64_t x0 = std::max<int64_t>(0, -left), x1 = std::min(source.width, target.width - left);
  for (int64_t y = std::max<int64_t>(0, -top); y < std::min(source.height, target.height - top); ++y) {
    const uint8_t* from = source.pixels.data() + y * source.width;
    uint8_t* to = target.pixels.data() + (top + y) * target.width + left;
    for (int64_t x = x0; x < x1; ++x) to[x] = std::max(to[x], from[x]);
  }
}

}  // namespace selene::data
