// A task: what is learnt from which data. The trainer, the step and the checkpoints know this interface alone; a new
// task is a file beside this one, a row in task.cpp and one in measures.cpp (docs/adding-a-task.md).
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/tape.h"
#include "data/io/json.h"
#include "data/io/safetensors.h"
#include "data/loader.h"
#include "train/recipe/recipe.h"

namespace selene::train {

/// A batch in device memory: tensors under the names of their arrays, reals in the compute type.
struct DeviceBatch {
  std::vector<std::pair<std::string, Tensor>> tensors;
  /// Error where there is none of that name.
  Tensor at(std::string_view name) const;
  /// Empty where there is none of that name.
  Tensor find(std::string_view name) const;
};

/// What a task has built on a device.
class TaskModel {
 public:
  virtual ~TaskModel() = default;
  struct Result {
    Var loss;     // f64[1]: the sum over what the sample size counts
    Var outputs;  // what the loss is made from, in device memory: logits
  };
  /// Forward pass and loss of a batch; adds to `sums` (LossSums as f64[4]). Reads nothing back. The tape's mode says
  /// whether this is training.
  virtual Result loss(Tape& tape, const DeviceBatch& batch, const Tensor& sums) const = 0;
};

/// Splits of a recipe's data; valid and test may be missing where a data set was given by name.
struct Splits {
  std::shared_ptr<const data::Dataset> train, valid, test;
  /// Those that are there.
  std::vector<const data::Dataset*> all() const;
};
/// The prepared splits of data.path, of a kind: train and valid must be there; that there is no test is logged.
Splits read_splits(const Recipe& recipe);

/// What a program says of an evaluation beside the task's measures, gathered batch by batch.
class Findings {
 public:
  virtual ~Findings() = default;
  /// `outputs`: TaskModel::Result::outputs of the batch.
  virtual void add(const data::Batch& batch, const Tensor& outputs, Context& context) = 0;
  /// After the last batch; Error where the model's answers are no numbers. `train`: the training split beside the
  /// examples, or null.
  virtual void finish(const data::Dataset* train) = 0;
  virtual std::string before_measures() const = 0;  // text for a person, whole lines
  virtual std::string after_measures() const = 0;
  virtual void add_to(data::Json& object) const = 0;
};
struct FindingsWanted {
  std::string model;        // its name in messages
  std::string predictions;  // file with a line an example; empty: none
  bool confusion = false;   // what is taken for what
  bool own = false;         // the examples are a person's own: every answer is told
};

class Task {
 public:
  explicit Task(Recipe recipe) : recipe_(std::move(recipe)) {}
  virtual ~Task() = default;

  /// Declares the model's parameters in `parameters` (which is not allocated yet) and builds it.
  /// recompute: train.recompute, or none.
  virtual std::unique_ptr<TaskModel> build(Parameters& parameters, Context& context, DType compute,
                                           const std::string& recompute) const = 0;

  /// A batch of B examples of N tokens without contents: for plans and timings.
  virtual data::Batch shape(int64_t B, int64_t N) const = 0;
  /// Examples that a data set gives, and tokens of the longest one as the model sees it.
  struct Extent {
    int64_t examples = 0, longest = 0;
  };
  virtual Extent extent(const data::Dataset& data) const = 0;
  /// The model is going to read these sets: what its size depends on is decided now.
  virtual void fit(const std::vector<const data::Dataset*>& sets) = 0;

  /// Batches of train.batch_size examples of a data set.
  virtual data::Loader loader(std::shared_ptr<const data::Dataset> data, data::Order order) const = 0;
  /// The first `count` examples of a data set, at most all.
  virtual data::Dataset first(const data::Dataset& data, int64_t count) const { return data.first(count); }
  /// What a checkpoint must say of the task beside recipe and tensors: metadata by name.
  virtual data::Metadata facts() const { return {}; }

  /// Of examples that are given to a trained model. read_own: a person's own, `path` is a file, "-" stdin. check:
  /// Error where the model was not made for them. tell_unseen: logs what of them the model does not see.
  virtual data::Dataset read_own(const std::string& path) const;
  virtual void check(const data::Dataset&) const {}
  virtual void tell_unseen(const data::Dataset&) const {}
  /// Null where there is nothing to find beside the measures. Error where something is wanted that the task has not.
  virtual std::unique_ptr<Findings> findings(std::shared_ptr<const data::Dataset> data,
                                             const FindingsWanted& wanted) const;

  const Recipe& recipe() const { return recipe_; }
  const Splits& splits() const { return splits_; }

 protected:
  Recipe recipe_;
  Splits splits_;
};

/// Logs that a split was made with other options of selene-prepare than the training set: the same example might be
/// in both.
void tell_other_options(const data::Dataset& split, const data::Dataset& train);

/// The task of a recipe with its data: train and valid must be there, test may. Error names the file: also where a
/// split is not of the training set's making.
std::unique_ptr<Task> open_task(const Recipe& recipe);
/// The task of a recipe without data, for timings: its model knows `symbols` symbols and rows of `longest`.
std::unique_ptr<Task> imagine_task(const Recipe& recipe, int64_t symbols, int64_t longest);
/// The task of a checkpoint, without data: `facts` is the file's metadata, `path` stands in messages.
std::unique_ptr<Task> reopen_task(const Recipe& recipe, const data::Metadata& facts, const std::string& path);

}  // namespace selene::train
