// One training run: data, model, loop, validation, checkpoints, resuming.
#pragma once
#include <string>

#include "train/recipe/recipe.h"

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

}  // namespace selene::train
