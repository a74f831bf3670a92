// One training run: data, model, loop, validation, checkpoints, resuming.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "data/loader.h"
#include "engine/backend.h"
#include "train/folder/checkpoint_files.h"
#include "train/folder/metrics.h"
#include "train/step/session.h"

namespace selene::train {

struct RunOptions {
  std::string out;              // run folder; empty: runs/<recipe name>
  std::string resume = "auto";  // auto: newest checkpoint that verifies | none: start anew | a checkpoint file
  std::string device = "auto";  // auto | cpu | cuda
  bool dry_run = false;         // check, plan, print; train nothing
  bool graph = true;            // capture steps and replay them; false: launch each operation, for debugging
  int64_t profile = 0;          // updates to time operation by operation; 0 = off
};

/// What a finished or interrupted run says.
struct RunResult {
  int64_t update = 0;
  bool finished = false;  // all updates are done, or it stopped early as the recipe says
  bool interrupted =
      false;               // by a signal (data/io/stop.h), after a checkpoint was written; perhaps in the final test
  std::string checkpoint;  // the last one written or resumed from
};

/// Trains as the recipe says and, at the end, tests the best checkpoint where the data has a test split. A
/// signal (data/io/stop.h) finishes the step, or leaves the validation or the test, and a checkpoint is written.
/// Errors leave the last durable checkpoint in place, among them: the run folder is in use by another process, or is
/// a folder of something else.
RunResult train(const Recipe& recipe, const RunOptions& options);

/// The examples of a recipe's data set as its model sees them.
struct TaskData {
  std::shared_ptr<const data::Dataset> train, valid, test;  // test: null where the folder has none
  data::Vocabulary vocabulary;
  ModelSize size;
};
/// Reads the splits; the vocabulary comes from the training set. Error names the file: also where a split is not of
/// the training set's making (options of selene-prepare, size of images).
TaskData load_task(const Recipe& recipe);
/// Batch shapes a run meets, for the memory plan; the last one is the longest.
std::vector<data::Batch> planned_shapes(const Recipe& recipe, const std::vector<const data::Dataset*>& sets,
                                        const data::Vocabulary& vocabulary);
/// What the model must be built for, to read these sets (at least one): with sinusoidal positions no more of them
/// than their longest row needs, whatever data.max_length allows.
ModelSize model_size(const Recipe& recipe, const data::Vocabulary& vocabulary,
                     const std::vector<const data::Dataset*>& sets);
/// How the recipe's batches are made.
data::LoaderOptions loader_options(const Recipe& recipe, int64_t batch_size, data::Order order);
/// Rows of a split in file order, at most `examples` of them (0: all), for validation and tests.
data::Loader file_order(std::shared_ptr<const data::Dataset> data, const data::Vocabulary& vocabulary,
                        const Recipe& recipe, int64_t batch_size);

/// Accuracy and mean loss of a data set (of the true labels, whatever train.label_smoothing is), with the session's
/// model. `on_batch` (may be empty) sees every batch with its logits. Throws data::Interrupted where a signal came,
/// Error where the data's file was changed; the session's loss sums are then as before.
struct Score {
  double loss = 0, accuracy = 0;
  int64_t examples = 0;
  double seconds = 0;
};
using OnBatch = std::function<void(const data::Batch&, const std::vector<float>& logits)>;
Score score(Session& session, const data::Loader& loader, int64_t examples, int64_t prefetch,
            const OnBatch& on_batch = {});

}  // namespace selene::train
