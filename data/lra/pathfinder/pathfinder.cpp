#include "data/lra/pathfinder/pathfinder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <sstream>
#include <string_view>
#include <unordered_set>

#include "data/io/clutter.h"
#include "data/io/durable_file.h"
#include "data/io/lines.h"
#include "data/io/printable.h"
#include "data/io/rounds.h"
#include "data/io/stop.h"
#include "kernels/error.h"

namespace fs = std::filesystem;

namespace selene::data {
namespace {

constexpr size_t kColumns = 11;
constexpr int64_t kChunk = 256;  // images of one task; the result does not depend on it

std::string metadata_path(const std::string& level_folder, int64_t batch) {
  return fmt::format("{}/metadata/{}.npy", level_folder, batch);
}

/// Numbers of the batches, ascending.
std::vector<int32_t> batches_of(const std::string& level_folder) {
  const fs::path folder = fs::path(level_folder) / "metadata";
  std::vector<int32_t> batches;
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() != ".npy" || is_clutter(entry.path().filename().string())) continue;
      const std::string stem = entry.path().stem().string();
      int32_t batch = -1;
      const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), batch);
      if (error != std::errc() || end != stem.data() + stem.size() || batch < 0 || stem != std::to_string(batch))
        throw Error(fmt::format("{}: its name is no batch number, wanted <number>.npy", entry.path().string()));
      batches.push_back(batch);
    }
  if (batches.empty())
    throw Error(fmt::format("{}: no metadata/<number>.npy, wanted the folder of a Pathfinder level, such as {}",
                            level_folder, pathfinder_level({})));
  std::sort(batches.begin(), batches.end());
  return batches;
}

/// Error for a folder of images whose metadata is not there: they would be left out without a word.
void check_listed(const std::string& level_folder) {
  const fs::path images = fs::path(level_folder) / "imgs";
  if (!fs::is_directory(images)) return;
  for (const auto& entry : fs::directory_iterator(images)) {
    const fs::path metadata = fs::path(level_folder) / "metadata" / (entry.path().filename().string() + ".npy");
    if (entry.is_directory() && !is_clutter(entry.path().filename().string()) && !fs::exists(metadata))
      throw Error(
          fmt::format("{}: is not there, wanted the metadata of {}", metadata.string(), entry.path().string()));
  }
}

std::string read_metadata(const std::string& path) {
  need_regular(path, "lines of text");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(fmt::format("{}: can't be opened", path));
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (text.empty()) throw Error(fmt::format("{}: is empty, wanted a line for each image", path));
  if (text.starts_with("\x93NUMPY"))
    throw Error(
        fmt::format("{}: is a binary NumPy array, wanted the text lines of the Long Range Arena's release", path));
  if (const size_t nul = text.find('\0'); nul != text.npos)
    throw Error(fmt::format("{}: byte {} is 0, wanted lines of text", path, nul + 1));
  return text;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (size_t i = 0; i < line.size();) {
    const size_t end = std::min(line.find_first_of(" \r", i), line.size());
    if (end > i) words.push_back(line.substr(i, end - i));
    i = end + 1;
  }
  return words;
}

/// What one line says; `image` is still below the level's folder.
PathfinderPool::Entry entry_of(std::string_view line) {
  const auto words = words_of(line);
  if (words.size() != kColumns) throw Error(fmt::format("{} columns, wanted {}", words.size(), kColumns));
  if (words[3] != "0" && words[3] != "1") throw Error(fmt::format("label '{}', wanted 0 or 1", shown_bare(words[3])));
  const fs::path image = fs::path(words[0]) / words[1];
  if (image.is_absolute() || image.lexically_normal().string().starts_with(".."))
    throw Error(fmt::format("image '{}' is outside the level's folder", shown_bare(image.string())));
  return {image.lexically_normal().string(), words[3] == "1", 0, 0};
}

using Names = std::unordered_set<std::string>;  // of images, below the level's folder

void append_batch(PathfinderPool& pool, int32_t batch, Names& listed) {
  const std::string path = metadata_path(pool.folder, batch), text = read_metadata(path);
  std::istringstream in(text);
  Lines lines(in, path);
  for (std::string line; lines.next(line);) {
    try {
      PathfinderPool::Entry entry = entry_of(line);
      if (!listed.insert(entry.image).second)
        throw Error(fmt::format("image '{}' is listed a second time", shown_bare(entry.image)));
      entry.image = pool.folder + "/" + entry.image, entry.batch = batch, entry.line = lines.number();
      std::error_code error;
      const auto bytes = fs::file_size(entry.image, error);
      if (error) throw Error(fmt::format("{}: {}", entry.image, error.message()));
      if (bytes > 0) pool.entries.push_back(std::move(entry));
      else ++pool.empty_files;
    } catch (const Error& e) {
      throw Error(fmt::format("{}: {}", lines.place(), e.what()));
    }
  }
}

/// PNG files in the folders of images that no line of the metadata names.
int64_t count_unlisted(const std::string& level_folder, const Names& listed) {
  int64_t count = 0;
  const fs::path images = fs::path(level_folder) / "imgs";
  if (!fs::is_directory(images)) return 0;
  for (const auto& batch : fs::directory_iterator(images)) {
    if (!batch.is_directory() || is_clutter(batch.path().filename().string())) continue;
    for (const auto& entry : fs::directory_iterator(batch)) {
      check_stop();
      const fs::path name = entry.path().filename();
      if (name.extension() == ".png" && !is_clutter(name.string()))
        count += !listed.contains((fs::path("imgs") / batch.path().filename() / name).string());
    }
  }
  return count;
}

/// A square grey image; `size` of 0 takes any. Messages name the line of the metadata.
Image read_entry(const PathfinderPool& pool, const PathfinderPool::Entry& entry, int64_t size) {
  const auto place = [&] { return fmt::format("{}:{}", metadata_path(pool.folder, entry.batch), entry.line); };
  Image image;
  try {
    image = read_png(entry.image);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", place(), e.what()));
  }
  if (image.channels != 1) throw Error(fmt::format("{}: {}: in colour, wanted a grey image", place(), entry.image));
  if (image.height != image.width || (size > 0 && image.height != size))
    throw Error(fmt::format("{}: {}: {} x {} pixels, wanted {}", place(), entry.image, image.height, image.width,
                            size > 0 ? fmt::format("{} x {} as the first image", size, size) : "a square"));
  return image;
}

}  // namespace

std::string pathfinder_level(const PathfinderOptions& options) {
  const PathfinderParameters p = pathfinder_parameters(options);
  return fmt::format(
      "pathfinder{}/{}", options.size,
      options.level == "easy" ? "curv_baseline" : fmt::format("curv_contour_length_{}", p.contour_length));
}

std::string pathfinder_metadata(const PathfinderParameters& p, const PathfinderImage& image, int64_t batch,
                                int64_t number) {
  return fmt::format("imgs/{} sample_{}.png {} {} {:.1f} {} {} {} {:.1f} {} 1", batch, number, number, image.label,
                     p.continuity, p.contour_length, p.distractor_length, p.form.length, p.form.thickness,
                     image.margin);
}

void write_pathfinder_image(const std::string& level_folder, const Image& image, int64_t batch, int64_t number) {
  const std::string folder = fmt::format("{}/imgs/{}", level_folder, batch);
  fs::create_directories(folder);
  const std::string path = fmt::format("{}/sample_{}.png", folder, number);
  const std::vector<uint8_t> bytes = png_bytes(image);
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  out.close();
  if (!out) throw Error(fmt::format("{}: can't be written: {}", path, std::strerror(errno)));
}

void write_pathfinder_metadata(const std::string& level_folder, int64_t batch, std::span<const std::string> lines) {
  fs::create_directories(level_folder + "/metadata");
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  write_durably(metadata_path(level_folder, batch), text);
}

PathfinderPool list_pathfinder(const std::string& level_folder) {
  PathfinderPool pool{level_folder, {}, 0, 0};
  Names listed;
  check_listed(level_folder);
  for (const int32_t batch : batches_of(level_folder)) append_batch(pool, batch, listed);
  pool.unlisted_files = count_unlisted(level_folder, listed);
  if (pool.entries.empty()) throw Error(fmt::format("{}: no images, wanted at least one", level_folder));
  return pool;
}

Dataset read_pathfinder(const PathfinderPool& pool, std::span<const int64_t> chosen, int threads,
                        const Watch& watch) {
  const auto entry = [&](int64_t i) -> const PathfinderPool::Entry& {
    return pool.entries[size_t(chosen[size_t(i)])];
  };
  const int64_t size = pool.entries.empty() ? 0 : read_entry(pool, pool.entries.front(), 0).height;
  const auto fill = [&](int64_t i, std::span<uint8_t> pixels) {
    const Image image = read_entry(pool, entry(i), size);
    std::copy(image.pixels.begin(), image.pixels.end(), pixels.begin());
    return entry(i).label;
  };
  return collect_pathfinder(pool.folder, int64_t(chosen.size()), size, threads, fill, watch);
}

Dataset read_pathfinder(const std::string& level_folder, const Watch& watch) {
  const PathfinderPool pool = list_pathfinder(level_folder);
  std::vector<int64_t> all(pool.entries.size());
  std::iota(all.begin(), all.end(), 0);
  return read_pathfinder(pool, all, 1, watch);
}

Dataset collect_pathfinder(const std::string& name, int64_t count, int64_t size, int threads,
                           const std::function<int32_t(int64_t, std::span<uint8_t>)>& fill, const Watch& watch) {
  struct Storage {
    std::unique_ptr<uint8_t[]> memory;
    std::vector<int64_t> offsets;
    std::vector<int32_t> labels;
  };
  const size_t pixels = size_t(size * size);
  const auto storage = std::make_shared<Storage>();
  // Gigabytes, which would take seconds to fill with zeros, and no signal could stop that.
  storage->memory = std::make_unique_for_overwrite<uint8_t[]>(size_t(count) * pixels);
  const std::span symbols(storage->memory.get(), size_t(count) * pixels);
  storage->labels.resize(size_t(count));
  for (int64_t i = 0; i <= count; ++i) storage->offsets.push_back(i * int64_t(pixels));
  const auto work = [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      check_stop();
      storage->labels[size_t(i)] = fill(i, symbols.subspan(size_t(i) * pixels, pixels));
    }
  };
  work_in_rounds(count, kChunk, threads, work, [&](int64_t done) {
    if (watch) watch(done, count, name);
  });
  return labelled(name, kind_named("pathfinder"), symbols, storage->offsets, storage->labels, storage);
}

}  // namespace selene::data
