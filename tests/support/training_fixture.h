// Tiny training sessions for tests.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "train/step/memory_plan.h"
#include "train/tasks/classification.h"

namespace selene::testing {

/// A recipe around a model, with Adam, clipping and dropout keys of its own.
train::Recipe small_recipe(const ModelConfig& model);
/// Classification as small data would make it: 9 symbols, 5 classes, at most 20 positions unless the model says
/// otherwise.
std::unique_ptr<train::Task> small_task(const train::Recipe& recipe);
/// B examples of random symbols; the first has N, the others fewer. A pure function of its arguments.
data::Batch random_batch(const ModelConfig& model, int64_t B, int64_t N, uint64_t seed);
/// A session of small_task on a device (null: the CPU) in a context of just the planned size for batches of B x N.
/// Its task lives as long as the program.
std::unique_ptr<train::Session> small_session(const train::Recipe& recipe, int64_t B, int64_t N,
                                              const Backend* module = nullptr, train::Group group = {});
/// Logits of a batch, in host memory.
std::vector<float> logits_of(train::Session& session, const data::Batch& batch);
/// One update: every micro-batch from `batches` (one for each), then the optimiser.
void update(train::Session& session, const std::vector<data::Batch>& batches, int64_t finished);

/// Bits of a flat buffer.
std::vector<float> floats(train::Session& session, const Tensor& flat);
/// Parameters, their compute copy and the optimiser's buffers: everything that an update changes.
std::vector<std::vector<float>> state_of(train::Session& session);

}  // namespace selene::testing
