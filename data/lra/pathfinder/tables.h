// What all Pathfinder images with one margin share: every paddle that can occur, drawn once, and where paddles may
// go.
#pragma once
#include <cstdint>
#include <vector>

#include "data/lra/pathfinder/generator.h"
#include "data/lra/pathfinder/raster.h"

namespace selene::data {

/// A paddle's heading is the direction in which its snake goes on. There are few: a first paddle has a whole
/// number of kDegrees, each later one ends on one of the pixels around its pivot.
struct PathfinderTables {
  static constexpr int64_t kDegrees = 360;  // headings of a first paddle: -180 to 179

  struct Heading {
    double direction = 0;  // radians
    double angle = 0;      // in which the paddle is drawn: backward for all but first paddles
    Segment segment;
  };
  /// For a first paddle.
  struct Room {
    Image kernel;         // cells that must be free around its start
    Box reach;            // rows and columns that these cells cover, seen from the start
    bool usable = false;  // every pixel of an image has such a cell inside the image
  };

  int64_t margin;                 // pixels
  std::vector<Heading> headings;  // whole kDegrees, then one for each end
  std::vector<Room> rooms;        // [kDegrees]
  std::vector<Point> ends;        // where a paddle may end, seen from its pivot
  std::vector<double> weights;    // [headings, ends] preference for going straight on, before what is taken
  std::vector<Point> near;        // the disc of radius `margin`

  PathfinderTables(const PathfinderParameters& parameters, int64_t margin);

 private:
  void find_ends(int64_t radius);
  void weigh_turns(double continuity);
};

/// The opposite direction, in [-pi, pi).
double reversed(double angle);

}  // namespace selene::data
