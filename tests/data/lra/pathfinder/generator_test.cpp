// The Pathfinder generator: its drawing rules against Pillow and OpenCV, its pictures against statistics of the
// public generator, and every label against the drawn contours.
#include "data/lra/pathfinder/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "data/io/xxhash64.h"
#include "data/lra/pathfinder/tables.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;
using Bytes = std::vector<uint8_t>;

Bytes row_of(const Image& image, int64_t y) {
  return {image.pixels.begin() + y * image.width, image.pixels.begin() + (y + 1) * image.width};
}

/// Mean over images with its standard error.
struct Mean {
  double sum = 0, squares = 0;
  int64_t n = 0;
  void add(double v) { sum += v, squares += v * v, ++n; }
  double value() const { return sum / double(n); }
  double deviation() const { return std::sqrt(std::max(0.0, squares / double(n) - value() * value())); }
};

/// Statistics of images of 32 pixels of one level, as spec'd: pixel mean, mean square, share of zeros, of values
/// above 127.
struct Statistics {
  Mean mean, square, zero, bright, label, attempts;
};
Statistics statistics_of(const std::string& level, int64_t count) {
  const PathfinderGenerator generator({32, level, 5});
  Statistics s;
  for (int64_t i = 0; i < count; ++i) {
    const PathfinderImage drawn = generator.draw(uint64_t(i));
    double sum = 0, squares = 0, zero = 0, bright = 0;
    for (const double v : drawn.image.pixels) sum += v, squares += v * v, zero += v == 0, bright += v > 127;
    const double n = double(drawn.image.pixels.size());
    s.mean.add(sum / n), s.square.add(squares / n), s.zero.add(zero / n), s.bright.add(bright / n);
    s.label.add(drawn.label), s.attempts.add(double(drawn.attempts));
  }
  return s;
}

/// The wanted value was measured on 400 images of the public generator and rounded by at most `rounding`. Both
/// means vary from sample to sample with the images' deviation over the square root of their number; four such
/// deviations of the difference are allowed, which a right generator exceeds once in 16,000 values.
void check_mean(const Mean& got, double wanted, double rounding) {
  const double tolerance = 4 * got.deviation() * std::sqrt(1 / double(got.n) + 1 / 400.0) + rounding;
  CAPTURE(got.value(), wanted, tolerance);
  CHECK(std::abs(got.value() - wanted) <= tolerance);
}

void check_hard(int64_t count) {
  const Statistics s = statistics_of("hard", count);
  check_mean(s.mean, 20.4, 0.05);
  check_mean(s.square, 51.3 * 51.3 + 20.4 * 20.4, 0.1 * 51.3 + 0.1 * 20.4);
  check_mean(s.zero, 0.655, 0.0005);
  check_mean(s.bright, 0.084, 0.0005);
  check_mean(s.label, 0.5, 0);
  CHECK(std::abs(s.zero.deviation() - 0.04) <= 0.008);
  CHECK((s.attempts.value() > 250 && s.attempts.value() < 420));
}

bool inside(const Image& image, Point at) {
  return at.y >= 0 && at.y < image.height && at.x >= 0 && at.x < image.width;
}
int at(const Image& image, Point p) { return image.pixels[size_t(p.y * image.width + p.x)]; }

constexpr int kLit = 26;  // of 255: more than the ripples of the filter, less than any pixel on a paddle's line

/// Lit pixels that can be reached from `from` in steps of at most `step` pixels. Nothing if `from` is dark.
std::set<std::pair<int64_t, int64_t>> flood(const Image& image, Point from, int64_t step) {
  std::set<std::pair<int64_t, int64_t>> reached;
  std::vector<Point> open;
  const auto visit = [&](Point p) {
    if (inside(image, p) && at(image, p) >= kLit && reached.emplace(p.y, p.x).second) open.push_back(p);
  };
  visit(from);
  while (!open.empty()) {
    const Point p = open.back();
    open.pop_back();
    for (int64_t dy = -step; dy <= step; ++dy)
      for (int64_t dx = -step; dx <= step; ++dx)
        if (dy * dy + dx * dx <= step * step) visit({p.y + dy, p.x + dx});
  }
  return reached;
}

/// Both ends of a paddle in the order of its snake.
struct Ends {
  double entry_y, entry_x, exit_y, exit_x;
};
Ends ends_of(const PathfinderPaddle& p, double length) {
  const double y = double(p.start.y), x = double(p.start.x);
  const double far_y = y + length * std::sin(p.angle), far_x = x + length * std::cos(p.angle);
  return p.backward ? Ends{far_y, far_x, y, x} : Ends{y, x, far_y, far_x};
}

/// Walks a contour from paddle to paddle and returns its far end. Each gap must be one that the rule makes: two
/// margins, plus up to a pixel in each coordinate where the pivot and where the paddle's end were rounded.
Point walk(const std::vector<PathfinderPaddle>& snake, const PathfinderImage& drawn, double length) {
  for (size_t i = 1; i < snake.size(); ++i) {
    const Ends before = ends_of(snake[i - 1], length), after = ends_of(snake[i], length);
    const double gap = std::hypot(after.entry_y - before.exit_y, after.entry_x - before.exit_x);
    CHECK(gap <= 2 * double(drawn.margin) + 2 * std::numbers::sqrt2);
  }
  return snake.back().start;
}

/// Confirms one label without the number that the generator chose it by, in two ways, from the origin marker on:
/// - over paddles: the walk along the contour that starts at the marker ends at the terminal marker, or not;
/// - over pixels: exactly one of the two contours, each on a layer of its own, is lit at the marker; a flood of
/// this
///   layer over gaps of two margins and 2 pixels reaches all of the contour, and the terminal marker with it, or
///   not.
void check_label(const PathfinderGenerator& generator, const PathfinderImage& drawn) {
  const Point origin = drawn.markers[0], terminal = drawn.markers[1];
  int starts = 0, floods = 0, lit_at_terminal = 0;
  for (size_t s = 0; s < 2; ++s) {
    const auto& snake = drawn.snakes[s];
    if (snake.front().start == origin) {
      ++starts;
      CHECK((walk(snake, drawn, double(generator.parameters().form.length)) == terminal) == (drawn.label == 1));
    }
    const Image layer = generator.layer(drawn, s);
    lit_at_terminal += at(layer, terminal) >= kLit;
    const auto reached = flood(layer, origin, 2 * drawn.margin + 2);
    if (reached.empty()) continue;
    ++floods;
    CHECK(reached.count({terminal.y, terminal.x}) == size_t(drawn.label));
    CHECK(int64_t(reached.size()) ==
          std::count_if(layer.pixels.begin(), layer.pixels.end(), [](uint8_t v) { return v >= kLit; }));
  }
  CHECK(starts == 1);
  CHECK(floods == 1);
  CHECK(lit_at_terminal == 1);
}

/// The picture shows its contours and its two markers, and nothing else.
void check_picture(const PathfinderGenerator& generator, const PathfinderImage& drawn) {
  const PathfinderParameters& p = generator.parameters();
  Image contours = black(p.size, p.size);
  for (size_t s = 0; s < drawn.snakes.size(); ++s) {
    const Image layer = generator.layer(drawn, s);
    paste_max(contours, layer, {p.size / 2, p.size / 2});
  }
  int64_t missing = 0, unexplained = 0;
  for (int64_t y = 0; y < p.size; ++y)
    for (int64_t x = 0; x < p.size; ++x) {
      const int shown = at(drawn.image, {y, x}), contour = at(contours, {y, x});
      missing += shown < 0.75 * contour - 1;  // the lowest contrast is 0.8
      bool marker = false;
      for (const Point m : drawn.markers) {
        const double distance = std::hypot(double(y - m.y), double(x - m.x));
        missing += distance <= p.marker_radius - 1 && shown < 200;
        marker = marker || distance <= p.marker_radius + 2;
      }
      unexplained += shown > 2 * contour + kLit && !marker;
    }
  CHECK(missing == 0);
  CHECK(unexplained == 0);
}

void check_labels(const PathfinderOptions& options, int64_t count) {
  const PathfinderGenerator generator(options);
  int64_t connected = 0;
  for (int64_t i = 0; i < count; ++i) {
    CAPTURE(options.size, options.level, i);
    const PathfinderImage drawn = generator.draw(uint64_t(i));
    check_label(generator, drawn);
    check_picture(generator, drawn);
    connected += drawn.label;
  }
  CHECK(std::abs(double(connected) - double(count) / 2) <= 4 * std::sqrt(double(count) / 4));
}

}  // namespace

TEST_CASE("pathfinder generator: parameters of every size and level") {
  const auto p = pathfinder_parameters({});
  CHECK(p.size == 32);
  CHECK(p.contour_length == 14);
  CHECK(p.form.length == 2);
  CHECK(p.form.thickness == 0.5);
  CHECK(p.seed_distance == 7);
  CHECK(p.target_contrast == 1.5);
  CHECK(p.distractor_contrast == 2.0);
  CHECK(pathfinder_parameters({128, "hard", 1}).margins == std::vector<int64_t>{2, 3});
  CHECK(pathfinder_parameters({256, "hard", 1}).padding == 22);
  const auto distractors = [](int64_t size, const char* level) {
    return pathfinder_parameters({size, level, 1}).distractors;
  };
  CHECK(distractors(32, "hard") == 5);
  CHECK(distractors(32, "intermediate") == 6);
  CHECK(distractors(32, "easy") == 10);
  CHECK(distractors(64, "hard") == 5);
  CHECK(distractors(64, "easy") == 11);
  CHECK(distractors(128, "hard") == 8);
  CHECK(distractors(128, "intermediate") == 11);
  CHECK(distractors(256, "hard") == 7);
  CHECK(pathfinder_parameters({32, "intermediate", 1}).distractor_length == 3);
  CHECK(pathfinder_parameters({32, "easy", 1}).distractor_length == 2);
  CHECK(message_of([] {
          PathfinderGenerator({48, "hard", 1});
        }) == "pathfinder: size is 48, wanted 32, 64, 128 or 256");
  CHECK(message_of([] {
          PathfinderGenerator({32, "harder", 1});
        }) == "pathfinder: level is 'harder', wanted hard, intermediate or easy");
}

TEST_CASE("pathfinder raster: points, discs and dilation") {
  CHECK(move({5, 5}, 0.1, 2) == Point{6, 7});
  CHECK(move({5, 5}, -0.1, 2) == Point{5, 7});
  CHECK(move({0, 5}, std::numbers::pi, 3) == Point{1, 2});  // the sine of the double nearest to pi is above zero
  CHECK(disc(1).pixels == Bytes{0, 1, 0, 1, 1, 1, 0, 1, 0});
  CHECK(disc(2).pixels == Bytes{0, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0});
  Image image = black(3, 4);
  image.pixels[5] = 9, image.pixels[11] = 4;
  CHECK(dilate(image, disc(1)).pixels == Bytes{0, 9, 0, 0, 9, 9, 9, 4, 0, 9, 4, 4});
  const Image right{1, 3, 1, {0, 0, 1}};  // looks one pixel to the right: not mirrored
  CHECK(dilate(image, right).pixels == Bytes{0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 4, 0});
  Image small = black(2, 2);
  paste_max(small, Image{3, 3, 1, {1, 2, 3, 4, 5, 6, 7, 8, 9}}, {0, 1});
  CHECK(small.pixels == Bytes{4, 5, 7, 8});
  CHECK(message_of([] {
          draw_segment({5, 1, 2, 0.7}, 0);
        }) == "draw_segment: thickness 0.7 with antialias 2, wanted their product to be an integer");
}

TEST_CASE("pathfinder raster: a horizontal paddle of 32 pixels as Pillow draws it") {
  const Segment s = draw_segment({2, 1, 2, 0.5}, 0);
  REQUIRE(s.line.height == 9);
  CHECK(row_of(s.line, 4) == Bytes{0, 0, 2, 0, 102, 135, 116, 0, 0});  // 0.40, 0.53, 0.45
  CHECK(row_of(s.mask, 3) == Bytes{0, 1, 2, 20, 173, 204, 186, 28, 0});
  CHECK(row_of(s.mask, 4) == Bytes{0, 3, 0, 155, 255, 255, 255, 183, 3});
  for (const int64_t y : {0, 1, 2, 3, 5, 6, 7, 8}) CHECK(row_of(s.line, y) == Bytes(9, 0));
}

TEST_CASE("pathfinder raster: all whole degrees as Pillow and OpenCV draw them") {
  struct Form {
    SegmentForm form;
    uint64_t checksum;  // of line and mask for -180 to 179 degrees; equal to those made with Pillow 13 and OpenCV 5
  };
  const Form forms[] = {{{2, 1, 2, 0.5}, 0x6bdcf07ae72f1b8f},
                        {{5, 1, 2, 1.0}, 0x6298a95051949a34},
                        {{5, 2, 2, 1.5}, 0x8bf861e118724aec},
                        {{5, 3, 2, 1.5}, 0xbd9eb18995a626eb},
                        {{5, 3, 2, 2.0}, 0x2b0bec79db386c10}};
  for (const Form& f : forms) {
    XxHash64 hash;
    for (int degree = -180; degree < 180; ++degree) {
      const Segment s = draw_segment(f.form, degree * std::numbers::pi / 180);
      hash.update(s.line.pixels.data(), s.line.pixels.size());
      hash.update(s.mask.pixels.data(), s.mask.pixels.size());
    }
    CHECK(fmt::format("{:016x}", hash.digest()) == fmt::format("{:016x}", f.checksum));
  }
}

TEST_CASE("pathfinder generator: first paddles have few directions at 32 pixels") {
  const auto usable = [](int64_t size) {
    const PathfinderParameters p = pathfinder_parameters({size, "hard", 1});
    const PathfinderTables t(p, p.margins[0]);
    CHECK(std::all_of(t.rooms.begin(), t.rooms.end(), [](const auto& r) { return r.reach.top < r.reach.bottom; }));
    CHECK(std::is_sorted(t.ends.begin(), t.ends.end(),
                         [](Point a, Point b) { return std::pair(a.y, a.x) < std::pair(b.y, b.x); }));
    CHECK(t.headings.size() == 360 + t.ends.size());
    return std::count_if(t.rooms.begin(), t.rooms.end(), [](const auto& r) { return r.usable; });
  };
  CHECK(usable(32) == 30);  // each number as with OpenCV's dilation
  CHECK(usable(64) == 95);
  CHECK(usable(128) == 354);
  CHECK(usable(256) == 360);
}

TEST_CASE("pathfinder generator: an image is a function of options and number") {
  const PathfinderGenerator a({32, "hard", 3}), b({32, "hard", 3}), other({32, "hard", 4});
  XxHash64 hash;
  for (const uint64_t i : {0, 1, 7, 1000000}) {
    const PathfinderImage x = a.draw(i), y = b.draw(i);
    CHECK(x.image.pixels == y.image.pixels);
    CHECK(x.label == y.label);
    CHECK(x.image.pixels != other.draw(i).image.pixels);
    CHECK(x.image.pixels != a.draw(i + 1).image.pixels);
    hash.update(x.image.pixels.data(), x.image.pixels.size());
  }
  CHECK(fmt::format("{:016x}", hash.digest()) ==
        "2db8f92f8685ecea");  // changes only if all data sets made so far change
}

TEST_CASE("pathfinder generator: pixel statistics of the hard level") { check_hard(500); }

TEST_CASE("pathfinder generator: pixel statistics of the hard level on 2000 images", "[.long]") { check_hard(2000); }

TEST_CASE("pathfinder generator: pixel statistics of the other levels") {
  const Statistics middle = statistics_of("intermediate", 400), easy = statistics_of("easy", 400);
  check_mean(middle.mean, 15.4, 0.05);
  check_mean(middle.zero, 0.736, 0.0005);
  check_mean(easy.mean, 13.0, 0.05);
  check_mean(easy.zero, 0.771, 0.0005);
}

TEST_CASE("pathfinder generator: contours have their paddles, markers their places") {
  const PathfinderGenerator generator({32, "hard", 9});
  const PathfinderParameters& p = generator.parameters();
  double distractors = 0;
  int64_t origins = 0;
  constexpr int64_t n = 300;
  for (uint64_t i = 0; i < n; ++i) {
    const PathfinderImage drawn = generator.draw(i);
    CHECK((drawn.snakes.size() >= 2 && drawn.snakes.size() <= size_t(2 + p.distractors)));
    for (size_t s = 0; s < drawn.snakes.size(); ++s)
      CHECK(int64_t(drawn.snakes[s].size()) == (s < 2 ? p.contour_length : p.distractor_length));
    const Point a = drawn.snakes[0][0].start, b = drawn.snakes[1][0].start;
    CHECK(std::abs(std::hypot(double(a.y - b.y), double(a.x - b.x)) - 7) <= std::numbers::sqrt2 / 2);
    CHECK((a.y >= 12 && a.y <= 18 && a.x >= 12 && a.x <= 18));  // a few pixels around the middle
    CHECK(drawn.markers[0] == drawn.snakes[size_t(drawn.origin)][0].start);
    CHECK(drawn.markers[1] != drawn.markers[0]);
    distractors += double(drawn.snakes.size() - 2);
    origins += drawn.origin;
  }
  CHECK((distractors / n > 0.8 && distractors / n < 1.5));
  CHECK(std::abs(double(origins) - n / 2.0) <= 4 * std::sqrt(n / 4.0));
}

TEST_CASE("pathfinder generator: every label follows from the drawn contours") {
  check_labels({32, "hard", 1}, 150);
  check_labels({32, "intermediate", 1}, 60);
  check_labels({32, "easy", 1}, 60);
  check_labels({64, "easy", 1}, 6);
  check_labels({128, "hard", 1}, 3);
  check_labels({256, "hard", 1}, 3);
}

TEST_CASE("pathfinder generator: many labels of every size and level", "[.long]") {
  for (const char* level : {"hard", "intermediate", "easy"}) {
    check_labels({32, level, 1}, 5000);
    for (const int64_t size : {64, 128, 256}) check_labels({size, level, 1}, 100);
  }
}

}  // namespace selene::testing
