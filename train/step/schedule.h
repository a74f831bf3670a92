// Learning-rate schedules as pure functions of the number of finished updates: fairseq's (optim/lr_scheduler/*,
// as in the Luna release) and those of the Long Range Arena (Tay et al. 2021, train_utils.py).
#pragma once
#include "train/recipe/recipe.h"

namespace selene::train {

/// Learning rate for the update that follows `u` finished ones. `peak`: optim.lr. `updates`: train.updates, the end
/// of a decay whose `total` is 0. Error for an unknown name.
double learning_rate(const ScheduleConfig& schedule, double peak, int64_t updates, int64_t u);

}  // namespace selene::train
