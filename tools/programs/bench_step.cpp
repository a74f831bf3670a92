// Training steps and the operations in them, with the floor beside each time.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>

#include "autograd/with_dtype.h"
#include "data/io/json.h"
#include "kernels/matmul.h"
#include "models/registry.h"
#include "tools/programs/bench.h"
#include "train/measure/cost.h"
#include "train/measure/floor.h"
#include "train/step/memory_plan.h"
#include "train/step/step_graphs.h"

namespace selene::bench {
namespace {

double resident_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

struct Step {
  Step(const train::Task& task, const data::Batch& inputs, const Backend* module, bool graph)
      : plan(train::plan_memory(task, {inputs}, true, module)),
        session(task, std::make_unique<Context>(plan, module), true),
        graphs(session, graph),
        batch(inputs) {}
  void operator()() {
    session.set_step(0, 0, batch.sample_size);
    graphs.micro_batch(batch, 0);
    graphs.optimizer_step();
    session.context().stream().synchronize();
  }
  MemoryPlan plan;
  train::Session session;
  train::StepGraphs graphs;
  const data::Batch& batch;
};

struct OperationRow {
  DType dtype;
  double seconds = 0;
  int64_t calls = 0;
  train::Cost cost;
  data::Json fallbacks = {};
};

// Every call at its least over the steps.
std::map<std::string, OperationRow> least_of_operations(const Arguments& a, const train::Task& task,
                                                        const data::Batch& batch, const Backend* module) {
  Step step(task, batch, module, false);
  step();
  struct Call {
    Operation operation;
    DType dtype;
    train::Cost cost;
    double least = 1e30;
  };
  std::vector<Call> calls;
  size_t at = 0;
  step.session.context().stream().observer = [&](Operation operation, DType dtype, double s, const void* arguments) {
    if (at == calls.size()) calls.push_back({operation, dtype, train::cost_of(operation, dtype, arguments)});
    calls[at].least = std::min(calls[at].least, s), ++at;
  };
  for (int64_t i = 0; i < a.steps; ++i) at = 0, step();
  std::map<std::string, OperationRow> rows;
  for (const Call& c : calls) {
    OperationRow& row = rows[fmt::format("{} {}", name_of(c.operation), name_of(c.dtype))];
    row.dtype = c.dtype, row.seconds += c.least, ++row.calls, row.cost += c.cost;
    row.fallbacks = fallbacks_of(step.session.context().stream(), c.operation, c.dtype);
  }
  return rows;
}

// What all launches of one step cost at least.
train::Cost cost_of_step(Step& step) {
  train::Cost cost;
  Stream& stream = step.session.context().stream();
  stream.observer = [&](Operation operation, DType dtype, double, const void* arguments) {
    cost += train::cost_of(operation, dtype, arguments);
  };
  step();
  stream.observer = nullptr;
  return cost;
}

struct PlanRow {
  std::string product;
  DType dtype;
  ProductPlan plan;
  int64_t calls;
};

// "131072 x 256 x 1024 NT bias": M x N x K, whether A and B are transposed, and what happens on the way to memory.
template <class T>
std::string product_text(const Matmul<T>& m) {
  std::string text = fmt::format("{} x {} x {} {}{}", m.M, m.N, m.K, m.trans_a ? 'T' : 'N', m.trans_b ? 'T' : 'N');
  if (m.outer * m.inner > 1) text = fmt::format("{} of {}", m.outer * m.inner, text);
  if (m.bias) text += " bias";
  if (m.epilogue == Epilogue::gelu) text += " gelu";
  if (m.epilogue == Epilogue::gelu_gradient) text += " gelu'";
  if (m.accumulate) text += " added";
  if (m.c_is_acc) text += " to fp32";
  return text;
}

void print_plan(const Arguments& a, const std::string& model, int64_t N, const PlanRow& row) {
  const ProductPlan& plan = row.plan;
  if (a.json)
    fmt::print("{}\n", data::Json{{"model", model},
                                  {"length", N},
                                  {"product", row.product},
                                  {"dtype", name_of(row.dtype)},
                                  {"calls", row.calls},
                                  {"found", plan.found != 0},
                                  {"algorithm", plan.algorithm},
                                  {"tile", plan.tile},
                                  {"stages", plan.stages},
                                  {"waves", plan.waves},
                                  {"split_k", plan.split_k},
                                  {"workspace", plan.workspace}}
                           .dump());
  else if (!plan.found)
    fmt::print("  {:40} {:5} {:3} calls: the library has nothing for it\n", row.product, name_of(row.dtype),
               row.calls);
  else
    fmt::print(
        "  {:40} {:5} {:3} calls: algorithm {:3}, tile {:8} stages {:3}, {:6.2f} waves, split-K {:3}, "
        "workspace {} bytes\n",
        row.product, name_of(row.dtype), row.calls, plan.algorithm, plan.tile, plan.stages, plan.waves, plan.split_k,
        plan.workspace);
}

}  // namespace

data::Json fallbacks_of(const Stream& stream) {
  data::Json::List all;
  for (const Fallback& f : stream.fallbacks())
    all.push_back({{"operation", name_of(f.operation)},
                   {"dtype", name_of(f.dtype)},
                   {"shape", f.shape},
                   {"reason", f.reason},
                   {"calls", f.calls}});
  return all;
}

data::Json fallbacks_of(const Stream& stream, Operation operation, DType dtype) {
  data::Json::List some;
  const data::Json all = fallbacks_of(stream);
  for (const data::Json& f : *all.list())
    if (*f.at("operation").text() == name_of(operation) && *f.at("dtype").text() == name_of(dtype)) some.push_back(f);
  return some;
}

void print_fallbacks(const data::Json& fallbacks) {
  for (const data::Json& f : *fallbacks.list())
    fmt::print("  slower kernels: {} {} {}: {}\n", *f.at("operation").text(), *f.at("dtype").text(),
               *f.at("shape").text(), *f.at("reason").text());
}

std::string label_of(const train::Recipe& recipe) {
  return attention_label(recipe.model.attention, [&](const std::string& key) {
    return std::to_string(recipe.model.own.get<int64_t>(key.substr(key.find('.') + 1)));
  });
}

double load_average() {
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  return load;
}

double seconds_of(const std::function<void()>& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

data::Batch random_batch(const train::Task& task, int64_t B, int64_t N, int64_t symbols) {
  data::Batch batch = task.shape(B, N);
  std::vector<int32_t>& tokens = batch.inputs[0].integers;  // empty where the model reads pixels
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = int32_t(4 + i * 7919 % size_t(symbols - 4));
  return batch;
}

// The floor is measured between the steps, so that both see the same machine. On the CPU it is the step's matrix
// products alone; on a device the larger of bytes over copy speed and operations over the speed of a large product.
void step(const Arguments& a, const train::Recipe& recipe, int64_t N, const Backend* module) {
  const std::string model = label_of(recipe), &precision = recipe.train.precision;
  const auto task = train::imagine_task(recipe, a.symbols, N);
  const data::Batch batch = random_batch(*task, a.batch ? a.batch : recipe.train.batch_size, N, a.symbols);
  const std::vector<train::Product> products = train::products_of_step(*task, batch);
  Step step(*task, batch, module, a.graph);
  train::Cost cost = cost_of_step(step);  // also warms up
  for (int i = 0; i < 2; ++i) step();
  const double rss = resident_mib();
  std::vector<double> times;
  double floor = 1e30;
  for (int64_t i = 0; i < a.steps; ++i) {
    times.push_back(seconds_of([&] { step(); }));
    if (i % 3 || (module && i)) continue;
    if (module) {
      const Ceilings c = measure_ceilings(train::compute_type(precision), module);
      floor = std::max(cost.bytes / c.copy_bytes_per_s, cost.flops / c.flops_per_s);
    } else {
      floor = std::min(floor, train::measure_floor(products, 2).seconds);
    }
  }
  std::sort(times.begin(), times.end());
  const double best = times[0], median = times[times.size() / 2], slab = double(step.plan.total()) / (1 << 20);
  const data::Json fallbacks = fallbacks_of(step.session.context().stream());
  if (a.json) {
    const data::Json j{{"model", model},
                       {"length", N},
                       {"dtype", precision},
                       {"floor_ms", floor * 1e3},
                       {"step_ms", best * 1e3},
                       {"floor_ratio", best / floor},
                       {"flops", cost.flops},
                       {"bytes", cost.bytes},
                       {"slab_mib", slab},
                       {"rss_mib", rss},
                       {"batch", batch.B},
                       {"layers", recipe.model.layers},
                       {"dim", recipe.model.dim},
                       {"ffn", recipe.model.ffn_dim},
                       {"heads", recipe.model.heads},
                       {"step_median_ms", median * 1e3},
                       {"ns_per_token", best * 1e9 / double(N * batch.B)},
                       {"device", module ? module->info().name : "cpu"},
                       {"graph", a.graph},
                       {"recompute", recipe.train.recompute},
                       {"fallbacks", fallbacks},
                       {"threads", a.threads},
                       {"load", load_average()}};
    fmt::print("{}\n", j.dump());
  } else {
    fmt::print(
        "{:12} {:>7} x {:<3} {:5} step {:9.1f} ms (median {:9.1f})  floor {:9.1f} ms  ratio {:5.2f}  {:7.1f} GFLOP/s "
        " "
        "slab {:7.1f} MiB  resident {:7.1f} MiB  load {:.1f}\n",
        model, N, batch.B, precision, best * 1e3, median * 1e3, floor * 1e3, best / floor, cost.flops / best / 1e9,
        slab, rss, load_average());
    print_fallbacks(fallbacks);
  }
  fflush(stdout);
}

// The operations of a step, each call at its least over the steps, and then every matrix product of it alone.
void kernels(const Arguments& a, const train::Recipe& recipe, int64_t N, const Backend* module) {
  const std::string model = label_of(recipe), &precision = recipe.train.precision;
  const auto task = train::imagine_task(recipe, a.symbols, N);
  const data::Batch batch = random_batch(*task, a.batch ? a.batch : recipe.train.batch_size, N, a.symbols);
  if (!a.json) fmt::print("{} {} x {} {}, load {:.1f}\n", model, batch.B, N, precision, load_average());
  for (const auto& [name, row] : least_of_operations(a, *task, batch, module)) {
    const double gb = row.cost.bytes / row.seconds / 1e9, gflop = row.cost.flops / row.seconds / 1e9;
    if (a.json)
      fmt::print("{}\n", data::Json{{"model", model},
                                    {"length", N},
                                    {"batch", batch.B},
                                    {"operation", name.substr(0, name.find(' '))},
                                    {"dtype", name_of(row.dtype)},
                                    {"calls", row.calls},
                                    {"ms", row.seconds * 1e3},
                                    {"bytes", row.cost.bytes},
                                    {"flops", row.cost.flops},
                                    {"gb_s", gb},
                                    {"gflop_s", gflop},
                                    {"fallbacks", row.fallbacks}}
                             .dump());
    else {
      fmt::print("  {:24} {:5} calls {:9.3f} ms {:8.1f} GB/s {:9.1f} GFLOP/s\n", name, row.calls, row.seconds * 1e3,
                 gb, gflop);
      print_fallbacks(row.fallbacks);
    }
  }
  if (a.json) return;
  for (const train::Product& p : train::products_of_step(*task, batch)) {
    const double s = train::best_seconds(p, int(a.steps), module);
    fmt::print("  {:4} x {:5} x {:5} x {:5} {}{}{} {:4} calls {:9.3f} ms {:8.1f} GFLOP/s\n", p.batch, p.M, p.N, p.K,
               p.trans_a ? 'T' : 'N', p.trans_b ? 'T' : 'N', p.c_is_acc ? "+" : " ", p.calls, s * 1e3,
               p.flops() / s / 1e9);
  }
}

// Asked for in a step of its own, whose arguments are those of every step.
void plans(const Arguments& a, const train::Recipe& recipe, int64_t N, const Backend* module) {
  const std::string model = label_of(recipe), &precision = recipe.train.precision;
  const auto task = train::imagine_task(recipe, a.symbols, N);
  const data::Batch batch = random_batch(*task, a.batch ? a.batch : recipe.train.batch_size, N, a.symbols);
  Step step(*task, batch, module, false);
  Stream& stream = step.session.context().stream();
  std::vector<PlanRow> rows;
  stream.observer = [&](Operation operation, DType dtype, double, const void* arguments) {
    if (operation != Operation::Matmul) return;
    with_dtype(dtype, [&]<class T>() {
      const auto& m = *static_cast<const Matmul<T>*>(arguments);
      const PlanRow row{product_text(m), dtype, stream.product_plan(dtype, arguments, sizeof(m)), 0};
      const auto same = [&](const PlanRow& r) { return r.product == row.product && r.dtype == dtype; };
      auto known = std::find_if(rows.begin(), rows.end(), same);
      if (known == rows.end()) known = rows.insert(rows.end(), row);
      ++known->calls;
    });
  };
  step();
  stream.observer = nullptr;
  if (!a.json) fmt::print("{} {} x {} {}\n", model, batch.B, N, precision);
  for (const PlanRow& row : rows) print_plan(a, model, N, row);
}

}  // namespace selene::bench
