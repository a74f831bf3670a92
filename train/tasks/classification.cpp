#include "train/tasks/classification.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "data/io/image.h"
#include "data/lra/own_examples.h"
#include "data/prepared.h"
#include "kernels/error.h"
#include "train/folder/log.h"

namespace selene::train {
namespace {

class ClassifierModel : public TaskModel {
 public:
  ClassifierModel(const ModelConfig& config, const ModelSize& size, double label_smoothing, Parameters& parameters,
                  Context& context, DType compute)
      : classifier_(config, size.symbols, size.classes, parameters, context, compute), smoothing_(label_smoothing) {}
  Result loss(Tape& tape, const DeviceBatch& batch, const Tensor& sums) const override {
    const Var logits = classifier_.forward(tape, towers_of(batch, classifier_.config())).logits;
    return {cross_entropy(tape, logits, batch.at("labels"), smoothing_, data::kNoLabel, sums), logits};
  }

 private:
  Classifier classifier_;
  double smoothing_;
};

/// Error where a split has images of another size than the training set. That it was made with other options of
/// selene-prepare is only told: the same example might be in both.
void need_alike(const data::Dataset& split, const data::Dataset& train) {
  if (split.kind->image && split.length(0) != train.length(0))
    throw Error(fmt::format("{}: has images of {} pixels, {} of {}", split.name, split.length(0), train.name,
                            train.length(0)));
  tell_other_options(split, train);
}

}  // namespace

std::vector<TowerInput> towers_of(const DeviceBatch& batch, const ModelConfig& model) {
  std::vector<TowerInput> towers;
  for (int64_t t = 0; t < model.towers; ++t) {
    const bool pixels = model.input == "pixels";
    TowerInput& in = towers.emplace_back();
    const Tensor& content = batch.at(data::tower_name(pixels ? "pixels" : "tokens", t));
    (pixels ? in.pixels : in.tokens) = content;
    in.lengths = batch.find(data::tower_name("lengths", t)), in.longest = batch.at(data::tower_name("longest", t));
    in.B = content.dim(0), in.N = content.dim(1);
  }
  return towers;
}

Classification::Classification(const Recipe& recipe, data::Vocabulary vocabulary)
    : Task(recipe), vocabulary_(std::move(vocabulary)) {
  size_ = {{vocabulary_.size, vocabulary_.pad},
           int64_t(data::kind_named(recipe.data.kind).class_names.size()),
           recipe.data.max_length};
}

std::unique_ptr<Task> Classification::open(const Recipe& recipe) {
  Splits splits = read_splits(recipe);
  need_alike(*splits.valid, *splits.train);
  if (splits.test) need_alike(*splits.test, *splits.train);
  auto task = std::make_unique<Classification>(
      recipe,
      data::build_vocabulary(*splits.train, data::frame_named(recipe.data.frame), recipe.model.pooling != "p"));
  task->tell_cut(*splits.train), task->tell_cut(*splits.valid);
  task->fit(splits.all());
  task->splits_ = std::move(splits);
  return task;
}

std::unique_ptr<Task> Classification::reopen(const Recipe& recipe, const data::Metadata& facts,
                                             const std::string& path) {
  const data::Kind& kind = data::kind_named(recipe.data.kind);
  const auto fact = [&](const char* name) -> const std::string& {
    const auto found = facts.find(name);
    if (found == facts.end()) throw Error(fmt::format("{}: has no \"{}\" in its metadata", path, name));
    return found->second;
  };
  data::Vocabulary vocabulary;
  try {
    vocabulary = data::vocabulary_from_json(fact("vocabulary"));
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", path, e.what()));
  }
  if (vocabulary.symbol_names != kind.symbol_names)
    throw Error(fmt::format("{}: its vocabulary is not that of its recipe's data.kind, {}", path, kind.name));
  if (const std::string& classes = fact("classes"); classes != std::to_string(kind.class_names.size()))
    throw Error(fmt::format("{}: is of '{:.20}' classes, wanted the {} of its recipe's data.kind, {}", path, classes,
                            kind.class_names.size(), kind.name));
  return std::make_unique<Classification>(recipe, std::move(vocabulary));
}

std::unique_ptr<Task> Classification::imagine(const Recipe& recipe, int64_t symbols, int64_t longest) {
  return std::make_unique<Classification>(recipe, ModelSize{{symbols, 1}, 10, longest});
}

std::unique_ptr<TaskModel> Classification::build(Parameters& parameters, Context& context, DType compute,
                                                 const std::string& recompute) const {
  ModelConfig model = recipe_.model;
  if (!model.max_positions) model.max_positions = size_.max_positions;
  model.recompute = recompute;
  return std::make_unique<ClassifierModel>(model, size_, recipe_.train.label_smoothing, parameters, context, compute);
}

data::Batch Classification::shape(int64_t B, int64_t N) const {
  std::vector<data::Example> examples(static_cast<size_t>(B));
  for (data::Example& e : examples)
    e.rows.assign(size_t(recipe_.model.towers), std::vector<int32_t>(size_t(N), 0)), e.targets = {0};
  // Images have one size; of other batches the plan is for a padded one, whose masks take memory.
  for (size_t t = B > 1 ? 0 : 1; t < size_t(recipe_.model.towers) && N > 1 && !pixels(); ++t)
    examples.back().rows[t].pop_back();
  data::Batch batch;
  batch.B = B;
  (pixels() ? data::pad_pixels() : data::pad_tokens(0))(examples, batch);
  return batch;
}

Task::Extent Classification::extent(const data::Dataset& data) const {
  int64_t longest = 0;
  for (int64_t i = 0; i < data.examples(); ++i) longest = std::max(longest, data.length(i));
  return {data.examples(), std::min(vocabulary_.framed_length(longest), recipe_.data.max_length)};
}

void Classification::fit(const std::vector<const data::Dataset*>& sets) {
  if (recipe_.model.positions != "sinusoidal") return;  // a learned table is a parameter
  size_.max_positions = 1;
  for (const data::Dataset* d : sets) size_.max_positions = std::max(size_.max_positions, extent(*d).longest);
}

data::Loader Classification::loader(std::shared_ptr<const data::Dataset> data, data::Order order) const {
  if (data->kind->symbol_names != vocabulary_.symbol_names)
    throw Error(fmt::format("{}: its symbols are not those of the vocabulary", data->name));
  const int64_t longest = recipe_.data.max_length;
  auto batches = std::make_shared<const data::FixedBatches>(data->examples(), recipe_.train.batch_size, order,
                                                            uint64_t(recipe_.train.seed),
                                                            [data](int64_t i) { return data->length(i); });
  return {data, std::move(batches), data::read_labelled(data),
          pixels() ? data::frame_pixels(longest) : data::frame_symbols(vocabulary_, longest),
          pixels() ? data::pad_pixels() : data::pad_tokens(vocabulary_.pad)};
}

data::Metadata Classification::facts() const {
  return {{"vocabulary", vocabulary_.to_json()}, {"classes", std::to_string(size_.classes)}};
}

data::Dataset Classification::read_own(const std::string& path) const {
  const data::Kind& kind = data::kind_named(recipe_.data.kind);
  if (path == "-") return data::read_own(std::cin, "stdin", kind);
  return data::read_own(path, kind, data::square_side(vocabulary_.longest));
}

void Classification::check(const data::Dataset& data) const {
  if (const int64_t pixels = vocabulary_.longest; data.kind->image && pixels > 0 && data.length(0) != pixels)
    throw Error(fmt::format("{}: has images of {} x {} pixels, the model was trained on {} x {}", data.name,
                            data::square_side(data.length(0)), data::square_side(data.length(0)),
                            data::square_side(pixels), data::square_side(pixels)));
}

void Classification::tell_cut(const data::Dataset& data) const {
  if (const int64_t cut = vocabulary_.count_cut(data, recipe_.data.max_length))
    log_warning(fmt::format("{}: {} of {} examples are longer than data.max_length = {} tokens and lose their tail",
                            data.name, cut, data.examples(), recipe_.data.max_length));
}

void Classification::tell_unseen(const data::Dataset& data) const {
  tell_cut(data);
  const int64_t most = recipe_.data.max_length;
  const std::string& pooling = recipe_.model.pooling;
  bool padded = false;
  for (int64_t i = 1; i < data.examples(); ++i)
    padded = padded || std::min(data.length(i), most) != std::min(data.length(0), most);
  if (padded && (pooling == "mean" || pooling == "p"))
    log_info(fmt::format(
        "model.pooling is {}: padding counts, so an answer depends on the longest of the {} examples that "
        "go through the model together; with cls and real_mean it does not",
        pooling, std::min(data.examples(), recipe_.train.batch_size)));
}

}  // namespace selene::train
