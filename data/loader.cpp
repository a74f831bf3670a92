#include "data/loader.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"

namespace selene::data {
namespace {

void need_length(int64_t max_length) {
  if (max_length < 1) throw Error(fmt::format("max_length is {} tokens, wanted at least 1", max_length));
}

/// What the arrays of tokens and of pixels have in common. `fill` makes the first array of a tower, [B, N].
PadStage pad_labelled(const std::function<Array(const std::vector<Example>&, size_t tower, int64_t N)>& fill) {
  return [fill](const std::vector<Example>& examples, Batch& batch) {
    int64_t N = 0;
    for (const Example& e : examples)
      for (const auto& row : e.rows) N = std::max(N, int64_t(row.size()));
    for (size_t t = 0; t < examples[0].rows.size(); ++t) {
      batch.inputs.push_back(fill(examples, t, N));
      Array lengths{tower_name("lengths", int64_t(t)), {batch.B}};
      for (const Example& e : examples) lengths.integers.push_back(int32_t(e.rows[t].size()));
      for (const int32_t n : lengths.integers) batch.tokens += n;
      Array longest{tower_name("longest", int64_t(t)), {1}};
      longest.integers = {*std::max_element(lengths.integers.begin(), lengths.integers.end())};
      const auto padded = [N](int32_t n) { return n < N; };
      if (std::any_of(lengths.integers.begin(), lengths.integers.end(), padded))
        batch.inputs.push_back(std::move(lengths));
      batch.inputs.push_back(std::move(longest));
    }
    Array& labels = batch.targets.emplace_back(Array{"labels", {batch.B}});
    for (const Example& e : examples) labels.integers.push_back(e.targets.at(0));
    batch.sample_size = double(batch.B);
  };
}

}  // namespace

Loader::Loader(std::shared_ptr<const Dataset> data, std::shared_ptr<const BatchOrder> order, ReadStage read,
               FrameStage frame, PadStage pad)
    : data_(std::move(data)),
      order_(std::move(order)),
      read_(std::move(read)),
      frame_(std::move(frame)),
      pad_(std::move(pad)) {}

Batch Loader::make_batch(int64_t index) const {
  data_->need_unchanged();
  Chosen chosen = order_->batch(index);
  std::vector<Example> examples;
  for (const int64_t number : chosen.examples) frame_(examples.emplace_back(read_(number)));
  Batch batch;
  batch.B = int64_t(examples.size());
  batch.epoch = chosen.epoch, batch.position = chosen.position, batch.examples = std::move(chosen.examples);
  pad_(examples, batch);
  return batch;
}

ReadStage read_labelled(std::shared_ptr<const Dataset> data) {
  return [data](int64_t number) {
    Example example;
    for (int32_t t = 0; t < data->towers(); ++t) {
      const auto row = data->row(number, t);
      example.rows.emplace_back(row.begin(), row.end());
    }
    example.targets = {data->labels()[size_t(number)]};
    return example;
  };
}

FrameStage frame_symbols(Vocabulary vocabulary, int64_t max_length) {
  need_length(max_length);
  return [vocabulary = std::move(vocabulary), max_length](Example& example) {
    for (auto& row : example.rows) row = vocabulary.frame_row(row, max_length);
  };
}

FrameStage frame_pixels(int64_t max_length) {
  need_length(max_length);
  return [max_length](Example& example) {
    for (auto& row : example.rows) row.resize(std::min(row.size(), size_t(max_length)));
  };
}

std::string tower_name(const char* what, int64_t tower) {
  return tower == 0 ? what : fmt::format("{}.{}", what, tower);
}

PadStage pad_tokens(int32_t pad) {
  return pad_labelled([pad](const std::vector<Example>& examples, size_t t, int64_t N) {
    Array tokens{tower_name("tokens", int64_t(t)), {int64_t(examples.size()), N}};
    for (const Example& e : examples) {
      tokens.integers.insert(tokens.integers.end(), e.rows[t].begin(), e.rows[t].end());
      tokens.integers.resize(tokens.integers.size() + size_t(N) - e.rows[t].size(), pad);
    }
    return tokens;
  });
}

PadStage pad_pixels() {
  return pad_labelled([](const std::vector<Example>& examples, size_t t, int64_t N) {
    Array pixels{tower_name("pixels", int64_t(t)), {int64_t(examples.size()), N}};
    for (const Example& e : examples) {
      for (const int32_t v : e.rows[t]) pixels.reals.push_back((float(v) / 255.0f - 0.5f) / 0.5f);
      pixels.reals.resize(pixels.reals.size() + size_t(N) - e.rows[t].size(), 0.0f);
    }
    return pixels;
  });
}

}  // namespace selene::data
