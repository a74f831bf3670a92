// selene-bench: what kernels and training steps cost, with the physical floor beside each time.
#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/threads.h"
#include "kernels/error.h"
#include "tools/program.h"
#include "train/floor.h"

using namespace selene;

namespace {

struct Arguments {
  std::vector<std::string> models{"luna-16", "transformer"}, precisions{"fp32"};
  std::vector<int64_t> lengths{1024};
  int64_t batch = 4, layers = 4, dim = 256, ffn = 1024, heads = 4, symbols = 260, steps = 10, threads = 2;
  bool json = false;
};

double load_average() {
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  return load;
}

double resident_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

double seconds_of(const std::function<void()>& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Recipe step_recipe(const Arguments& a, const std::string& model, const std::string& precision) {
  Recipe r;
  r.model.name = model.substr(0, model.find('-'));
  if (model.find('-') != std::string::npos) r.model.projection_length = std::stoll(model.substr(model.find('-') + 1));
  r.model.layers = a.layers, r.model.dim = a.dim, r.model.ffn_dim = a.ffn, r.model.heads = a.heads;
  r.model.tie_kv = true;
  r.model.dropout = r.model.attention_dropout = r.model.activation_dropout = 0.1;
  r.train.precision = precision;
  return r;
}

data::Batch random_batch(int64_t B, int64_t N, int64_t symbols, const ModelConfig& model) {
  data::Batch batch = train::shape_batch(B, N, model);
  for (size_t i = 0; i < batch.towers[0].tokens.size(); ++i)
    batch.towers[0].tokens[i] = int32_t(4 + i * 7919 % size_t(symbols - 4));
  return batch;
}

struct Step {
  Step(const Arguments& a, const Recipe& recipe, const train::ModelSize& size, const data::Batch& inputs)
      : plan(train::Session::plan(recipe, size, {inputs}, true)),
        session(recipe, size, std::make_unique<Context>(plan), true),
        batch(inputs),
        examples(double(a.batch)) {}
  void operator()() {
    session.set_step(0, 0, examples);
    session.micro_batch(batch, 0);
    session.optimizer().step();
  }
  MemoryPlan plan;
  train::Session session;
  const data::Batch& batch;
  double examples;
};

struct OperationRow {
  double seconds = 0;
  int64_t calls = 0;
};

std::map<std::string, OperationRow> least_of_operations(const Arguments& a, const Recipe& recipe,
                                                        const train::ModelSize& size, const data::Batch& batch) {
  Step step(a, recipe, size, batch);
  step();
  struct Call {
    std::string name;
    double least = 1e30;
  };
  std::vector<Call> calls;
  size_t at = 0;
  step.session.context().stream().observer = [&](Operation operation, DType dtype, double s, const void*) {
    if (at == calls.size()) calls.push_back({fmt::format("{} {}", name_of(operation), name_of(dtype))});
    calls[at].least = std::min(calls[at].least, s), ++at;
  };
  for (int64_t i = 0; i < a.steps; ++i) at = 0, step();
  std::map<std::string, OperationRow> rows;
  for (const Call& c : calls) rows[c.name].seconds += c.least, ++rows[c.name].calls;
  return rows;
}

// One line of `selene-bench step`. The floor is measured between the steps, so that both see the same machine.
void bench_step(const Arguments& a, const std::string& model, int64_t N, const std::string& precision) {
  const Recipe recipe = step_recipe(a, model, precision);
  const train::ModelSize size{{a.symbols, 1}, 10, N};
  const data::Batch batch = random_batch(a.batch, N, a.symbols, recipe.model);
  const std::vector<train::Product> products = train::products_of_step(recipe, size, batch);
  Step step(a, recipe, size, batch);
  step();
  const double rss = resident_mib();
  std::vector<double> times, floors;
  train::Floor floor;
  for (int64_t i = 0; i < a.steps; ++i) {
    times.push_back(seconds_of([&] { step(); }));
    if (i % 3 == 0) floor = train::measure_floor(products, 2), floors.push_back(floor.seconds);
  }
  std::sort(times.begin(), times.end());
  const double best = times[0], least = *std::min_element(floors.begin(), floors.end()),
               slab = double(step.plan.total()) / (1 << 20);
  if (a.json) {
    const nlohmann::ordered_json j{{"model", model},
                                   {"length", N},
                                   {"dtype", precision},
                                   {"floor_ms", least * 1e3},
                                   {"step_ms", best * 1e3},
                                   {"floor_ratio", best / least},
                                   {"flops", floor.flops},
                                   {"slab_mib", slab},
                                   {"rss_mib", rss},
                                   {"batch", a.batch},
                                   {"step_median_ms", times[times.size() / 2] * 1e3},
                                   {"ns_per_token", best * 1e9 / double(N * a.batch)},
                                   {"threads", a.threads},
                                   {"load", load_average()}};
    fmt::print("{}\n", j.dump());
  } else {
    fmt::print(
        "{:12} {:>7} x {:<3} {:5} step {:9.1f} ms (median {:9.1f})  floor {:9.1f} ms  ratio {:5.2f}  {:7.1f} GFLOP/s "
        " "
        "slab {:7.1f} MiB  resident {:7.1f} MiB  load {:.1f}\n",
        model, N, a.batch, precision, best * 1e3, times[times.size() / 2] * 1e3, least * 1e3, best / least,
        floor.flops / best / 1e9, slab, rss, load_average());
  }
  fflush(stdout);
}

// The operations of a step, each call at its least over the steps, and then every matrix product of it alone.
void bench_kernels(const Arguments& a, const std::string& model, int64_t N, const std::string& precision) {
  const Recipe recipe = step_recipe(a, model, precision);
  const train::ModelSize size{{a.symbols, 1}, 10, N};
  const data::Batch batch = random_batch(a.batch, N, a.symbols, recipe.model);
  fmt::print("{} {} x {} {}, {} threads, load {:.1f}\n", model, a.batch, N, precision, a.threads, load_average());
  for (const auto& [name, row] : least_of_operations(a, recipe, size, batch))
    fmt::print("  {:24} {:5} calls {:9.3f} ms\n", name, row.calls, row.seconds * 1e3);
  for (const train::Product& p : train::products_of_step(recipe, size, batch)) {
    const double s = train::best_seconds(p, int(a.steps));
    fmt::print("  {:4} x {:5} x {:5} x {:5} {}{}{} {:4} calls {:9.3f} ms {:8.1f} GFLOP/s\n", p.batch, p.M, p.N, p.K,
               p.trans_a ? 'T' : 'N', p.trans_b ? 'T' : 'N', p.c_is_acc ? "+" : " ", p.calls, s * 1e3,
               p.flops() / s / 1e9);
  }
}

// Empty when it is a model's name, else what is wrong (the library's convention).
std::string check_model(const std::string& name) {
  if (name == "transformer") return "";
  const bool luna = name.starts_with("luna-") && name.size() > 5 && name.size() < 12 && name[5] != '0' &&
                    name.find_first_not_of("0123456789", 5) == name.npos;
  return luna ? "" : "model is '" + name + "', wanted transformer or luna-L with L >= 1 rows of P";
}

void declare(CLI::App& app, CLI::App* command, Arguments& a) {
  command->add_option("--model", a.models, "luna-L or transformer; several")
      ->capture_default_str()
      ->check(check_model);
  command->add_option("--length", a.lengths, "tokens; several")
      ->capture_default_str()
      ->check(CLI::Range(int64_t(1), int64_t(1) << 24));
  command->add_option("--precision", a.precisions, "fp32, bf16; several")
      ->capture_default_str()
      ->check(CLI::IsMember({"fp32", "bf16"}));
  command->add_option("--batch", a.batch, "examples")
      ->capture_default_str()
      ->check(CLI::Range(int64_t(1), int64_t(1) << 24));
  command->add_option("--layers", a.layers)->capture_default_str()->check(CLI::Range(int64_t(1), int64_t(1) << 24));
  command->add_option("--dim", a.dim)->capture_default_str()->check(CLI::Range(int64_t(1), int64_t(1) << 24));
  command->add_option("--ffn", a.ffn)->capture_default_str()->check(CLI::Range(int64_t(1), int64_t(1) << 24));
  command->add_option("--heads", a.heads)->capture_default_str()->check(CLI::Range(int64_t(1), int64_t(1) << 24));
  command->add_option("--symbols", a.symbols)->capture_default_str()->check(CLI::Range(int64_t(8), int64_t(1) << 24));
  command->add_option("--steps", a.steps, "timed repetitions; the least counts")
      ->capture_default_str()
      ->check(CLI::Range(int64_t(1), int64_t(1) << 24));
  command->add_option("--threads", a.threads)->capture_default_str()->check(CLI::Range(1, 4096));
  app.require_subcommand(1);
}

}  // namespace

int main(int argc, char** argv) {
  calm_threads(argv);
  CLI::App app{"Times kernels and training steps beside their floor: the matrix products of the same step alone.",
               "selene-bench"};
  app.footer(
      "Example: selene-bench step --model luna-16 transformer --length 1024 2048 --precision fp32 bf16 --json");
  Arguments a;
  CLI::App* step = app.add_subcommand("step", "a training step: forward, backward, Adam");
  CLI::App* kernels =
      app.add_subcommand("kernels", "every operation of that step, and each of its matrix products alone");
  declare(app, step, a), declare(app, kernels, a);
  step->add_flag("--json", a.json, "one object per line");
  return run_program(app, argc, argv, [&] {
    omp_set_num_threads(int(a.threads));
    for (const std::string& model : a.models)
      for (const int64_t N : a.lengths)
        for (const std::string& precision : a.precisions)
          *step ? bench_step(a, model, N, precision) : bench_kernels(a, model, N, precision);
    return 0;
  });
}
