// A model's measures on a data set.
#pragma once
#include <functional>

#include "train/step/session.h"

namespace selene::train {

struct Score {
  LossSums sums{};  // what the task's measures are made from
  int64_t examples = 0;
  double seconds = 0;
  double examples_per_s() const { return double(examples) / seconds; }
};

/// Evaluates every example of a data set, in file order, or the first `examples` where that is not 0. `on_batch` (may
/// be empty) sees every batch with the model's outputs in device memory. The session's loss sums are as before.
/// Throws data::Interrupted where a signal came, Error where the data's file was changed.
using OnBatch = std::function<void(const data::Batch&, const Tensor& outputs)>;
Score score(Session& session, const std::shared_ptr<const data::Dataset>& data, int64_t examples = 0,
            const OnBatch& on_batch = {});

}  // namespace selene::train
