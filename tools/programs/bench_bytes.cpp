// What a training step reads and writes, counted on a dry run: any size, on a machine without a GPU too.
#include <fmt/format.h>

#include <map>

#include "autograd/ops.h"
#include "autograd/with_dtype.h"
#include "kernels/matmul.h"
#include "tools/programs/bench.h"
#include "train/measure/cost.h"
#include "train/step/memory_plan.h"
#include "train/step/step_graphs.h"

namespace selene::bench {
namespace {

constexpr double kMiB = 1 << 20;

struct Row {
  int64_t launches = 0;
  double bytes = 0, far = 0;  // far: in tensors larger than chunks that a GPU's second cache keeps
  Row& operator+=(const Row& o) { return launches += o.launches, bytes += o.bytes, far += o.far, *this; }
};

using Rows = std::map<std::pair<std::string, std::string>, Row>;  // by operation and element type

const Storage* block_of(Context& context, const void* at) {
  for (Arena* arena : {&context.step(), &context.persistent(), &context.state()})
    if (const Storage* block = arena->block_at(at)) return block;
  return nullptr;
}

// The sums for a bias are a pass over A of their own.
std::vector<train::Operand> summed_operand(Operation operation, DType dtype, const void* arguments) {
  if (operation != Operation::Matmul) return {};
  return with_dtype(dtype, [&]<class T>() -> std::vector<train::Operand> {
    const auto& m = *static_cast<const Matmul<T>*>(arguments);
    if (!m.sums_a) return {};
    return {{m.a, double(m.M) * double(m.K) * double(sizeof(T))}};
  });
}

Rows rows_of_step(const train::Task& task, const data::Batch& batch, const Backend* module) {
  train::Session session(task, Context::dry(module), true);
  Context& context = session.context();
  Rows rows;
  const auto count = [&](const std::string& name, DType dtype, const std::vector<train::Operand>& operands) {
    Row row{1};
    for (const train::Operand& o : operands) {
      const Storage* block = o.bytes > 0 ? block_of(context, o.at) : nullptr;
      row.bytes += o.bytes, row.far += block && block->bytes > kHiddenBytes ? o.bytes : 0;
    }
    rows[{name, name_of(dtype)}] += row;
  };
  context.stream().observer = [&](Operation operation, DType dtype, double, const void* arguments) {
    const std::string name = name_of(operation);
    count(name, dtype, train::operands_of(operation, dtype, arguments));
    const std::vector<train::Operand> sums = summed_operand(operation, dtype, arguments);
    if (!sums.empty()) count(name + ", sums for biases", dtype, sums);
  };
  train::StepGraphs graphs(session, false);
  session.set_step(0, 0, batch.sample_size);
  graphs.micro_batch(batch, 0);
  graphs.optimizer_step();
  return rows;
}

}  // namespace

void bytes(const Arguments& a, const train::Recipe& recipe, int64_t N, const Backend* module) {
  const auto task = train::imagine_task(recipe, a.symbols, N);
  const data::Batch batch = task->shape(a.batch ? a.batch : recipe.train.batch_size, N);
  const Rows rows = rows_of_step(*task, batch, module);
  Row all;
  for (const auto& [key, row] : rows) all += row;
  const std::string model = label_of(recipe);
  const double slab = double(train::plan_memory(*task, {batch}, true, module).total()) / kMiB;
  if (!a.json)
    fmt::print("{} {} x {} {}, slab {:.1f} MiB\n  {:40} {:>8} {:>9} {:>6} {:>18}\n", model, batch.B, N,
               recipe.train.precision, slab, "operation", "launches", "MiB", "%", "MiB beyond 16 MiB");
  const auto print = [&](const std::string& name, const std::string& dtype, const Row& row) {
    if (a.json)
      fmt::print("{}\n", data::Json{{"model", model},
                                    {"length", N},
                                    {"batch", batch.B},
                                    {"operation", name},
                                    {"dtype", dtype},
                                    {"launches", row.launches},
                                    {"bytes", row.bytes},
                                    {"far_bytes", row.far},
                                    {"slab_mib", slab}}
                             .dump());
    else
      fmt::print("  {:40} {:8} {:9.1f} {:6.1f} {:18.1f}\n", name + " " + dtype, row.launches, row.bytes / kMiB,
                 100 * row.bytes / all.bytes, row.far / kMiB);
  };
  for (const auto& [key, row] : rows) print(key.first, key.second, row);
  print("all", "", all);
}

}  // namespace selene::bench
