#include "train/step/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "data/io/machine.h"
#include "kernels/ceil_div.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "train/folder/log.h"
#include "train/recipe/schema.h"

namespace selene::train {
namespace {

constexpr double kMiB = 1 << 20;
// What a device needs beside our slab: captured graphs and the code of kernels and of the matrix library.
constexpr int64_t kModuleOwn = 256 << 20;
constexpr int64_t kBatches = 16;  // times the recipe's batch: further nobody asks what would fit
constexpr int64_t kPlannedLengths = 96;

void run_dry(Session& session, const std::vector<data::Batch>& shapes, bool training) {
  for (const data::Batch& batch : shapes) {
    if (training) session.micro_batch(batch, 0);
    session.evaluate(batch);
  }
}

int64_t longest_of(const Task& task, const std::vector<const data::Dataset*>& sets) {
  int64_t longest = 1;
  for (const data::Dataset* d : sets) longest = std::max(longest, task.extent(*d).longest);
  return longest;
}

}  // namespace

MemoryPlan plan_memory(const Task& task, const std::vector<data::Batch>& shapes, bool training, const Backend* module,
                       std::vector<std::string>* largest) {
  Session dry(task, Context::dry(module), training);
  run_dry(dry, shapes, training);
  const MemoryPlan plan = dry.context().plan();
  if (largest) {
    Session again(task, Context::dry(module), training);
    again.context().step().note_at(plan.step);
    run_dry(again, shapes, training);
    *largest = again.context().step().noted();
  }
  return plan;
}

MemoryPlan with_room(MemoryPlan plan) {
  plan.step += plan.step / 8;
  return plan;
}

std::vector<data::Batch> planned_shapes(const Task& task, const std::vector<const data::Dataset*>& sets) {
  const int64_t longest = longest_of(task, sets), batch_size = task.recipe().train.batch_size;
  // A shorter batch has other blocks, which may leave other gaps: look at every length where there are few, the
  // longest last, and at the incomplete batch that ends an epoch.
  std::set<int64_t> sizes;
  for (const data::Dataset* d : sets) {
    const int64_t examples = task.extent(*d).examples;
    for (const int64_t B : {examples % batch_size, std::min(examples, batch_size)})
      if (B > 0) sizes.insert(B);
  }
  std::vector<data::Batch> shapes;
  const int64_t lengths = std::min<int64_t>(longest, kPlannedLengths);
  for (int64_t i = 1; i <= lengths; ++i)
    for (const int64_t B : sizes) shapes.push_back(task.shape(B, ceil_div(longest * i, lengths)));
  return shapes;
}

int64_t largest_batch(const Task& task, int64_t N, int64_t most, int64_t bytes, const Backend* module) {
  const auto fits = [&](int64_t B) {
    return with_room(plan_memory(task, {task.shape(B, N)}, true, module)).total() <= bytes;
  };
  if (fits(most)) return most;
  int64_t good = 0, bad = most;
  while (bad - good > 1) (fits((good + bad) / 2) ? good : bad) = (good + bad) / 2;
  return good;
}

MemoryPlan tell_plan(const Task& task, const std::vector<const data::Dataset*>& sets, const Backend* module) {
  const std::vector<data::Batch> shapes = planned_shapes(task, sets);
  std::vector<std::string> largest;
  const MemoryPlan plan = with_room(plan_memory(task, shapes, true, module, &largest));
  log_info(fmt::format(
      "memory: {:.1f} MiB for parameters, gradients and optimiser, {:.1f} MiB for a step, {:.1f} MiB in all",
      double(plan.persistent) / kMiB, double(plan.step) / kMiB, double(plan.total()) / kMiB));
  const data::UsableMemory usable = data::usable_memory();
  const int64_t has = module ? module->info().free - kModuleOwn : usable.bytes;
  const char* place = module ? "device" : usable.limit;
  const int64_t N = longest_of(task, sets), tried = kBatches * shapes.back().B;
  const int64_t most = largest_batch(task, N, tried, has, module);
  log_info("memory: the largest tensors of a step are " + join(largest, ", "));
  log_info(fmt::format("memory: the {} has {:.0f} MiB left; at {} tokens train.batch_size can be {} {}", place,
                       double(has) / kMiB, N, most, most == tried ? "and more" : "at most"));
  if (plan.total() <= has) return plan;
  throw Error(fmt::format(
      "the run needs {:.0f} MiB of memory, the {} has {:.0f} MiB left; {}", double(plan.total()) / kMiB, place,
      double(has) / kMiB,
      most ? fmt::format("train.batch_size {} would fit (train.accumulation keeps the update the same), or a lower "
                         "data.max_length, or train.recompute: layers",
                         most)
           : "not even one example fits: lower data.max_length, set train.recompute: layers, or make the model "
             "smaller"));
}

}  // namespace selene::train
