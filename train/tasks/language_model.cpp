#include "train/tasks/language_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <numeric>

#include "data/io/regular_file.h"
#include "data/text/characters.h"
#include "kernels/ceil_div.h"
#include "kernels/error.h"
#include "models/heads/language_model.h"
#include "train/folder/log.h"

namespace selene::train {
namespace {

constexpr uint64_t kLargestText = uint64_t(1) << 31;  // bytes

class CausalModel : public TaskModel {
 public:
  CausalModel(const ModelConfig& config, int64_t symbols, double label_smoothing, Parameters& parameters,
              Context& context, DType compute)
      : model_(config, {symbols, -1}, parameters, context, compute), smoothing_(label_smoothing) {}
  Result loss(Tape& tape, const DeviceBatch& batch, const Tensor& sums) const override {
    return {model_.loss(tape, batch.at("tokens"), batch.at("lengths"), batch.at("next"), smoothing_, data::kNoLabel,
                        sums),
            {}};
  }

 private:
  LanguageModel model_;
  double smoothing_;
};

/// Where each block of a set lies.
struct Blocks {
  Blocks(const data::Dataset& data, int64_t most) : length(most), offsets(data.columns.at(1).offsets) {
    for (int64_t row = 0; row < data.examples(); ++row)
      first.push_back(first.back() + ceil_div(size(row), length)), longest = std::max(longest, size(row));
    longest = std::min(longest, length);
  }
  int64_t size(int64_t row) const { return offsets[size_t(row) + 1] - offsets[size_t(row)]; }
  int64_t count() const { return first.back(); }
  struct Place {
    int64_t row, begin, end;
  };
  Place operator[](int64_t block) const {
    const int64_t row = std::upper_bound(first.begin(), first.end(), block) - first.begin() - 1;
    const int64_t begin = (block - first[size_t(row)]) * length;
    return {row, begin, std::min(begin + length, size(row))};
  }
  int64_t length, longest = 0;
  std::span<const int64_t> offsets;
  std::vector<int64_t> first{0};  // [rows + 1] blocks before each row
};

void pad_blocks(const std::vector<data::Example>& examples, data::Batch& batch) {
  size_t N = 0;
  for (const data::Example& e : examples) N = std::max(N, e.targets.size());
  data::Array tokens{"tokens", {batch.B, int64_t(N)}}, lengths{"lengths", {batch.B}},
      next{"next", {batch.B, int64_t(N)}};
  for (const data::Example& e : examples) {
    tokens.integers.insert(tokens.integers.end(), e.rows[0].begin(), e.rows[0].end());
    next.integers.insert(next.integers.end(), e.targets.begin(), e.targets.end());
    lengths.integers.push_back(int32_t(e.targets.size()));
    batch.tokens += int64_t(e.targets.size());
    tokens.integers.resize(lengths.integers.size() * N, 0);
    next.integers.resize(lengths.integers.size() * N, data::kNoLabel);
  }
  batch.inputs = {std::move(tokens), std::move(lengths)}, batch.targets = {std::move(next)};
  batch.sample_size = double(batch.tokens);
}

std::vector<int32_t> characters_in(const data::Dataset& data) {
  const auto all = data.column("characters").all<int32_t>();
  return {all.begin(), all.end()};
}

}  // namespace

LanguageModelling::LanguageModelling(const Recipe& recipe, std::vector<int32_t> characters)
    : Task(recipe), characters_(std::move(characters)), positions_(recipe.data.max_length) {}

std::unique_ptr<Task> LanguageModelling::open(const Recipe& recipe) {
  Splits splits = read_splits(recipe);
  auto task = std::make_unique<LanguageModelling>(recipe, characters_in(*splits.train));
  for (const auto& split : {splits.valid, splits.test})
    if (split) task->check(*split), tell_other_options(*split, *splits.train), task->tell_unseen(*split);
  task->fit(splits.all());
  task->splits_ = std::move(splits);
  return task;
}

std::unique_ptr<Task> LanguageModelling::reopen(const Recipe& recipe, const data::Metadata& facts,
                                                const std::string& path) {
  std::vector<int32_t> characters;
  try {
    const auto found = facts.find("characters");
    if (found == facts.end()) throw Error("there are none in its metadata");
    const data::Json list = data::parse_json(found->second, "JSON");
    if (!list.list() || list.list()->empty()) throw Error("wanted a list of numbers");
    for (const data::Json& one : *list.list()) {
      const int64_t point = one.integer().value_or(-1);
      if (point < 0 || point > 0x10ffff || (!characters.empty() && point <= characters.back()))
        throw Error("wanted ascending numbers of Unicode");
      characters.push_back(int32_t(point));
    }
  } catch (const Error& e) {
    throw Error(fmt::format("{}: characters: {}", path, e.what()));
  }
  return std::make_unique<LanguageModelling>(recipe, std::move(characters));
}

std::unique_ptr<Task> LanguageModelling::imagine(const Recipe& recipe, int64_t symbols, int64_t longest) {
  std::vector<int32_t> characters(static_cast<size_t>(std::max<int64_t>(symbols - 2, 1)));
  std::iota(characters.begin(), characters.end(), 0);
  auto task = std::make_unique<LanguageModelling>(recipe, std::move(characters));
  task->positions_ = longest;
  return task;
}

std::unique_ptr<TaskModel> LanguageModelling::build(Parameters& parameters, Context& context, DType compute,
                                                    const std::string& recompute) const {
  ModelConfig model = recipe_.model;
  if (!model.max_positions) model.max_positions = positions_;
  model.recompute = recompute;
  return std::make_unique<CausalModel>(model, symbols(), recipe_.train.label_smoothing, parameters, context, compute);
}

data::Batch LanguageModelling::shape(int64_t B, int64_t N) const {
  const std::vector<int32_t> row(static_cast<size_t>(N), 0);
  data::Batch batch;
  batch.B = B;
  pad_blocks(std::vector<data::Example>(static_cast<size_t>(B), {{row}, row}), batch);
  return batch;
}

Task::Extent LanguageModelling::extent(const data::Dataset& data) const {
  const Blocks blocks(data, recipe_.data.max_length);
  return {blocks.count(), blocks.longest};
}

void LanguageModelling::fit(const std::vector<const data::Dataset*>& sets) {
  if (recipe_.model.positions != "sinusoidal") return;  // a learned table is a parameter
  positions_ = 1;
  for (const data::Dataset* d : sets) positions_ = std::max(positions_, extent(*d).longest);
}

data::Loader LanguageModelling::loader(std::shared_ptr<const data::Dataset> data, data::Order order) const {
  const auto blocks = std::make_shared<const Blocks>(*data, recipe_.data.max_length);
  const auto length = [blocks](int64_t i) { return (*blocks)[i].end - (*blocks)[i].begin; };
  auto batches = std::make_shared<const data::FixedBatches>(blocks->count(), recipe_.train.batch_size, order,
                                                            uint64_t(recipe_.train.seed), length);
  const auto start = int32_t(symbols() - 1);
  const auto read = [data, blocks, start](int64_t number) {
    const Blocks::Place at = (*blocks)[number];
    const data::Column& text = data->column("text");
    data::Example example{{{at.begin ? text.ids(at.row, at.begin - 1, at.begin)[0] : start}},
                          text.ids(at.row, at.begin, at.end)};
    example.rows[0].insert(example.rows[0].end(), example.targets.begin(), example.targets.end() - 1);
    return example;
  };
  return {data, std::move(batches), read, [](data::Example&) {}, pad_blocks};
}

data::Dataset LanguageModelling::first(const data::Dataset& data, int64_t blocks) const {
  const Blocks all(data, recipe_.data.max_length);
  if (blocks >= all.count()) return data;
  const Blocks::Place last = all[blocks - 1];
  const auto offsets =
      std::make_shared<std::vector<int64_t>>(all.offsets.begin(), all.offsets.begin() + last.row + 1);
  offsets->push_back(offsets->back() + last.end);
  data::Dataset cut = data;
  data::Column& text = cut.columns[1];
  text.offsets = *offsets, text.bytes = text.bytes.first(size_t(offsets->back() * size_of(text.dtype)));
  cut.storage =
      std::make_shared<std::pair<std::shared_ptr<const void>, std::shared_ptr<const void>>>(data.storage, offsets);
  return cut;
}

data::Metadata LanguageModelling::facts() const { return {{"characters", data::Json(characters_).dump()}}; }

data::Dataset LanguageModelling::read_own(const std::string& path) const {
  const std::string name = path == "-" ? "stdin" : path;
  const std::string text = path == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {})
                                       : data::read_regular_file(path, kLargestText, "text (- is stdin)");
  return data::character_set(name, characters_, {data::decode_text(text, name)});
}

void LanguageModelling::check(const data::Dataset& data) const {
  if (characters_in(data) != characters_)
    throw Error(fmt::format("{}: was prepared with other characters than the model's training text", data.name));
}

void LanguageModelling::tell_unseen(const data::Dataset& data) const {
  const data::Column& text = data.column("text");
  int64_t all = 0, unseen = 0;
  for (int64_t row = 0; row < text.rows(); ++row) {
    const std::vector<int32_t> symbols = text.ids(row, 0, text.offsets[size_t(row) + 1] - text.offsets[size_t(row)]);
    all += int64_t(symbols.size()), unseen += std::count(symbols.begin(), symbols.end(), 0);
  }
  if (unseen > 0)
    log_warning(
        fmt::format("{}: {} of its {} characters are not in the training text; all of them are one symbol to "
                    "the model, so the measures are not those of a model that knows them",
                    data.name, unseen, all));
}

}  // namespace selene::train
