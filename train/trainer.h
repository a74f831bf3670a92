// One training run: data, model, loop, validation, checkpoints, resuming.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "data/loader.h"
#include "engine/module.h"
#include "train/checkpoint_files.h"
#include "train/metrics.h"
#include "train/session.h"

namespace selene::train {

struct RunOptions {
  std::string out;              // run folder; empty: runs/<recipe name>
  std::string resume = "auto";  // auto: newest checkpoint that verifies | none: start anew | a checkpoint file
  std::string device = "auto";  // auto | cpu | cuda
  bool dry_run = false;         // check, plan, print; train nothing
  int64_t profile = 0;          // updates to time operation by operation; 0 = off
};

/// What a finished or interrupted run says.
struct RunResult {
  int64_t update = 0;
  bool interrupted = false;  // by SIGTERM or SIGINT, after a checkpoint was written
  std::string checkpoint;    // the last one written or resumed from
};

/// Trains as the recipe says. Errors leave the last durable checkpoint in place.
RunResult train(const Recipe& recipe, const RunOptions& options);

/// Sets flags only; the loop finishes its step, writes a checkpoint and returns.
void catch_signals();

/// The examples of a recipe's data set as its model sees them.
struct TaskData {
  std::shared_ptr<const data::Dataset> train, valid, test;  // null where not asked for
  data::Vocabulary vocabulary;
  ModelSize size;
};
/// Reads the splits; the vocabulary comes from the training set. Error names the file.
TaskData load_task(const Recipe& recipe);
/// Batch shapes a run meets, for the memory plan; the last one is the longest.
std::vector<data::Batch> planned_shapes(const Recipe& recipe, const std::vector<const data::Dataset*>& sets,
                                        const data::Vocabulary& vocabulary);
/// Rows of a split in file order, at most `examples` of them (0: all), for validation and tests.
data::Loader file_order(std::shared_ptr<const data::Dataset> data, const data::Vocabulary& vocabulary,
                        const Recipe& recipe, int64_t batch_size);

/// Accuracy and mean loss of a data set, with the session's model. `on_batch` (may be empty) sees every batch with
/// its logits.
struct Score {
  double loss = 0, accuracy = 0;
  int64_t examples = 0;
  double seconds = 0;
};
using OnBatch = std::function<void(const data::Batch&, const std::vector<float>& logits)>;
Score score(Session& session, const data::Loader& loader, int64_t examples, int64_t prefetch,
            const OnBatch& on_batch = {});

}  // namespace selene::train
