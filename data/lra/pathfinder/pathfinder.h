// Pathfinder in the Long Range Arena's layout, one folder for a level: imgs/<batch>/sample_<i>.png and
// metadata/<batch>.npy, which is plain text there, one line an image:
//   imgs/<batch> sample_<i>.png <i> <label> <continuity> <contour length> <distractor length> <paddle length>
//   <paddle thickness> <paddle margin> <number of paddle contrasts>
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/lra/pathfinder/generator.h"
#include "data/prepared.h"

namespace selene::data {

/// Where a level stands below the root of the release: "pathfinder32/curv_contour_length_14".
std::string pathfinder_level(const PathfinderOptions& options);

/// The line of image `number` of a batch, without a line end.
std::string pathfinder_metadata(const PathfinderParameters& parameters, const PathfinderImage& image, int64_t batch,
                                int64_t number);
/// Writes imgs/<batch>/sample_<number>.png below a level's folder. Whoever calls it makes the files durable: a
/// file at a time would take hours.
void write_pathfinder_image(const std::string& level_folder, const Image& image, int64_t batch, int64_t number);
/// Writes metadata/<batch>.npy, complete or not at all.
void write_pathfinder_metadata(const std::string& level_folder, int64_t batch, std::span<const std::string> lines);

/// What the metadata of a level say.
struct PathfinderPool {
  struct Entry {
    std::string image;  // path of the PNG file
    int32_t label = 0;  // 0 or 1
    int32_t batch = 0;  // number of the metadata file
    int64_t line = 0;   // in it, from 1
  };
  std::string folder;
  std::vector<Entry> entries;  // by batch number, then by line
  int64_t empty_files = 0;     // images of 0 bytes, left out: the release has one, in 32 pixels curv_baseline
  int64_t unlisted_files = 0;  // images in imgs/ that no line names: left out too
};
/// Reads the metadata, not the images. Error with file and line for a line that does not have the 11 columns, a
/// label other than 0 and 1, an image that is missing, outside the folder or listed before; with the file's name for
/// a binary NumPy array, a byte of 0, an empty file and a name that is no batch number; and for a folder of images
/// without metadata.
PathfinderPool list_pathfinder(const std::string& level_folder);

/// Reads the images entries[i] for i in `chosen`, in this order. Error with the metadata's file and line for a
/// file that is no PNG, not grey, not square or not of the first one's size. `threads`: at least 1; the result
/// does not depend on it.
Dataset read_pathfinder(const PathfinderPool& pool, std::span<const int64_t> chosen, int threads,
                        const Watch& watch = {});
/// A whole level.
Dataset read_pathfinder(const std::string& level_folder, const Watch& watch = {});

/// A data set of `count` square images of `size` pixels a side. `fill` writes the pixels of image i, [size x
/// size], and returns its label; it is called from `threads` threads at a time.
Dataset collect_pathfinder(const std::string& name, int64_t count, int64_t size, int threads,
                           const std::function<int32_t(int64_t i, std::span<uint8_t> pixels)>& fill,
                           const Watch& watch = {});

}  // namespace selene::data
