#include "data/lra/cifar10.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "data/io/durable_file.h"
#include "data/io/image.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr size_t kPixels = 32 * 32, kRecord = 1 + 3 * kPixels;  // bytes
constexpr int64_t kOfficialBytes = 10'000 * int64_t(kRecord);
constexpr size_t kWatchEvery = 1'000;  // images

std::vector<std::string> files_of(const std::string& folder, std::string_view part) {
  std::vector<std::string> names;
  if (part == "train")
    for (int i = 1; i <= 5; ++i) names.push_back(fmt::format("{}/data_batch_{}.bin", folder, i));
  else if (part == "test") names.push_back(fmt::format("{}/test_batch.bin", folder));
  else throw Error(fmt::format("part '{}', wanted train or test", part));
  return names;
}

/// The whole file. Error unless it is records and nothing else.
std::vector<uint8_t> read_batch(const std::string& path) {
  need_regular(path, "a CIFAR-10 batch");
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) throw Error(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  const int64_t size = int64_t(in.tellg());
  if (size <= 0 || size % int64_t(kRecord) != 0)
    throw Error(
        fmt::format("{}: {} bytes, wanted {} or another multiple of {}: a class and 3072 colour values a record",
                    path, size, kOfficialBytes, kRecord));
  std::vector<uint8_t> bytes(size_t(size), 0);
  in.seekg(0);
  if (!in.read(reinterpret_cast<char*>(bytes.data()), size))
    throw Error(fmt::format("{}: cannot be read: {}", path, std::strerror(errno)));
  return bytes;
}

}  // namespace

Dataset read_cifar10(const std::string& folder, std::string_view part, const Watch& watch) {
  DatasetBuilder builder;
  std::array<uint8_t, kPixels> row;
  for (const std::string& path : files_of(folder, part)) {
    const std::vector<uint8_t> bytes = read_batch(path);
    for (size_t i = 0; i < bytes.size() / kRecord; ++i) {
      if (watch && i % kWatchEvery == 0) watch(builder.examples(), 0, fmt::format("images of {}", part));
      const uint8_t *label = bytes.data() + i * kRecord, *rgb = label + 1;
      if (*label > 9) throw Error(fmt::format("{}: record {}: class {}, wanted 0 to 9", path, i + 1, *label));
      for (size_t p = 0; p < kPixels; ++p) row[p] = grey(rgb[p], rgb[kPixels + p], rgb[2 * kPixels + p]);
      builder.add_row(row);
      builder.add_label(*label);
    }
  }
  if (watch) watch(builder.examples(), 0, fmt::format("images of {}", part));
  return builder.finish(kind_named("image"), fmt::format("{} ({})", folder, part));
}

}  // namespace selene::data
