#include "data/lra/pathfinder/generator.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "data/lra/pathfinder/tables.h"
#include "kernels/philox.h"

namespace selene::data {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr int64_t kDegrees = PathfinderTables::kDegrees;
constexpr int kTaken = 77;  // a mask value from which a pixel is not free: more than 0.3 of 255
constexpr int kFull = 459;  // sum of two masks from which paddles overlap: 1.8 of 255
constexpr int kLit = 26;    // of 255: more than the ripples of the filter, less than a paddle's own pixels
constexpr int kSeedTries = 3, kPaddleTries = 3, kDistractorTries = 5;

using Snake = std::vector<PathfinderPaddle>;

/// The growing end of a snake.
struct Tip {
  Snake snake;
  Point pivot;
};

/// The two targets and the distractors of one image on a common mask of what is taken.
class Drawing {
 public:
  Drawing(const PathfinderParameters& p, const PathfinderTables& t, PhiloxStream& stream)
      : p_(p), t_(t), stream_(stream), empty_(black(p.size, p.size)) {
    for (int64_t y = 0; y < p.size; ++y)
      for (int64_t x = 0; x < p.size; ++x)
        if (border(y, x, p.padding)) empty_.pixels[size_t(y * p.size + x)] = 255;
  }

  /// One try on an empty image; false if a contour found no way on.
  bool two_targets(std::vector<Snake>& snakes) {
    Tip tips[2];
    if (!first_seed(tips[0]) || !second_seed(tips[0].snake[0].start, tips[1])) return false;
    mask_ = empty_;  // only now: most tries fail before
    for (int64_t i = 1; i < p_.contour_length; ++i)
      for (Tip& tip : tips)
        if (!extend(tip)) return false;
    take(tips[1].snake.back());  // but not the other's last paddle: as the reference does
    snakes = {std::move(tips[0].snake), std::move(tips[1].snake)};
    return true;
  }

  /// A distractor, unless all its tries fail.
  void distractor(std::vector<Snake>& snakes) {
    const Image before = mask_;
    for (int attempt = 0; attempt < kDistractorTries; ++attempt, mask_ = before) {
      Tip tip;
      bool fits = distractor_seed(tip);
      for (int64_t i = 1; i < p_.distractor_length && fits; ++i) fits = extend(tip);
      if (!fits) continue;
      take(tip.snake.back());
      snakes.push_back(std::move(tip.snake));
      return;
    }
  }

 private:
  bool inside(Point a) const { return a.y >= 0 && a.y < p_.size && a.x >= 0 && a.x < p_.size; }
  bool border(int64_t y, int64_t x, int64_t width) const {
    return std::min({y, x, p_.size - 1 - y, p_.size - 1 - x}) < width;
  }
  const Segment& segment(const PathfinderPaddle& paddle) const { return t_.headings[size_t(paddle.heading)].segment; }
  void take(const PathfinderPaddle& paddle) { paste_max(mask_, segment(paddle).mask, paddle.start); }

  /// Starts a snake at `start`; false if its end or its pivot would be outside.
  bool seed(Point start, int64_t degree, Tip& tip) const {
    const double angle = t_.headings[size_t(degree)].direction;
    const Point end = move(start, angle, double(p_.form.length));
    tip.pivot = move(end, reversed(angle), double(p_.form.length + t_.margin));
    tip.snake = {{start, angle, false, degree}};
    return inside(end) && inside(tip.pivot);
  }

  /// A place near the middle. Around it nothing is drawn yet, so the free pixels are a rectangle: the part of the
  /// image that is 2 seed_distance away from the border, less what the paddle reaches.
  bool first_seed(Tip& tip) {
    const int64_t low = 2 * p_.seed_distance, high = p_.size - low;
    for (int attempt = 0; attempt < kSeedTries; ++attempt) {
      const int64_t degree = stream_.below(kDegrees);
      const auto& [kernel, reach, usable] = t_.rooms[size_t(degree)];
      if (!usable) return false;
      const Box free{std::max<int64_t>(0, low - reach.top), std::max<int64_t>(0, low - reach.left),
                     std::min(p_.size, high - reach.bottom + 1), std::min(p_.size, high - reach.right + 1)};
      if (free.top >= free.bottom || free.left >= free.right) return false;
      const int64_t y = free.top + stream_.below(uint32_t(free.bottom - free.top));
      const int64_t x = free.left + stream_.below(uint32_t(free.right - free.left));
      if (seed({y, x}, degree, tip)) return true;
    }
    return false;
  }

  bool second_seed(Point first, Tip& tip) {
    for (int attempt = 0; attempt < kSeedTries; ++attempt) {
      const int64_t degree = stream_.below(kDegrees);
      const double side = double(stream_.below(kDegrees)) * kPi / 180, away = double(p_.seed_distance);
      const Point start{int64_t(std::nearbyint(double(first.y) + away * std::sin(side))),
                        int64_t(std::nearbyint(double(first.x) + away * std::cos(side)))};
      if (seed(start, degree, tip)) return true;
    }
    return false;
  }

  /// A free place anywhere, if at least 1 % of the image is free.
  bool distractor_seed(Tip& tip) {
    const auto is_free = [](uint8_t v) { return v < kTaken; };
    if (std::count_if(mask_.pixels.begin(), mask_.pixels.end(), is_free) * 100 < p_.size * p_.size) return false;
    Image lined = mask_;
    for (int64_t i = 0; i < p_.size; ++i)
      for (const int64_t at : {i, (p_.size - 1) * p_.size + i, i * p_.size, (i + 1) * p_.size - 1})
        lined.pixels[size_t(at)] = 255;
    for (int attempt = 0; attempt < kSeedTries; ++attempt) {
      const int64_t degree = stream_.below(kDegrees);
      if (!t_.rooms[size_t(degree)].usable) return false;
      const Image blocked = dilate(lined, t_.rooms[size_t(degree)].kernel);
      free_.clear();
      for (size_t i = 0; i < blocked.pixels.size(); ++i)
        if (is_free(blocked.pixels[i])) free_.push_back(int64_t(i));
      if (free_.empty()) return false;
      const int64_t at = free_[stream_.below(uint32_t(free_.size()))];
      if (seed({at / p_.size, at % p_.size}, degree, tip)) return true;
    }
    return false;
  }

  /// The largest mask value within the margin around `at`.
  int nearby(Point at) const {
    int most = 0;
    if (!border(at.y, at.x, t_.margin)) {
      const uint8_t* middle = mask_.pixels.data() + at.y * p_.size + at.x;
      for (const Point d : t_.near) most = std::max(most, int(middle[d.y * p_.size + d.x]));
      return most;
    }
    for (const Point d : t_.near)
      if (const Point a{at.y + d.y, at.x + d.x}; inside(a))
        most = std::max(most, int(mask_.pixels[size_t(a.y * p_.size + a.x)]));
    return most;
  }

  bool overlaps(const Image& added, Point at) const {
    const int64_t half = added.height / 2;
    const int64_t x0 = std::max<int64_t>(0, half - at.x), x1 = std::min(added.width, p_.size - at.x + half);
    int most = 0;
    for (int64_t y = std::max<int64_t>(0, half - at.y); y < std::min(added.height, p_.size - at.y + half); ++y) {
      const uint8_t* a = added.pixels.data() + y * added.width;
      const uint8_t* b = mask_.pixels.data() + (at.y - half + y) * p_.size + at.x - half;
      for (int64_t x = x0; x < x1; ++x) most = std::max(most, int(a[x]) + int(b[x]));
    }
    return most >= kFull;
  }

  /// Adds a paddle in about the same direction. The one before it is an obstacle only from now on: it touches this
  /// one.
  bool extend(Tip& tip) {
    const PathfinderPaddle last = tip.snake.back();
    const double direction = t_.headings[size_t(last.heading)].direction;
    const Point pivot = move(tip.pivot, direction, double(p_.form.length + 2 * t_.margin));
    const double* preference = t_.weights.data() + size_t(last.heading) * t_.ends.size();
    sums_.assign(t_.ends.size(), 0);
    double total = 0;
    for (size_t e = 0; e < t_.ends.size(); ++e) {
      const Point at{pivot.y + t_.ends[e].y, pivot.x + t_.ends[e].x};
      if (preference[e] > 0 && inside(at)) total += preference[e] * (1 - nearby(at) / 255.0);
      sums_[e] = total;
    }
    if (total < 1e-4) return false;
    for (int attempt = 0; attempt < kPaddleTries; ++attempt) {
      const auto chosen = std::upper_bound(sums_.begin(), sums_.end() - 1, stream_.uniform() * total);
      const int64_t e = chosen - sums_.begin(), heading = kDegrees + e;
      const Point at{pivot.y + t_.ends[size_t(e)].y, pivot.x + t_.ends[size_t(e)].x};
      const PathfinderTables::Heading& drawn = t_.headings[size_t(heading)];
      if (overlaps(drawn.segment.mask, at)) continue;
      take(last);
      tip.pivot = pivot;
      tip.snake.push_back({at, drawn.angle, true, heading});
      return true;
    }
    return false;
  }

  const PathfinderParameters& p_;
  const PathfinderTables& t_;
  PhiloxStream& stream_;
  Image empty_, mask_;  // 255: taken; empty_: nothing but the border
  std::vector<double> sums_;
  std::vector<int64_t> free_;
};

/// Adds a disc with smooth edges to `markers`.
void draw_marker(Image& markers, Point at, const PathfinderParameters& p, const LanczosWeights& weights) {
  const int64_t scale = p.form.antialias, reach = int64_t(std::ceil(p.marker_radius)) + 4;  // 4: of the filter
  const double radius = p.marker_radius * double(scale);
  Image fine = black(p.size * scale, p.size * scale);
  const Box box{std::max<int64_t>(0, at.y - reach), std::max<int64_t>(0, at.x - reach),
                std::min(p.size, at.y + reach + 1), std::min(p.size, at.x + reach + 1)};
  for (int64_t y = box.top * scale; y < box.bottom * scale; ++y)
    for (int64_t x = box.left * scale; x < box.right * scale; ++x) {
      const double dy = double(y - at.y * scale), dx = double(x - at.x * scale);
      if (dy * dy + dx * dx <= radius * radius) fine.pixels[size_t(y * fine.width + x)] = 255;
    }
  const Image part = lanczos_reduce(fine, weights, box);
  for (int64_t y = 0; y < part.height; ++y)
    for (int64_t x = 0; x < part.width; ++x) {
      uint8_t& to = markers.pixels[size_t((box.top + y) * p.size + box.left + x)];
      to = std::max(to, part.pixels[size_t(y * part.width + x)]);
    }
}

/// The lightest of the three layers, stretched so that the values go from 0 to 255.
Image compose(const PathfinderParameters& p, const Image& targets, const Image& distractors, const Image& markers) {
  std::vector<double> light(targets.pixels.size());
  for (size_t i = 0; i < light.size(); ++i)  // the reference keeps contours in fp32
    light[i] =
        std::max({double(float(targets.pixels[i] / 255.0 * p.target_contrast)),
                  double(float(distractors.pixels[i] / 255.0 * p.distractor_contrast)), markers.pixels[i] / 255.0});
  const auto [low, high] = std::minmax_element(light.begin(), light.end());
  const double least = *low, scale = 255.0 / (*high - least);
  Image out = black(targets.height, targets.width);
  for (size_t i = 0; i < light.size(); ++i)
    out.pixels[i] = uint8_t(std::clamp((light[i] - least) * scale, 0.0, 255.0) + 0.5);
  return out;
}

}  // namespace

PathfinderGenerator::PathfinderGenerator(const PathfinderOptions& options)
    : options_(options),
      parameters_(pathfinder_parameters(options)),
      marker_weights_(lanczos_weights(parameters_.size * parameters_.form.antialias, parameters_.size)) {
  for (const int64_t margin : parameters_.margins)
    tables_.push_back(std::make_shared<PathfinderTables>(parameters_, margin));
}

const PathfinderTables& PathfinderGenerator::tables(int64_t margin) const {
  return **std::find_if(tables_.begin(), tables_.end(), [&](const auto& t) { return t->margin == margin; });
}

Image PathfinderGenerator::layer(const PathfinderImage& image, size_t snake) const {
  Image out = black(parameters_.size, parameters_.size);
  for (const PathfinderPaddle& paddle : image.snakes[snake])
    paste_max(out, tables(image.margin).headings[size_t(paddle.heading)].segment.line, paddle.start);
  return out;
}

bool PathfinderGenerator::crossed_at_end(const PathfinderImage& image) const {
  for (size_t s = 0; s < 2; ++s) {
    const Image other = layer(image, 1 - s);
    for (const Point end : {image.snakes[s].front().start, image.snakes[s].back().start})
      if (other.pixels[size_t(end.y * other.width + end.x)] >= kLit) return true;
  }
  return false;
}

PathfinderImage PathfinderGenerator::draw(uint64_t index) const {
  PhiloxStream stream(options_.seed, index);
  PathfinderImage result;
  result.label = int32_t(stream.below(2));
  result.margin = parameters_.margins[stream.below(uint32_t(parameters_.margins.size()))];
  Drawing drawing(parameters_, tables(result.margin), stream);
  do ++result.attempts;
  while (!drawing.two_targets(result.snakes) || crossed_at_end(result));
  for (int64_t i = 0; i < parameters_.distractors; ++i) drawing.distractor(result.snakes);
  result.origin = stream.below(2);
  const int64_t terminal = result.label == 1 ? result.origin : 1 - result.origin;
  result.markers[0] = result.snakes[size_t(result.origin)].front().start;
  result.markers[1] = result.snakes[size_t(terminal)].back().start;
  Image targets = black(parameters_.size, parameters_.size), distractors = targets, markers = targets;
  for (size_t s = 0; s < result.snakes.size(); ++s) {
    const Image one = layer(result, s);
    paste_max(s < 2 ? targets : distractors, one, {one.height / 2, one.width / 2});
  }
  for (const Point at : result.markers) draw_marker(markers, at, parameters_, marker_weights_);
  result.image = compose(parameters_, targets, distractors, markers);
  return result;
}

}  // namespace selene::data
