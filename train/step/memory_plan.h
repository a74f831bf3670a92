// How much memory a run takes: found by running its batches dry, before anything is started.
#pragma once
#include <string>
#include <vector>

#include "train/step/session.h"

namespace selene::train {

/// Exact bytes that training (or only evaluating) with batches of these shapes needs on a device (null: the CPU).
/// With `largest`: the largest tensors of the moment that needs most.
MemoryPlan plan_memory(const Task& task, const std::vector<data::Batch>& shapes, bool training,
                       const Backend* module = nullptr, std::vector<std::string>* largest = nullptr);

/// A plan with an eighth more for a step: batches of lengths between the planned ones have blocks of other sizes,
/// which may leave larger gaps.
MemoryPlan with_room(MemoryPlan plan);

/// Batch shapes that a run over these sets (at least one) meets; the last one is the longest.
std::vector<data::Batch> planned_shapes(const Task& task, const std::vector<const data::Dataset*>& sets);

/// Plans a run over batches of those shapes on a device (null: the CPU) and logs the plan: bytes, largest tensors,
/// the largest batch that fits. Error when the device has less memory than that: nothing is started that cannot
/// finish.
MemoryPlan tell_plan(const Task& task, const std::vector<const data::Dataset*>& sets, const Backend* module);

/// The largest batch size, up to `most`, whose training at N tokens needs at most `bytes` on a device; 0 if not even
/// one example fits.
int64_t largest_batch(const Task& task, int64_t N, int64_t most, int64_t bytes, const Backend* module);

}  // namespace selene::train
