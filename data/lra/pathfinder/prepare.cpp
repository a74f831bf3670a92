#include "data/lra/pathfinder/prepare.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>
#include <span>
#include <utility>

#include "data/io/json.h"
#include "data/io/progress.h"
#include "data/io/rounds.h"
#include "data/io/stop.h"
#include "data/lra/pathfinder/pathfinder.h"
#include "data/lra/source.h"
#include "data/order.h"
#include "kernels/error.h"

namespace fs = std::filesystem;

namespace selene::data {
namespace {

constexpr const char* kSplits[] = {"train", "valid", "test"};
constexpr int64_t kSmallestPool = 10;  // images: one for each split
constexpr int64_t kChunk = 64;         // images of one task

void check(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    throw Error(fmt::format("pathfinder: {} is {}, wanted {} to {}", name, value, low, high));
}

Json generator_options(const PathfinderOptions& o) {
  return {{"size", o.size}, {"level", o.level}, {"seed", o.seed}};
}

/// By split; 0: all.
std::array<int64_t, 3> caps_of(const PathfinderPlan& plan) {
  return {plan.caps.train, plan.caps.valid, plan.caps.test};
}

/// What decides the content of the data set.
Json options_of(const PathfinderPlan& plan) {
  Json j{{"count", plan.count}, {"split_seed", plan.split_seed}};
  for (size_t split = 0; split < 3; ++split)
    if (const int64_t cap = caps_of(plan)[split]; cap > 0) j.set(kSplits[split], cap);
  if (plan.from.empty()) {
    j.update(generator_options(plan.options));
  } else {
    const fs::path level = fs::weakly_canonical(plan.from + "/metadata").parent_path();
    j.set("source", "official files"), j.set("level", (level.parent_path().filename() / level.filename()).string());
  }
  return j;
}

/// Images `chosen` of the pool, in this order.
using Source = std::function<Dataset(std::span<const int64_t> chosen, const Watch& watch)>;

/// Cuts the permuted pool into the three splits and writes them.
void write_splits(const PathfinderPlan& plan, int64_t pool, const Source& source, const std::string& folder,
                  const Watch& watch) {
  std::vector<int64_t> order = seeded_order(pool, plan.split_seed, OrderOf::pathfinder);
  const int64_t n = std::min(pool, plan.count);
  if (n < kSmallestPool) throw Error(fmt::format("pathfinder: {} images, wanted at least {}", n, kSmallestPool));
  const int64_t cuts[] = {0, n * 8 / 10, n * 9 / 10, n};
  int64_t counts[3], total = 0, before = 0;
  for (int split = 0; split < 3; ++split) {
    counts[split] =
        split_count("pathfinder", kSplits[split], caps_of(plan)[size_t(split)], cuts[split + 1] - cuts[split]);
    total += counts[split];
  }
  for (int split = 0; split < 3; ++split) {
    const auto within = [&](int64_t done, int64_t, const std::string&) {
      if (watch) watch(before + done, total, kSplits[split]);
    };
    const auto chosen = std::span(order).subspan(size_t(cuts[split]), size_t(counts[split]));
    write_prepared(folder, kSplits[split], source(chosen, within), options_of(plan).dump());
    before += counts[split];
  }
}

Json generate(const PathfinderPlan& plan, const std::string& folder, const Watch& watch) {
  const PathfinderGenerator generator(plan.options);
  const Source source = [&](std::span<const int64_t> chosen, const Watch& within) {
    const auto fill = [&](int64_t i, std::span<uint8_t> pixels) {
      const PathfinderImage image = generator.draw(uint64_t(chosen[size_t(i)]));
      std::copy(image.image.pixels.begin(), image.image.pixels.end(), pixels.begin());
      return image.label;
    };
    return collect_pathfinder("pathfinder", int64_t(chosen.size()), plan.options.size, plan.threads, fill, within);
  };
  write_splits(plan, plan.count, source, folder, watch);
  return Json::object();
}

Json convert(const PathfinderPlan& plan, const std::string& folder, const Watch& watch) {
  need_source(plan.from, "metadata",
              "the folder of one level of Pathfinder in the Long Range Arena's release, such as "
              "pathfinder32/curv_contour_length_14, with metadata/ and imgs/");
  const PathfinderPool pool = list_pathfinder(plan.from);
  if (pool.empty_files + pool.unlisted_files > 0)
    warn(fmt::format("{}: left out {} images of 0 bytes and {} that no line of the metadata names", plan.from,
                     pool.empty_files, pool.unlisted_files));
  const Source source = [&](std::span<const int64_t> chosen, const Watch& within) {
    return read_pathfinder(pool, chosen, plan.threads, within);
  };
  write_splits(plan, int64_t(pool.entries.size()), source, folder, watch);
  return {{"empty_files", pool.empty_files}, {"unlisted_files", pool.unlisted_files}};
}

/// Writes everything in the file system of `folder` to the disk.
void sync_all(const std::string& folder) {
  const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool done = file >= 0 && syncfs(file) == 0;
  if (file >= 0) close(file);
  if (!done) throw Error(fmt::format("{}: can't be written to the disk", folder));
}

Json write_images(const PathfinderImagesPlan& plan, const std::string& folder, const Watch& watch) {
  const PathfinderGenerator generator(plan.options);
  const std::string level = folder + "/" + pathfinder_level(plan.options);
  int64_t connected = 0;
  for (int64_t first = 0; first < plan.count; first += plan.per_batch) {
    const int64_t batch = first / plan.per_batch, n = std::min(plan.per_batch, plan.count - first);
    std::vector<std::string> lines(static_cast<size_t>(n));
    std::vector<int32_t> labels(lines.size());
    const auto work = [&](int64_t from, int64_t end) {
      for (int64_t i = from; i < end; ++i) {
        check_stop();
        const PathfinderImage image = generator.draw(uint64_t(first + i));
        write_pathfinder_image(level, image.image, batch, i);
        lines[size_t(i)] = pathfinder_metadata(generator.parameters(), image, batch, i);
        labels[size_t(i)] = image.label;
      }
    };
    work_in_rounds(n, kChunk, plan.threads, work, [&](int64_t done) {
      if (watch) watch(first + done, plan.count, "images");
    });
    write_pathfinder_metadata(level, batch, lines);
    connected += std::accumulate(labels.begin(), labels.end(), int64_t(0));
  }
  sync_all(folder);
  return {{"connected", connected}};
}

}  // namespace

Prepared prepare_pathfinder(const PathfinderPlan& plan, const Watch& watch) {
  check("count", plan.count, kSmallestPool, 1'000'000'000);
  check("threads", plan.threads, 1, 1024);
  const auto caps = caps_of(plan);
  for (size_t i = 0; i < caps.size(); ++i) check(kSplits[i], caps[i], 0, plan.count);
  pathfinder_parameters(plan.options);
  return prepare_folder(
      {plan.folder, "pathfinder", options_of(plan).dump(), plan.force, plan.from}, [&](const std::string& folder) {
        return (plan.from.empty() ? generate(plan, folder, watch) : convert(plan, folder, watch)).dump();
      });
}

Prepared prepare_pathfinder_images(const PathfinderImagesPlan& plan, const Watch& watch) {
  check("count", plan.count, 1, 1'000'000'000);
  check("per_batch", plan.per_batch, 1, 1'000'000'000);
  check("threads", plan.threads, 1, 1024);
  Json options{{"form", "official images"}, {"count", plan.count}, {"per_batch", plan.per_batch}};
  pathfinder_parameters(plan.options);
  options.update(generator_options(plan.options));
  return prepare_folder({plan.folder, "pathfinder", options.dump(), plan.force},
                        [&](const std::string& folder) { return write_images(plan, folder, watch).dump(); });
}

}  // namespace selene::data
