// Language modelling of characters: the next symbol of any text, by a causal stack.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "train/tasks/task.h"

namespace selene::train {

/// A text is cut into blocks of data.max_length symbols; the input of a block is the symbol before it and all its
/// symbols but the last, so that every symbol is predicted once. Before the first stands a symbol of its own.
class LanguageModelling : public Task {
 public:
  /// `characters`: data/text/characters.h.
  LanguageModelling(const Recipe& recipe, std::vector<int32_t> characters);
  static std::unique_ptr<Task> open(const Recipe& recipe);
  static std::unique_ptr<Task> reopen(const Recipe& recipe, const data::Metadata& facts, const std::string& path);
  static std::unique_ptr<Task> imagine(const Recipe& recipe, int64_t symbols, int64_t longest);

  /// Inputs "tokens" i32[B, N], "lengths" i32[B]; target "next" i32[B, N], kNoLabel where nothing is to be said.
  std::unique_ptr<TaskModel> build(Parameters& parameters, Context& context, DType compute,
                                   const std::string& recompute) const override;
  data::Batch shape(int64_t B, int64_t N) const override;
  /// Examples are blocks.
  Extent extent(const data::Dataset& data) const override;
  void fit(const std::vector<const data::Dataset*>& sets) override;
  data::Loader loader(std::shared_ptr<const data::Dataset> data, data::Order order) const override;
  data::Dataset first(const data::Dataset& data, int64_t blocks) const override;
  data::Metadata facts() const override;
  data::Dataset read_own(const std::string& path) const override;
  void check(const data::Dataset& data) const override;
  void tell_unseen(const data::Dataset& data) const override;

  /// Symbols of the model: the characters, the unknown one and the one before a text.
  int64_t symbols() const { return int64_t(characters_.size()) + 2; }

 private:
  std::vector<int32_t> characters_;
  int64_t positions_;
};

}  // namespace selene::train
