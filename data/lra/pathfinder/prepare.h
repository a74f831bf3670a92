// Makes folders of Pathfinder data: prepared (data/prepared.h) from the generator or from the official PNG files,
// or PNG files in the official layout (data/lra/pathfinder/pathfinder.h).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/lra/pathfinder/generator.h"
#include "data/lra/prepare.h"
#include "data/prepared.h"

namespace selene::data {

struct PathfinderPlan {
  std::string folder = {};
  std::string from = {};  // folder of a level in the official layout; empty: generate with `options`
  PathfinderOptions options = {};
  int64_t count = 200000;   // images of all three splits; of official files at most so many
  SplitCaps caps = {};      // of the splits that `count` gives, the first images; only these are drawn or read
  uint64_t split_seed = 1;  // of the permutation
  int threads = 1;
  bool force = false;  // make it anew in any case
};

/// Makes the data set as prepare_folder does. The pool (the generator's images 0 to count - 1, or the official
/// ones by batch and line, empty files left out) is put in seeded_order (data/order.h) and cut to `count`; of these N
/// the first 8N/10 are for training, up to 9N/10 for validation, the rest for testing, rounded down, and of each
/// at most what plan.caps allows. `watch` sees images. Error for options out of range, fewer than 10 images, and
/// whatever list_pathfinder, read_pathfinder and prepare_folder refuse. Warns of official images that are left out.
Prepared prepare_pathfinder(const PathfinderPlan& plan, const Watch& watch = {});

struct PathfinderImagesPlan {
  std::string folder = {};
  PathfinderOptions options = {};
  int64_t count = 200000, per_batch = 1000;  // images
  int threads = 1;
  bool force = false;
};

/// Makes a folder with one level in the official layout and dataset.json, as prepare_folder does. Image i is the
/// generator's image i, sample i % per_batch of batch i / per_batch. Error for options out of range.
Prepared prepare_pathfinder_images(const PathfinderImagesPlan& plan, const Watch& watch = {});

}  // namespace selene::data
