// Classification of sequences, images and pairs of them: the tasks of the Long Range Arena.
#pragma once
#include <memory>
#include <string>

#include "data/vocabulary.h"
#include "models/heads/classifier.h"
#include "train/tasks/task.h"

namespace selene::train {

/// What must be known besides the recipe to build a classifier.
struct ModelSize {
  Symbols symbols;
  int64_t classes = 0;
  int64_t max_positions = 0;  // rows of the position table where the recipe leaves it open
};

class Classification : public Task {
 public:
  /// The model alone: for tests and timings.
  Classification(const Recipe& recipe, const ModelSize& size) : Task(recipe), size_(size) {}
  /// For data that a vocabulary frames; call fit() before the model is built.
  Classification(const Recipe& recipe, data::Vocabulary vocabulary);
  static std::unique_ptr<Task> open(const Recipe& recipe);
  static std::unique_ptr<Task> reopen(const Recipe& recipe, const data::Metadata& facts, const std::string& path);
  static std::unique_ptr<Task> imagine(const Recipe& recipe, int64_t symbols, int64_t longest);

  /// Inputs: for each tower "tokens" i32[B, N] or "pixels" [B, N], "lengths" i32[B] where rows are padded, "longest"
  /// i32[1] (tower_name); target: "labels" i32[B].
  std::unique_ptr<TaskModel> build(Parameters& parameters, Context& context, DType compute,
                                   const std::string& recompute) const override;
  data::Batch shape(int64_t B, int64_t N) const override;
  Extent extent(const data::Dataset& data) const override;
  /// With sinusoidal positions no more of them than the sets' longest row needs, whatever data.max_length allows.
  void fit(const std::vector<const data::Dataset*>& sets) override;
  /// Error where the vocabulary does not have the data's symbols.
  data::Loader loader(std::shared_ptr<const data::Dataset> data, data::Order order) const override;
  data::Metadata facts() const override;

  data::Dataset read_own(const std::string& path) const override;
  void check(const data::Dataset& data) const override;
  void tell_unseen(const data::Dataset& data) const override;
  std::unique_ptr<Findings> findings(std::shared_ptr<const data::Dataset> data,
                                     const FindingsWanted& wanted) const override;

  const data::Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  bool pixels() const { return recipe_.model.input == "pixels"; }
  void tell_cut(const data::Dataset& data) const;
  data::Vocabulary vocabulary_;
  ModelSize size_;
};

/// The towers of a batch: Classification::build.
std::vector<TowerInput> towers_of(const DeviceBatch& batch, const ModelConfig& model);

}  // namespace selene::train
