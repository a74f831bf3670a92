// Pathfinder files: the official layout, its reader and what it refuses, and prepared data from both sources.
#include "data/lra/pathfinder/pathfinder.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/io/rounds.h"
#include "data/lra/pathfinder/prepare.h"
#include "data/order.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;
namespace fs = std::filesystem;

const PathfinderOptions kEasy{32, "easy", 4};

std::string png_text(const Image& image) { return text_of(png_bytes(image)); }

/// A level of two batches in the official form: 2 and 10, of 3 images and 1 image; all pixels of an image are
/// alike.
struct Level {
  Folder folder;
  std::string path = folder.file("pathfinder32/curv_baseline");
  std::vector<std::string> lines;  // of batch 2

  Level() {
    for (const int batch : {10, 2})
      for (int i = 0; i < (batch == 2 ? 3 : 1); ++i) write_pathfinder_image(path, flat(batch * 10 + i), batch, i);
    lines = {line(2, 0, "1"), line(2, 1, "0"), line(2, 2, "0")};
    write();
    write_pathfinder_metadata(path, 10, std::vector{line(10, 0, "1")});
  }
  void write() { write_pathfinder_metadata(path, 2, lines); }
  static Image flat(int value) {
    Image image = black(4, 4);
    std::fill(image.pixels.begin(), image.pixels.end(), uint8_t(value));
    return image;
  }
  static std::string line(int batch, int i, const std::string& label) {
    const std::string b = std::to_string(batch), n = std::to_string(i);
    return "imgs/" + b + " sample_" + n + ".png " + n + " " + label + " 1.8 6 2 5 1.0 3 1";
  }
  /// The message for the level with another line 2 in batch 2, without the folder.
  std::string refused(const std::string& second) {
    lines[1] = second;
    write();
    return refused();
  }
  std::string refused() {
    std::string message = message_of([&] { read_pathfinder(path); });
    for (size_t at; (at = message.find(path + "/")) != message.npos;) message.erase(at, path.size() + 1);
    return message;
  }
};

std::vector<int> first_pixels(const Dataset& d) {
  std::vector<int> values;
  for (int64_t i = 0; i < d.examples(); ++i) values.push_back(d.row(i)[0]);
  return values;
}

bool equal(const Dataset& a, const Dataset& b) {
  return std::ranges::equal(a.symbols(), b.symbols()) && std::ranges::equal(a.offsets(), b.offsets()) &&
         std::ranges::equal(a.labels(), b.labels());
}

}  // namespace

TEST_CASE("pathfinder: work in rounds does everything once, and the lowest error goes on") {
  for (const int64_t count : {0, 1, 7, 64, 65, 200})
    for (const int threads : {0, 1, 2, 3}) {
      CAPTURE(count, threads);
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      std::vector<int64_t> seen;
      work_in_rounds(
          count, 16, threads,
          [&](int64_t first, int64_t end) {
            for (int64_t i = first; i < end; ++i) ++visits[size_t(i)];
          },
          [&](int64_t done) { seen.push_back(done); });
      CHECK(std::ranges::all_of(visits, [](const auto& v) { return v == 1; }));
      CHECK(std::ranges::is_sorted(seen));
      CHECK((count == 0 ? seen.empty() : seen.back() == count));
    }
  const auto fail = [](int64_t first, int64_t) {
    if (first >= 16) throw Error(std::to_string(first));
  };
  CHECK(message_of([&] { work_in_rounds(64, 16, 4, fail, {}); }) == "16");
}

TEST_CASE("pathfinder files: names and metadata are the release's") {
  CHECK(pathfinder_level({32, "hard", 1}) == "pathfinder32/curv_contour_length_14");
  CHECK(pathfinder_level({128, "intermediate", 1}) == "pathfinder128/curv_contour_length_9");
  CHECK(pathfinder_level({256, "easy", 1}) == "pathfinder256/curv_baseline");
  PathfinderImage image;
  image.label = 1, image.margin = 1;
  CHECK(pathfinder_metadata(pathfinder_parameters({}), image, 0, 0) == "imgs/0 sample_0.png 0 1 1.0 14 4 2 0.5 1 1");
  image.label = 0, image.margin = 3;
  CHECK(pathfinder_metadata(pathfinder_parameters({128, "easy", 1}), image, 12, 34) ==
        "imgs/12 sample_34.png 34 0 1.8 6 2 5 1.5 3 1");
}

TEST_CASE("pathfinder reader: batches by number, lines in order, empty images left out") {
  Level level;
  Dataset d = read_pathfinder(level.path);
  CHECK(d.examples() == 4);
  CHECK(d.kind->name == "pathfinder");
  CHECK(d.row(0).size() == 16);
  CHECK(first_pixels(d) == std::vector<int>{20, 21, 22, 100});
  CHECK(std::ranges::equal(d.labels(), std::vector<int32_t>{1, 0, 0, 1}));
  write_text(level.path + "/imgs/2/sample_0.png", "");
  const PathfinderPool pool = list_pathfinder(level.path);
  CHECK(pool.empty_files == 1);
  CHECK(pool.unlisted_files == 0);
  CHECK(pool.entries.size() == 3);
  CHECK(first_pixels(read_pathfinder(level.path)) == std::vector<int>{21, 22, 100});
  CHECK(first_pixels(read_pathfinder(pool, std::vector<int64_t>{2, 0}, 2)) == std::vector<int>{100, 21});
  write_text(level.path + "/metadata/notes.txt", "not read");
  write_text(level.path + "/metadata/2.npy", Level::line(2, 2, "1") + "\r\n" + Level::line(2, 1, "0"));
  d = read_pathfinder(level.path);  // CR LF, and no line end at the end of the file
  CHECK(first_pixels(d) == std::vector<int>{22, 21, 100});
  CHECK(std::ranges::equal(d.labels(), std::vector<int32_t>{1, 0, 1}));
  write_text(level.path + "/imgs/10/._sample_0.png", "of a Mac");
  CHECK(list_pathfinder(level.path).unlisted_files == 1);  // sample_0.png, and not a Mac's companion of an image
}

TEST_CASE("pathfinder reader: every error has its file and line") {
  Level level;
  const std::string good = level.lines[1];
  CHECK(level.refused("") == "metadata/2.npy:2: is empty, wanted an example");
  CHECK(level.refused(good + " 1") == "metadata/2.npy:2: 12 columns, wanted 11");
  CHECK(level.refused("imgs/2 sample_1.png 1 0") == "metadata/2.npy:2: 4 columns, wanted 11");
  CHECK(level.refused(Level::line(2, 1, "2")) == "metadata/2.npy:2: label '2', wanted 0 or 1");
  CHECK(level.refused(Level::line(2, 1, "0.0")) == "metadata/2.npy:2: label '0.0', wanted 0 or 1");
  CHECK(level.refused(Level::line(2, 7, "0")) == "metadata/2.npy:2: imgs/2/sample_7.png: No such file or directory");
  CHECK(level.refused("../" + good) ==
        "metadata/2.npy:2: image '../imgs/2/sample_1.png' is outside the level's folder");
  CHECK(level.refused("/" + good) == "metadata/2.npy:2: image '/imgs/2/sample_1.png' is outside the level's folder");
  CHECK(level.refused(level.lines[0]) == "metadata/2.npy:2: image 'imgs/2/sample_0.png' is listed a second time");
  CHECK(level.refused("imgs/./2" + good.substr(6) + "\n" + good) ==
        "metadata/2.npy:3: image 'imgs/2/sample_1.png' is listed a second time");
  CHECK(level.refused(good + '\0') == "metadata/2.npy: byte 84 is 0, wanted lines of text");
  CHECK(level.refused(good) == "");
  const auto with_image = [&](const std::string& bytes) {
    write_text(level.path + "/imgs/2/sample_1.png", bytes);
    return level.refused();
  };
  const std::string whole = png_text(Level::flat(21));
  CHECK(with_image(whole.substr(0, 50)).starts_with("metadata/2.npy:2: imgs/2/sample_1.png: "));
  CHECK(with_image("GIF89a").starts_with("metadata/2.npy:2: imgs/2/sample_1.png: "));
  CHECK(with_image(png_text(black(4, 5))) ==
        "metadata/2.npy:2: imgs/2/sample_1.png: 4 x 5 pixels, wanted 4 x 4 as the first image");
  CHECK(with_image(png_text(black(8, 8))) ==
        "metadata/2.npy:2: imgs/2/sample_1.png: 8 x 8 pixels, wanted 4 x 4 as the first image");
  CHECK(with_image(png_text({4, 4, 3, std::vector<uint8_t>(48)})) ==
        "metadata/2.npy:2: imgs/2/sample_1.png: in colour, wanted a grey image");
  CHECK(with_image(whole) == "");
  write_text(level.path + "/imgs/2/sample_0.png", png_text(black(3, 4)));
  CHECK(level.refused() == "metadata/2.npy:1: imgs/2/sample_0.png: 3 x 4 pixels, wanted a square");
}

TEST_CASE("pathfinder reader: folders and files that are no metadata") {
  Level level;
  write_text(level.path + "/metadata/3.npy", std::string("\x93NUMPY\x01\0v\0{'descr'", 18));
  CHECK(level.refused() ==
        "metadata/3.npy: is a binary NumPy array, wanted the text lines of the Long Range Arena's release");
  fs::rename(level.path + "/metadata/3.npy", level.path + "/metadata/combined.npy");
  CHECK(level.refused() == "metadata/combined.npy: its name is no batch number, wanted <number>.npy");
  fs::rename(level.path + "/metadata/combined.npy", level.path + "/metadata/02.npy");
  CHECK(level.refused() == "metadata/02.npy: its name is no batch number, wanted <number>.npy");
  const std::string root = level.folder.file("pathfinder32");
  CHECK(message_of([&] { read_pathfinder(root); }) ==
        root +
            ": no metadata/<number>.npy, wanted the folder of a Pathfinder level, such as "
            "pathfinder32/curv_contour_length_14");
  fs::remove(level.path + "/metadata/02.npy");
  fs::rename(level.path + "/metadata/2.npy", level.path + "/metadata/4.npy");
  CHECK(level.refused() == "metadata/2.npy: is not there, wanted the metadata of imgs/2");
  fs::remove_all(level.path + "/imgs");
  write_pathfinder_metadata(level.path, 0, {});
  CHECK(level.refused() == "metadata/0.npy: is empty, wanted a line for each image");
}

TEST_CASE("pathfinder prepare: the official layout holds the generator's images, whatever the threads") {
  const Folder folder;
  PathfinderImagesPlan plan{.folder = folder.file("one"), .options = kEasy, .count = 24, .per_batch = 2};
  REQUIRE(prepare_pathfinder_images(plan) == Prepared::made);
  CHECK(prepare_pathfinder_images(plan) == Prepared::already_there);
  plan.folder = folder.file("three"), plan.threads = 3;
  REQUIRE(prepare_pathfinder_images(plan) == Prepared::made);
  const auto one = files_of(folder.file("one"));
  CHECK(one == files_of(folder.file("three")));
  CHECK(one.size() == 24 + 12 + 1);
  CHECK(one.count("pathfinder32/curv_baseline/imgs/11/sample_1.png") == 1);
  const Dataset d = read_pathfinder(folder.file("one/pathfinder32/curv_baseline"));
  const PathfinderGenerator generator(kEasy);
  REQUIRE(d.examples() == 24);
  for (int64_t i = 0; i < 24; ++i) {
    const PathfinderImage image = generator.draw(uint64_t(i));
    CHECK(std::ranges::equal(d.row(i), image.image.pixels));
    CHECK(d.labels()[size_t(i)] == image.label);
  }
  const auto j = nlohmann::json::parse(one.at("dataset.json"));
  CHECK(j.at("connected") == std::count(d.labels().begin(), d.labels().end(), 1));
  CHECK(j.at("options").at("level") == "easy");
}

TEST_CASE("pathfinder prepare: the same splits from the generator and from the files") {
  const Folder folder;
  REQUIRE(prepare_pathfinder_images({.folder = folder.file("png"), .options = kEasy, .count = 47, .per_batch = 9}) ==
          Prepared::made);
  PathfinderPlan drawn{.folder = folder.file("drawn"), .options = kEasy, .count = 47, .split_seed = 6, .threads = 2};
  PathfinderPlan read = drawn;
  read.folder = folder.file("read"), read.from = folder.file("png/pathfinder32/curv_baseline"), read.count = 1000;
  int64_t seen = 0;
  REQUIRE(prepare_pathfinder(drawn, [&](int64_t done, int64_t total, const std::string&) {
            CHECK((done >= seen && total == 47));
            seen = done;
          }) == Prepared::made);
  CHECK(seen == 47);
  REQUIRE(prepare_pathfinder(read) == Prepared::made);
  const Dataset pool = read_pathfinder(read.from);
  const std::vector<int64_t> order = seeded_order(47, 6, OrderOf::pathfinder);
  size_t at = 0;
  for (const auto& [split, n] : {std::pair{"train", 37}, {"valid", 5}, {"test", 5}}) {
    const Dataset a = read_split(drawn.folder, kind_named("pathfinder"), split);
    CHECK(a.examples() == n);
    CHECK(equal(a, read_split(read.folder, kind_named("pathfinder"), split)));
    for (int64_t i = 0; i < n; ++i, ++at) {
      CHECK(std::ranges::equal(a.row(i), pool.row(order[at])));
      CHECK(a.labels()[size_t(i)] == pool.labels()[size_t(order[at])]);
    }
  }
  CHECK(at == 47);
  const auto j = nlohmann::json::parse(read_text(read.folder + "/dataset.json"));
  CHECK(j.at("empty_files") == 0);
  CHECK(j.at("splits").at("train").at("examples") == 37);
  CHECK(j.at("options").at("level") == "pathfinder32/curv_baseline");
  const Dataset test = read_split(read.folder, kind_named("pathfinder"), "test");
  CHECK(j.at("splits").at("test").at("classes").at("connected") ==
        std::count(test.labels().begin(), test.labels().end(), 1));
  read.folder = folder.file("few"), read.count = 20;  // the first of the permuted pool
  REQUIRE(prepare_pathfinder(read) == Prepared::made);
  const Dataset few = read_split(read.folder, kind_named("pathfinder"), "train");
  REQUIRE(few.examples() == 16);
  CHECK(std::ranges::equal(few.row(15), pool.row(order[15])));
}

TEST_CASE("pathfinder prepare: capped splits begin as the whole ones") {
  const Folder folder;
  PathfinderPlan plan{.folder = folder.file("whole"), .options = kEasy, .count = 30, .threads = 2};
  REQUIRE(prepare_pathfinder(plan) == Prepared::made);
  plan.folder = folder.file("capped"), plan.caps = {.train = 5, .valid = 2, .test = 0};
  int64_t last = 0;
  REQUIRE(prepare_pathfinder(plan, [&](int64_t done, int64_t total, const std::string&) {
            CHECK(total == 10);
            last = done;
          }) == Prepared::made);
  CHECK(last == 10);
  for (const auto& [split, n] : {std::pair{"train", 5}, {"valid", 2}, {"test", 3}})
    CHECK(equal(read_split(plan.folder, kind_named("pathfinder"), split),
                read_split(folder.file("whole"), kind_named("pathfinder"), split).first(n)));
  plan.caps.test = 1;
  CHECK(holds(message_of([&] { prepare_pathfinder(plan); }), "made with other options"));
}

TEST_CASE("pathfinder prepare: the order is a permutation of its seed") {
  std::vector<int64_t> order = seeded_order(1000, 1, OrderOf::pathfinder);
  CHECK(order == seeded_order(1000, 1, OrderOf::pathfinder));
  CHECK(order != seeded_order(1000, 2, OrderOf::pathfinder));
  int64_t fixed = 0;
  for (size_t i = 0; i < order.size(); ++i) fixed += order[i] == int64_t(i);
  CHECK(fixed <= 8);  // one is expected
  std::sort(order.begin(), order.end());
  std::vector<int64_t> all(1000);
  std::iota(all.begin(), all.end(), 0);
  CHECK(order == all);
  // Data sets depend on it.
  CHECK(seeded_order(8, 1, OrderOf::pathfinder) == std::vector<int64_t>{0, 2, 6, 1, 7, 4, 5, 3});
}

TEST_CASE("pathfinder prepare: options out of range are refused") {
  const Folder folder;
  const auto message = [&](PathfinderPlan plan) {
    plan.folder = folder.file("d");
    return message_of([&] { prepare_pathfinder(plan); });
  };
  CHECK(message({.options = {33, "hard", 1}}) == "pathfinder: size is 33, wanted 32, 64, 128 or 256");
  CHECK(message({.options = {32, "", 1}}) == "pathfinder: level is '', wanted hard, intermediate or easy");
  CHECK(message({.count = 9}) == "pathfinder: count is 9, wanted 10 to 1000000000");
  CHECK(message({.threads = 0}) == "pathfinder: threads is 0, wanted 1 to 1024");
  Level level;
  CHECK(message({.from = level.path}) == "pathfinder: 4 images, wanted at least 10");
  CHECK(holds(message({.from = folder.file("none")}), "none: is not there, wanted the folder of one level"));
  CHECK(message_of([&] { prepare_pathfinder_images({.folder = folder.file("d"), .per_batch = 0}); }) ==
        "pathfinder: per_batch is 0, wanted 1 to 1000000000");
  CHECK(entries_in(folder.path) == 0);
}

TEST_CASE("pathfinder prepare: what is there is kept, refused or replaced") {
  const Folder folder;
  PathfinderImagesPlan images{.folder = folder.file("d"), .options = kEasy, .count = 12, .per_batch = 5};
  REQUIRE(prepare_pathfinder_images(images) == Prepared::made);
  PathfinderPlan plan{.folder = folder.file("d"), .options = kEasy, .count = 10};
  CHECK(holds(message_of([&] { prepare_pathfinder(plan); }), "made with other options"));
  plan.force = true;
  CHECK(prepare_pathfinder(plan) == Prepared::made);
  CHECK_FALSE(fs::exists(folder.file("d/pathfinder32")));
  plan.force = false, plan.threads = 2;
  CHECK(prepare_pathfinder(plan) == Prepared::already_there);
  CHECK(entries_in(folder.path) == 1);
}

TEST_CASE("pathfinder prepare: an interrupted or killed run leaves no data set") {
  const Folder folder;
  const Watch stop = [](int64_t, int64_t, const std::string&) { throw Error("stop"); };
  PathfinderImagesPlan images{.folder = folder.file("d"), .options = kEasy, .count = 12, .per_batch = 5};
  PathfinderPlan plan{.folder = folder.file("d"), .options = kEasy, .count = 20};
  CHECK(message_of([&] { prepare_pathfinder_images(images, stop); }) == "stop");
  CHECK(message_of([&] { prepare_pathfinder(plan, stop); }) == "stop");
  CHECK(entries_in(folder.path) == 0);
  const Watch die = [](int64_t done, int64_t, const std::string&) {
    if (done >= 5) std::raise(SIGKILL);
  };
  REQUIRE(signal_of([&] { prepare_pathfinder_images(images, die); }) == SIGKILL);
  CHECK(holds(message_of([&] { need_whole(images.folder); }), "is not whole"));
  CHECK(entries_in(images.folder) == 1);  // the temporary folder, which the next run removes
  CHECK(prepare_pathfinder_images(images) == Prepared::made);
  CHECK(entries_in(images.folder) == 2);
}

}  // namespace selene::testing
