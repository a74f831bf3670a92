// What a run carries from one checkpoint to the next beside the tensors, and how both get into a file and back.
#pragma once
#include <string>

#include "train/folder/checkpoint_files.h"
#include "train/step/session.h"

namespace selene::train {

struct RunState {
  int64_t update = 0;     // finished updates: sampler position and Philox counters follow from it
  UpdateState scaling{};  // the device's: loss scale and counters
  LossSums sums{};        // of the logging interval that is under way
  bool has_best = false;
  double best = 0;  // of train.best_metric
  int64_t best_update = 0, worse_validations = 0;
  double wall_s = 0;                              // seconds of training so far
  bool validation_due = false;                    // of this very update: a checkpoint is written before it
  std::string train_data, valid_data, test_data;  // Dataset::digest; test_data: empty where there is none
};

/// Writes parameters (under their names), the optimiser's buffers ("optimizer.BUFFER.NAME"), recipe, state and the
/// task's facts; returns the path.
std::string save_run(const std::string& folder, Session& session, const RunState& state);

/// The state in a checkpoint. Error where it is not of that update, or of a recipe that differs in more than resuming
/// allows (names the keys).
RunState state_of(const Checkpoint& checkpoint, const Recipe& recipe);
/// The inverse: parameters, the optimiser's tensors and that state into the session. Error when the checkpoint is of
/// another model (names, shapes).
void restore_run(const Checkpoint& checkpoint, const RunState& state, Session& session);
/// Only the parameters, from a checkpoint or a plain weight file; every parameter must be there.
void load_weights(const data::SafetensorsFile& file, Session& session);

/// Error unless the file has every parameter, with its shape: before memory is taken for a model that it may not be.
void need_weights(const data::SafetensorsFile& file, const Parameters& parameters);

/// "x86-64-v4", "x86-64-v3" or "x86-64": the instruction set the kernels use on this machine; same bits are promised
/// within one.
std::string instruction_set();

}  // namespace selene::train
