#include "data/lra/pathfinder/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>
#include <utility>

#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr double kPi = std::numbers::pi;

/// A segment's mask cut to side 2 reach + 1 with its start one pixel after the middle in both axes, 1 where it is
/// full. The shift is the reference's.
Image kernel_of(const Image& mask, int64_t reach) {
  Image kernel = black(2 * reach + 1, 2 * reach + 1);
  for (int64_t y = 0; y < kernel.height; ++y)
    for (int64_t x = 0; x < kernel.width; ++x) {
      const int64_t from_y = y - reach - 1 + mask.height / 2, from_x = x - reach - 1 + mask.width / 2;
      kernel.pixels[size_t(y * kernel.width + x)] = mask.pixels[size_t(from_y * mask.width + from_x)] == 255;
    }
  return kernel;
}

/// Rows and columns that the cells of a kernel cover, seen from its middle.
Box reach_of(const Image& kernel) {
  Box box{kernel.height, kernel.width, -kernel.height, -kernel.width};
  for (int64_t y = 0; y < kernel.height; ++y)
    for (int64_t x = 0; x < kernel.width; ++x) {
      if (kernel.pixels[size_t(y * kernel.width + x)] == 0) continue;
      const int64_t dy = y - kernel.height / 2, dx = x - kernel.width / 2;
      box = {std::min(box.top, dy), std::min(box.left, dx), std::max(box.bottom, dy + 1),
             std::max(box.right, dx + 1)};
    }
  return box;
}

/// Whether every pixel of an image has a cell of the kernel inside the image. OpenCV's dilation gives a pixel
/// without one the lowest number there is, and the reference then counts no pixel of the image as free. So first
/// paddles are drawn only in directions for which this holds; at 32 pixels these are 30 of the 360 whole degrees.
bool reaches_everywhere(const Image& kernel) {
  Image lit = black(2 * kernel.height, 2 * kernel.width);
  std::fill(lit.pixels.begin(), lit.pixels.end(), uint8_t(1));
  const Image reached = dilate(lit, kernel);
  return std::find(reached.pixels.begin(), reached.pixels.end(), 0) == reached.pixels.end();
}

}  // namespace

double reversed(double angle) { return angle < 0 ? angle + kPi : angle - kPi; }

PathfinderTables::PathfinderTables(const PathfinderParameters& parameters, int64_t m) : margin(m) {
  SegmentForm form = parameters.form;
  form.margin = m;
  for (int64_t d = 0; d < kDegrees; ++d) {
    const double angle = double(d - 180) * kPi / 180;
    headings.push_back({angle, angle, draw_segment(form, angle)});
    const Image kernel = kernel_of(headings.back().segment.mask, form.length + m);
    rooms.push_back({kernel, reach_of(kernel), reaches_everywhere(kernel)});
  }
  find_ends(form.length + m);
  for (const Point end : ends) {
    const double direction = std::atan2(double(end.y), double(end.x));
    headings.push_back({direction, reversed(direction), draw_segment(form, reversed(direction))});
  }
  weigh_turns(parameters.continuity);
  const Image around = disc(m);
  for (int64_t y = -m; y <= m; ++y)
    for (int64_t x = -m; x <= m; ++x)
      if (around.pixels[size_t((y + m) * around.width + x + m)]) near.push_back({y, x});
}

/// The pixels on a circle, walked in steps of about a pixel's length.
void PathfinderTables::find_ends(int64_t radius) {
  std::set<std::pair<int64_t, int64_t>> found;
  const double r = double(radius), step = 360 / (2 * r * kPi);
  for (int64_t i = 0; double(i) * step < 360; ++i) {
    const double angle = double(i) * step * kPi / 180;
    found.emplace(int64_t(std::floor(r * std::sin(angle))), int64_t(std::floor(r * std::cos(angle))));
  }
  for (const auto& [y, x] : found) ends.push_back({y, x});
}

void PathfinderTables::weigh_turns(double continuity) {
  for (const Heading& heading : headings)
    for (size_t e = 0; e < ends.size(); ++e) {
      const double away = std::abs(headings[size_t(kDegrees) + e].direction - heading.direction);
      const double turn = std::min(std::min(away, 2 * kPi - away) * continuity, kPi / 2);
      weights.push_back(std::cos(turn) * std::cos(turn));
    }
}

PathfinderParameters pathfinder_parameters(const PathfinderOptions& o) {
  struct Row {
    int64_t size, padding, length;
    double thickness;
    std::vector<int64_t> margins;
    int64_t seed_distance;
    double marker_radius, continuity, target, distractor;
    int64_t budget;  // paddles of distractors
  };
  static const Row rows[] = {{32, 1, 2, 0.5, {1}, 7, 1.5, 1.0, 1.5, 2.0, 20},
                             {64, 1, 5, 1.0, {1}, 12, 2.5, 1.8, 0.8, 0.8, 22},
                             {128, 1, 5, 1.5, {2, 3}, 20, 3, 1.8, 0.9, 0.9, 35},
                             {256, 22, 5, 2.0, {3}, 27, 5, 1.8, 1.0, 1.0, 30}};
  const Row* row = std::find_if(std::begin(rows), std::end(rows), [&](const Row& r) { return r.size == o.size; });
  if (row == std::end(rows)) throw Error(fmt::format("pathfinder: size is {}, wanted 32, 64, 128 or 256", o.size));
  const int64_t length = o.level == "hard" ? 14 : o.level == "intermediate" ? 9 : o.level == "easy" ? 6 : 0;
  if (length == 0)
    throw Error(fmt::format("pathfinder: level is '{}', wanted hard, intermediate or easy", o.level.substr(0, 40)));
  const int64_t short_length = length / 3;
  return {row->size,
          row->padding,
          {row->length, row->margins[0], 2, row->thickness},
          row->margins,
          length,
          short_length,
          row->budget / short_length,
          row->seed_distance,
          row->marker_radius,
          row->continuity,
          row->target,
          row->distractor};
}

}  // namespace selene::data
