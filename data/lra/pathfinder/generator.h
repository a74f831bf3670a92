// Generator of Pathfinder images (Linsley et al. 2018) with the parameters of the Long Range Arena (Tay et al.
// 2021): are the two marked points on one contour or on two? The rule is that of the public generator by Linsley
// and Kim.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/io/image.h"
#include "data/lra/pathfinder/raster.h"

namespace selene::data {

struct PathfinderOptions {
  int64_t size = 32;           // pixels a side: 32, 64, 128 (Path-X) or 256
  std::string level = "hard";  // hard, intermediate or easy: contours of 14, 9 or 6 paddles
  uint64_t seed = 1;
  bool operator==(const PathfinderOptions&) const = default;
};

/// What a size and a level stand for. Lengths in pixels.
struct PathfinderParameters {
  int64_t size = 0, padding = 0;                      // padding: border that no contour enters
  SegmentForm form;                                   // of a paddle; its margin is one of `margins`
  std::vector<int64_t> margins;                       // one is drawn per image
  int64_t contour_length = 0, distractor_length = 0;  // paddles
  int64_t distractors = 0;                            // snakes, at most
  int64_t seed_distance = 0;                          // between the first paddles of the two targets
  double marker_radius = 0, continuity = 0;           // continuity: 1 allows any turn below 90 degrees
  double target_contrast = 0, distractor_contrast = 0;
};
/// Error, naming the option, for another size or level. LRA states the number of distractors of the hard level;
/// for the others it is the same budget of paddles (20, 22, 35, 30 for the four sizes) over distractor_length,
/// rounded down.
PathfinderParameters pathfinder_parameters(const PathfinderOptions& options);

/// A paddle as it was drawn: from `start` in direction `angle` (radians) over the paddle's length.
struct PathfinderPaddle {
  Point start;
  double angle = 0;
  bool backward = false;  // start is its far end, seen from the first paddle: true for all but the first
  int64_t heading = 0;    // row of the generator's table
};

struct PathfinderImage {
  Image image;                                        // [size, size] grey, black background
  int32_t label = 0;                                  // 1: both markers on the same contour
  int64_t margin = 0;                                 // pixels between paddles and around them
  int64_t origin = 0;                                 // target whose first paddle is marked, 0 or 1
  Point markers[2];                                   // at the start of target `origin`, and at the end of a target
  int64_t attempts = 0;                               // drawings of the two targets, the last of which fitted
  std::vector<std::vector<PathfinderPaddle>> snakes;  // targets 0 and 1, then the distractors
};

struct PathfinderTables;

/// Draws images. One rule is not the reference's: there the last paddles of the two targets may cross, and in
/// about 1.5 % of the images the end of one target lies on the other, where the picture does not decide the label.
/// Here such targets are drawn anew, so that every label can be confirmed by following the contours. Its tables
/// take some ms to make; copies share them. Safe to use from several threads.
class PathfinderGenerator {
 public:
  /// Error for options out of range.
  explicit PathfinderGenerator(const PathfinderOptions& options);
  /// Image number `index`: a pure function of (options, index).
  PathfinderImage draw(uint64_t index) const;
  /// One snake of an image that draw() gave, alone, before contrast: [size, size], 255 fully lit.
  Image layer(const PathfinderImage& image, size_t snake) const;
  const PathfinderParameters& parameters() const { return parameters_; }

 private:
  /// Whether an end of one target lies on the other target, so that a marker there would mark both.
  bool crossed_at_end(const PathfinderImage& image) const;
  const PathfinderTables& tables(int64_t margin) const;

  PathfinderOptions options_;
  PathfinderParameters parameters_;
  std::vector<std::shared_ptr<const PathfinderTables>> tables_;  // one for each margin
  LanczosWeights marker_weights_;
};

}  // namespace selene::data
