#include "data/lra/imdb.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <future>
#include <tuple>
#include <vector>

#include "data/io/clutter.h"
#include "data/io/stop.h"
#include "kernels/error.h"

namespace fs = std::filesystem;

namespace selene::data {
namespace {

// Small files on a disk cost waiting, not work: so many readers, each with so many files, wait at the same time.
constexpr size_t kReaders = 8, kBlock = 64;
using Bytes = std::vector<uint8_t>;

struct Side {
  const char* folder;
  int32_t label, lowest, highest;  // class; ratings
};
constexpr Side kSides[] = {{"neg", 0, 1, 4}, {"pos", 1, 7, 10}};

struct File {
  int32_t id = 0, rating = 0;
  int32_t label = 0;
  std::string path;
};

/// Takes a number of at most nine digits off the front; -1 if there is none.
int32_t take_number(std::string_view& text) {
  size_t digits = 0;
  int32_t value = 0;
  for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits) {
    if (digits == 9) return -1;
    value = 10 * value + (text[digits] - '0');
  }
  text.remove_prefix(digits);
  return digits == 0 ? -1 : value;
}

File file_of(const fs::path& path, const Side& side) {
  const std::string name = path.filename().string();
  std::string_view rest = name;
  File file{take_number(rest), 0, side.label, path.string()};
  const bool separated = rest.starts_with('_');
  if (separated) rest.remove_prefix(1);
  file.rating = take_number(rest);
  if (!separated || file.id < 0 || file.rating < 0 || rest != ".txt")
    throw Error(fmt::format("{}: is no review: wanted a name ID_RATING.txt", path.string()));
  if (file.rating < side.lowest || file.rating > side.highest)
    throw Error(fmt::format("{}: rating {} in {}, wanted {} to {}", path.string(), file.rating, side.folder,
                            side.lowest, side.highest));
  return file;
}

/// The reviews of one side, ascending.
std::vector<File> list_side(const fs::path& folder, const Side& side) {
  std::error_code error;
  std::vector<File> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    check_stop();
    if (!is_clutter(it->path().filename().string())) files.push_back(file_of(it->path(), side));
  }
  if (error)
    throw Error(fmt::format("{}: cannot be read: {}; wanted a folder of reviews, as aclImdb has it", folder.string(),
                            error.message()));
  if (files.empty()) throw Error(fmt::format("{}: is empty, wanted reviews ID_RATING.txt", folder.string()));
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) {
    return std::tie(a.id, a.rating, a.path) < std::tie(b.id, b.rating, b.path);
  });
  return files;
}

struct Descriptor {
  int file;
  ~Descriptor() {
    if (file >= 0) close(file);
  }
};

/// Reads a whole file into `buffer`, which grows as needed, and returns its bytes.
std::span<const uint8_t> read_file(const std::string& path, Bytes& buffer) {
  const Descriptor d{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (d.file < 0) throw Error(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  if (struct stat facts; fstat(d.file, &facts) != 0 || !S_ISREG(facts.st_mode))
    throw Error(fmt::format("{}: is no file, wanted a review", path));
  size_t size = 0;
  for (;;) {
    if (size == buffer.size()) buffer.resize(2 * size);
    const ssize_t got = read(d.file, buffer.data() + size, buffer.size() - size);
    if (got == 0) return std::span(buffer).first(size);
    if (got > 0) size += size_t(got);
    else if (errno != EINTR) throw Error(fmt::format("{}: cannot be read: {}", path, std::strerror(errno)));
  }
}

bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::span<const uint8_t> stripped(std::span<const uint8_t> text) {
  while (!text.empty() && is_space(text.back())) text = text.first(text.size() - 1);
  while (!text.empty() && is_space(text.front())) text = text.subspan(1);
  return text;
}

std::vector<Bytes> read_block(std::span<const File> files) {
  std::vector<Bytes> texts;
  Bytes buffer(size_t(1) << 16);  // most reviews have some thousand
  for (const File& file : files) {
    const auto text = stripped(read_file(file.path, buffer));
    texts.emplace_back(text.begin(), text.end());
  }
  return texts;
}

}  // namespace

Imdb read_imdb(const std::string& folder, std::string_view part, const Watch& watch) {
  if (part != "train" && part != "test") throw Error(fmt::format("part '{}', wanted train or test", part));
  std::vector<File> files;
  for (const Side& side : kSides) {
    auto more = list_side(fs::path(folder) / part / side.folder, side);
    std::move(more.begin(), more.end(), std::back_inserter(files));
  }
  Imdb result;
  DatasetBuilder builder;
  const auto tell = [&](size_t done) {
    if (watch) watch(int64_t(done), int64_t(files.size()), fmt::format("reviews of {}", part));
  };
  for (size_t first = 0; first < files.size(); first += kReaders * kBlock) {
    tell(first);
    std::vector<std::future<std::vector<Bytes>>> work;
    for (size_t i = first; i < std::min(files.size(), first + kReaders * kBlock); i += kBlock)
      work.push_back(std::async(std::launch::async | std::launch::deferred, read_block,
                                std::span(files).subspan(i, std::min(kBlock, files.size() - i))));
    size_t i = first;
    for (auto& texts : work)
      for (const Bytes& text : texts.get()) {
        const int32_t label = files[i++].label;
        if (text.empty()) {
          ++result.skipped;
          continue;
        }
        builder.add_row(text);
        builder.add_label(label);
      }
  }
  tell(files.size());
  result.reviews = builder.finish(kind_named("text"), (fs::path(folder) / part).string());
  return result;
}

}  // namespace selene::data
