// The reader of CIFAR-10's batches, and the Image task's prepared data.
#include "data/lra/cifar10.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/io/image.h"
#include "data/io/xxhash64.h"
#include "data/lra/prepare.h"
#include "data/order.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/real_data.h"

namespace selene::testing {
namespace {

using namespace data;
namespace fs = std::filesystem;

/// An image whose colour values depend on its number, the colour and the place.
std::string record(int number, int label) {
  std::string bytes(1, char(label));
  for (int colour = 0; colour < 3; ++colour)
    for (int p = 0; p < 1024; ++p) bytes += char(uint8_t(number * 37 + colour * 85 + p * (colour + 1)));
  return bytes;
}

/// Two images a training file and three in the test file; image i has class i % 10.
void put_small(const Folder& folder) {
  for (int b = 0; b < 5; ++b)
    write_text(folder.file(fmt::format("data_batch_{}.bin", b + 1)),
               record(2 * b, 2 * b) + record(2 * b + 1, 2 * b + 1));
  write_text(folder.file("test_batch.bin"), record(10, 0) + record(11, 1) + record(12, 2));
}

}  // namespace

TEST_CASE("cifar10: files in their order, planes to grey, classes as they are") {
  const Folder folder;
  put_small(folder);
  const Dataset train = read_cifar10(folder.path.string(), "train");
  const Dataset test = read_cifar10(folder.path.string(), "test");
  REQUIRE(train.examples() == 10);
  REQUIRE(test.examples() == 3);
  CHECK(train.kind->name == "image");
  for (int i = 0; i < 13; ++i) {
    const Dataset& data = i < 10 ? train : test;
    const auto row = data.row(i < 10 ? i : i - 10);
    CHECK(data.labels()[size_t(i < 10 ? i : i - 10)] == i % 10);
    REQUIRE(row.size() == 1024);
    const std::string bytes = record(i, 0);
    int64_t wrong = 0;
    for (size_t p = 0; p < 1024; ++p)
      wrong += row[p] != grey(uint8_t(bytes[1 + p]), uint8_t(bytes[1025 + p]), uint8_t(bytes[2049 + p]));
    CHECK(wrong == 0);
  }
}

TEST_CASE("cifar10: a broken batch is refused with its file") {
  const Folder folder;
  put_small(folder);
  const auto message = [&](const char* part) {
    return message_of([&] { read_cifar10(folder.path.string(), part); });
  };
  const std::string path = folder.file("data_batch_3.bin");
  CHECK(message("valid") == "part 'valid', wanted train or test");
  write_text(path, record(1, 1) + record(2, 2).substr(1));
  CHECK(message("train") == path +
                                ": 6145 bytes, wanted 30730000 or another multiple of 3073: a class and 3072 colour "
                                "values a record");
  write_text(path, "");
  CHECK(message("train").starts_with(path + ": 0 bytes, wanted 30730000"));
  write_text(path, record(1, 1) + record(2, 10));
  CHECK(message("train") == path + ": record 2: class 10, wanted 0 to 9");
  fs::remove(path);
  CHECK(message("train") == path + ": cannot be opened: No such file or directory");
  fs::create_directory(path);
  CHECK(message("train") == path + ": is a folder, wanted a CIFAR-10 batch");
  CHECK(message("test").empty());
}

TEST_CASE("image: the last tenth of a seeded order validates") {
  const Folder folder;
  put_small(folder);
  const Kind& kind = kind_named("image");
  const std::string from = folder.path.string();
  const ImagePlan all{.folder = folder.file("all"), .from = from};
  const ImagePlan few{.folder = folder.file("few"), .from = from, .caps = {4, 0, 2}};
  const ImagePlan other{.folder = folder.file("other"), .from = from, .seed = 7};
  for (const ImagePlan& plan : {all, few, other}) REQUIRE(prepare_image(plan) == Prepared::made);
  CHECK(prepare_image(all) == Prepared::already_there);
  const auto split = [&](const ImagePlan& plan, const char* name) { return read_split(plan.folder, kind, name); };
  const Dataset source = read_cifar10(from, "train");
  const Dataset train = split(all, "train"), valid = split(all, "valid");
  CHECK(train.examples() == 9);
  CHECK(valid.examples() == 1);
  auto both = text_set(train);
  both.merge(text_set(valid));
  CHECK(both == text_set(source));
  for (int64_t i = 0; i < train.examples(); ++i)
    CHECK(text_of(train.row(i)) == text_of(source.row(train.labels()[size_t(i)])));  // image i has class i
  CHECK(text_set(split(all, "test")) == text_set(read_cifar10(from, "test")));
  CHECK(split(few, "test").examples() == 2);
  CHECK(std::ranges::equal(split(few, "train").symbols(), train.first(4).symbols()));
  CHECK(!std::ranges::equal(split(other, "train").labels(), train.labels()));
  const auto facts = nlohmann::json::parse(read_text(all.folder + "/dataset.json"));
  CHECK(facts["splits"]["test"]["classes"]["airplane"] == 1);
  CHECK(facts["splits"]["test"]["classes"]["truck"] == 0);
  CHECK(facts["splits"]["train"]["length"] ==
        nlohmann::json{{"min", 1024}, {"median", 1024}, {"95 %", 1024}, {"max", 1024}});
}

TEST_CASE("image: too few images to validate are refused") {
  const Folder folder;
  put_small(folder);
  write_text(folder.file("data_batch_5.bin"), record(8, 8));
  const ImagePlan plan{.folder = folder.file("out"), .from = folder.path.string()};
  CHECK(message_of([&] { prepare_image(plan); }) ==
        folder.path.string() + " (train): 9 images, wanted at least 10: a tenth is the validation set");
  CHECK(!fs::exists(plan.folder));
}

TEST_CASE("seeded order: a permutation that seed and stream decide") {
  const auto order = seeded_order(1000, 1, OrderOf::train);
  std::vector<int64_t> sorted = order;
  std::ranges::sort(sorted);
  for (int64_t i = 0; i < 1000; ++i) REQUIRE(sorted[size_t(i)] == i);
  CHECK(order == seeded_order(1000, 1, OrderOf::train));
  CHECK(order != seeded_order(1000, 2, OrderOf::train));
  CHECK(order != seeded_order(1000, 1, OrderOf::valid));
  CHECK(seeded_order(6, 1, OrderOf::train) ==
        std::vector<int64_t>{5, 0, 2, 3, 4, 1});  // so that prepared data stays as it is
  CHECK(seeded_order(0, 1, OrderOf::train).empty());
}

// Computed with NumPy in fp32 from the formula of data/io/image.h: ((0.2989 (r / 255) + 0.5870 (g / 255)) + 0.1140 (b
// / 255)) x 255.5, truncated. TensorFlow multiplies by the rounded 1 / 255 and leaves the order of the sum to a
// matrix product; that is another value for 131 to 270 of the 61,440,000 pixels, by one, depending on its build.
TEST_CASE("cifar10: the grey values of all 60,000 images; the real data is prepared in 20 s", "[.real]") {
  const std::string from = real_data("cifar-10-batches-bin");
  if (from.empty()) return;
  XxHash64 hash;
  for (const char* part : {"train", "test"}) {
    const Dataset data = read_cifar10(from, part);
    const bool train = part == std::string("train");
    CHECK(data.examples() == (train ? 50'000 : 10'000));
    for (int32_t c = 0; c < 10; ++c) CHECK(std::ranges::count(data.labels(), c) == (train ? 5'000 : 1'000));
    hash.update(data.symbols().data(), data.symbols().size());
  }
  CHECK(hash.digest() == 0x444133d62e918743);
  const Folder folder;
  const ImagePlan plan{.folder = folder.file("image"), .from = from};
  check_time("CIFAR-10", [&] { CHECK(prepare_image(plan) == Prepared::made); });
}

}  // namespace selene::testing
