#include "data/lra/stand_in.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "data/io/json.h"
#include "data/lra/aan.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace fs = std::filesystem;

namespace selene::data {
namespace {

// Streams of draws: what they are for in the high half, which example in the low half.
enum Purpose : uint64_t { words_of = 0x57000000, reviews_of, images_of, pairs_of };

PhiloxStream stream(uint64_t seed, Purpose purpose, int64_t part, int64_t index) {
  return {seed, (uint64_t(purpose) + uint64_t(part) * 0x100) << 32 | uint64_t(index)};
}

class Writer {
 public:
  explicit Writer(const fs::path& path) : path_(path), out_(path, std::ios::binary) {}
  void write(std::string_view bytes) { out_.write(bytes.data(), std::streamsize(bytes.size())); }
  void close() {
    out_.close();
    if (!out_) throw Error(fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)));
  }

 private:
  fs::path path_;
  std::ofstream out_;
};

void write_file(const fs::path& path, std::string_view bytes) {
  Writer file(path);
  file.write(bytes);
  file.close();
}

/// Runs `write` through prepare_folder and puts STAND-IN.txt beside what it wrote.
template <class F>
Prepared make(const StandInPlan& plan, const char* layout, F&& write) {
  for (const auto& [name, count] : {std::pair{"train", plan.train}, {"valid", plan.valid}, {"test", plan.test}})
    if (count < 2 || count > 1'000'000)
      throw Error(fmt::format("stand-in: {} is {} examples, wanted 2 to 1000000", name, count));
  const Json options{{"train", plan.train}, {"valid", plan.valid}, {"test", plan.test}, {"seed", plan.seed}};
  const std::string kind = fmt::format("stand-in {}", layout);
  return prepare_folder({plan.folder, kind, options.dump(), plan.force}, [&](const std::string& folder) {
    write(fs::path(folder));
    write_file(fs::path(folder) / "STAND-IN.txt",
               fmt::format("Synthetic data in the layout of {}, made by selene-prepare stand-in (seed {}).\n"
                           "None of it is real: what a model scores on it is no result.\n",
                           layout, plan.seed));
    return std::string("{}");
  });
}

/// A pronounceable word of 4 to 9 letters, the same for the same number in every stand-in.
std::string word(int64_t number) {
  constexpr std::string_view consonants = "bcdfghklmnprstvwz", vowels = "aeiou";
  PhiloxStream random = stream(0, words_of, 0, number);
  std::string text;
  for (uint32_t syllables = 2 + random.below(3); syllables > 0; --syllables) {
    text += consonants[random.below(uint32_t(consonants.size()))];
    text += vowels[random.below(uint32_t(vowels.size()))];
  }
  if (random.below(2) == 0) text += consonants[random.below(uint32_t(consonants.size()))];
  return text;
}

constexpr uint32_t kCommonWords = 400;
/// Words of low numbers are more frequent, as in a language.
std::string common_word(PhiloxStream& random) {
  return word(std::min(random.below(kCommonWords), random.below(kCommonWords)));
}

/// Counts the examples of a whole stand-in for its watch.
class Counter {
 public:
  explicit Counter(const Watch& watch) : watch_(watch) {}
  void add() {
    if (watch_ && done_ % 64 == 0) watch_(done_, 0, "");
    ++done_;
  }

 private:
  const Watch& watch_;
  int64_t done_ = 0;
};

// Reviews.

const char* const kJudgements[2][12] = {
    {"awful", "boring", "terrible", "worst", "bad", "dull", "waste", "poor", "stupid", "horrible", "lame", "mess"},
    {"great", "wonderful", "excellent", "best", "good", "moving", "superb", "lovely", "perfect", "brilliant", "fun",
     "gem"}};

/// Bytes of a review: between quantiles close to those of the 25,000 real training reviews, cut at 5,000.
int64_t review_length(PhiloxStream& random) {
  struct Quantile {
    int64_t share, bytes;  // of 1000 reviews, so many are shorter
  };
  constexpr Quantile quantiles[] = {{0, 60},     {50, 356},   {250, 702},  {500, 979},
                                    {750, 1614}, {900, 2617}, {950, 3440}, {1000, 5000}};
  const int64_t share = random.below(1000);
  size_t i = 1;
  while (quantiles[i].share <= share) ++i;
  const Quantile &a = quantiles[i - 1], &b = quantiles[i];
  return a.bytes + (b.bytes - a.bytes) * (share - a.share) / (b.share - a.share);
}

std::string review(PhiloxStream random, int label) {
  const size_t length = size_t(review_length(random));
  std::string text;
  uint32_t left = 0;  // words of the sentence
  while (text.size() < length) {
    std::string next = common_word(random);
    if (random.below(8) == 0) next = kJudgements[random.below(4) > 0 ? label : 1 - label][random.below(12)];
    const bool begins = left == 0;
    if (begins) left = 4 + random.below(12), next[0] = char(next[0] - 'a' + 'A');
    if (begins && !text.empty()) text += random.below(6) == 0 ? ".<br /><br />" : ". ";
    else if (!begins) text += ' ';
    text += next;
    --left;
  }
  return text + ".";
}

void write_reviews(const fs::path& folder, int64_t part, int64_t count, uint64_t seed, Counter& counter) {
  for (const char* side : {"neg", "pos"}) fs::create_directories(folder / side);
  for (int64_t i = 0; i < count; ++i) {
    counter.add();
    const int label = int(i % 2);
    PhiloxStream random = stream(seed, reviews_of, part, i);
    const uint32_t rating = (label == 0 ? 1 : 7) + random.below(4);
    write_file(folder / (label == 0 ? "neg" : "pos") / fmt::format("{}_{}.txt", i / 2, rating),
               review(random, label));
  }
}

// Images.

constexpr int kSide = 32;

/// Whether a pixel belongs to the shape; u and v count from its middle.
bool inside(int shape, int u, int v, int size) {
  switch (shape) {
    case 0:
      return u * u + v * v <= size * size;  // disc
    case 1:
      return std::abs(u) <= size && std::abs(v) <= size;  // square
    case 2:
      return ((v + 2 * kSide) / (size / 2 + 1)) % 2 == 0;  // horizontal stripes
    case 3:
      return ((u + 2 * kSide) / (size / 2 + 1)) % 2 == 0;  // vertical stripes
    default:
      return u + v < 0;  // half, cut along a diagonal
  }
}

std::string image_record(PhiloxStream random) {
  const int label = int(random.below(10)), sign = label % 2 == 0 ? 1 : -1;
  const int size = 6 + int(random.below(5)), x = 12 + int(random.below(8)), y = 12 + int(random.below(8));
  std::string record(1, char(label));
  record.reserve(1 + 3 * kSide * kSide);
  for (int colour = 0; colour < 3; ++colour) {
    const int ground = 108 + int(random.below(41)), step = sign * (50 + int(random.below(31)));
    for (int row = 0; row < kSide; ++row)
      for (int column = 0; column < kSide; ++column) {
        const int noise = int(random.below(49)) - 24;
        record += char(uint8_t(ground + noise + (inside(label / 2, column - x, row - y, size) ? step : 0)));
      }
  }
  return record;
}

void write_batch(const fs::path& path, int64_t part, int64_t count, uint64_t seed, Counter& counter) {
  Writer file(path);
  for (int64_t i = 0; i < count; ++i) {
    counter.add();
    file.write(image_record(stream(seed, images_of, part, i)));
  }
  file.close();
}

// Pairs of articles.

constexpr uint32_t kSubjects = 16, kSubjectWords = 12;

/// An article as Python prints its bytes: in double quotes where it has an apostrophe.
std::string article(PhiloxStream& random, uint32_t subject) {
  const bool apostrophe = random.below(4) == 0;
  const size_t length = 500 + random.below(5450);
  std::string text = apostrophe ? "b\"the author's " : "b'";
  while (text.size() < length) {
    const bool rare = random.below(6) == 0;
    text += rare ? word(kCommonWords + subject * kSubjectWords + random.below(kSubjectWords)) : common_word(random);
    const uint32_t behind = random.below(64);
    text += behind == 0 ? " \\xe2\\x80\\x93 " : behind < 6 ? "\\n" : behind < 10 ? ". " : " ";
  }
  return text + (apostrophe ? '"' : '\'');
}

void write_pairs(const fs::path& path, int64_t part, int64_t count, uint64_t seed, Counter& counter) {
  Writer file(path);
  for (int64_t i = 0; i < count; ++i) {
    counter.add();
    PhiloxStream random = stream(seed, pairs_of, part, i);
    const bool related = i % 2 == 1;
    const uint32_t first = random.below(kSubjects);
    const uint32_t second = related ? first : (first + 1 + random.below(kSubjects - 1)) % kSubjects;
    const uint32_t id1 = random.below(1'000'000), id2 = random.below(1'000'000);
    const std::string text1 = article(random, first), text2 = article(random, second);
    file.write(fmt::format("{}\tP{:06}\tP{:06}\t{}\t{}\n", related ? "1.0" : "0.0", id1, id2, text1, text2));
  }
  file.close();
}

}  // namespace

Prepared make_stand_in_imdb(const StandInPlan& plan, const Watch& watch) {
  Counter counter(watch);
  return make(plan, "aclImdb", [&](const fs::path& folder) {
    write_reviews(folder / "train", 0, plan.train, plan.seed, counter);
    write_reviews(folder / "test", 1, plan.test, plan.seed, counter);
  });
}

Prepared make_stand_in_cifar10(const StandInPlan& plan, const Watch& watch) {
  Counter counter(watch);
  return make(plan, "cifar-10-batches-bin", [&](const fs::path& folder) {
    for (int batch = 1; batch <= 5; ++batch)
      write_batch(folder / fmt::format("data_batch_{}.bin", batch), batch, (plan.train + 4) / 5, plan.seed, counter);
    write_batch(folder / "test_batch.bin", 0, plan.test, plan.seed, counter);
  });
}

Prepared make_stand_in_aan(const StandInPlan& plan, const Watch& watch) {
  Counter counter(watch);
  return make(plan, "tsv_data", [&](const fs::path& folder) {
    const std::string place = folder.string();
    write_pairs(aan_path(place, "train"), 0, plan.train, plan.seed, counter);
    write_pairs(aan_path(place, "valid"), 1, plan.valid, plan.seed, counter);
    write_pairs(aan_path(place, "test"), 2, plan.test, plan.seed, counter);
  });
}

}  // namespace selene::data
