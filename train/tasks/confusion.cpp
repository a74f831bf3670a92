#include "train/tasks/confusion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace selene::train {
namespace {

constexpr size_t kBuckets = 4;

double share(int64_t part, int64_t whole) { return whole ? 100.0 * double(part) / double(whole) : 0; }

}  // namespace

Answer answer_of(const std::vector<float>& logits, int64_t B, int64_t b) {
  const int64_t classes = int64_t(logits.size()) / B;
  const float* row = logits.data() + b * classes;
  const int64_t best = std::max_element(row, row + classes) - row;
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(double(row[c]) - double(row[best]));
  return {int32_t(best), 1 / sum};
}

Confusion::Confusion(const data::Dataset& data)
    : data_(data), counts_(size_t(data.classes()), std::vector<int64_t>(size_t(data.classes()), 0)) {}

void Confusion::add(int64_t example, int32_t label, int32_t answer) {
  if (label == data::kNoLabel) return;
  ++counts_[size_t(label)][size_t(answer)];
  lengths_.emplace_back(data_.length(example), label == answer);
}

std::vector<LengthBucket> Confusion::by_length() const {
  std::vector<std::pair<int64_t, bool>> sorted = lengths_;
  std::sort(sorted.begin(), sorted.end());
  std::vector<LengthBucket> buckets;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const auto [length, correct] = sorted[i];
    // Equal lengths stay together, so a bucket may take more than its share.
    const bool full = i * kBuckets >= sorted.size() * buckets.size();
    if (buckets.empty() || (full && length != buckets.back().longest)) buckets.push_back({length, length, 0, 0});
    buckets.back().longest = length;
    ++buckets.back().examples, buckets.back().correct += correct;
  }
  return buckets;
}

std::string Confusion::table() const {
  size_t width = 6;
  for (const std::string& name : data_.kind->class_names) width = std::max(width, name.size());
  std::string text = fmt::format("{:<{}}", "label \\ answer", std::max<size_t>(width, 14));
  for (const std::string& name : data_.kind->class_names) text += fmt::format(" {:>{}}", name, width);
  text += fmt::format(" {:>8}\n", "right");
  for (size_t label = 0; label < counts_.size(); ++label) {
    int64_t all = 0;
    text += fmt::format("{:<{}}", data_.kind->class_names[label], std::max<size_t>(width, 14));
    for (const int64_t n : counts_[label]) all += n, text += fmt::format(" {:>{}}", n, width);
    text += fmt::format(" {:>6.1f} %\n", share(counts_[label][label], all));
  }
  for (const LengthBucket& bucket : by_length())
    text += fmt::format("{} to {} symbols: {} examples, {:.1f} % right\n", bucket.shortest, bucket.longest,
                        bucket.examples, share(bucket.correct, bucket.examples));
  return text;
}

}  // namespace selene::train
