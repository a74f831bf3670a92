// Optimisers, learning-rate schedules (group optim) and clipping (group ops), through the trainer's own Optimizer.
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <string>

#include "kernels/error.h"
#include "tests/golden/session.h"
#include "train/step/optimizer.h"
#include "train/step/schedule.h"

namespace selene::golden {
namespace {

using Numbers = std::vector<float>;

/// Some tensors of a case under one optimiser, with gradients that come from outside.
class Descent {
 public:
  Descent(Session& s, const train::OptimConfig& config, const std::vector<std::string>& start) : session_(s) {
    for (const std::string& name : start) {
      const std::vector<int64_t>& shape = s.golden.tensors.at(name).shape;
      parameters_.add(name, Shape(shape.begin(), shape.end()), {});
    }
    parameters_.allocate(s.context, DType::f32, true, 0, 1);
    for (int i = 0; i < count(); ++i) parameters_.set(s.context, i, s.floats(start[size_t(i)]).data());
    optimizer_ = std::make_unique<train::Optimizer>(config, train::LossScaling{}, parameters_, s.context);
  }
  int count() const { return int(parameters_.count()); }
  void step(int64_t finished, double lr, const std::vector<Numbers>& gradients) {
    for (int i = 0; i < count(); ++i) session_.context.upload(parameters_.gradient(i), gradients[size_t(i)].data());
    StepScalars scalars{};
    optimizer_->scalars(scalars, finished, lr, 1);
    session_.context.set_step(scalars);
    optimizer_->step();
  }
  double norm() { return optimizer_->norm(); }
  const Shape& shape(int i) const { return parameters_[i].shape; }
  Tensor value(int i) const { return parameters_.master(i); }
  Numbers values(int i) const { return session_.context.values<float>(value(i)); }
  Tensor moment1(int i) const { return parameters_.segment(optimizer_->buffers()[0].flat, i); }
  Tensor moment2(int i) const { return parameters_.segment(optimizer_->buffers()[1].flat, i); }

 private:
  Session& session_;
  Parameters parameters_;
  std::unique_ptr<train::Optimizer> optimizer_;
};

std::vector<int64_t> with_steps(int64_t steps, const Shape& shape) {
  std::vector<int64_t> sizes{steps};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  return sizes;
}

Numbers row(const Numbers& table, int64_t index, int64_t width) {
  return {table.begin() + index * width, table.begin() + (index + 1) * width};
}

train::OptimConfig adam(const Case& c) {
  train::OptimConfig config;
  config.beta1 = c.numbers("betas").at(0), config.beta2 = c.numbers("betas").at(1);
  config.eps = c.number("eps");
  return config;
}

/// Objective and gradient at x.
using Objective = std::function<double(const Numbers& x, std::vector<double>& gradient)>;

// 0.1 (sum over i < n - 1 of (1 - x_i)^2 + 10 (x_{i+1} - x_i^2)^2)
double rosenbrock(const Numbers& x, std::vector<double>& g) {
  double f = 0;
  for (size_t i = 0; i + 1 < x.size(); ++i) {
    const double a = 1 - double(x[i]), b = double(x[i + 1]) - double(x[i]) * x[i];
    f += 0.1 * (a * a + 10 * b * b);
    g[i] += 0.1 * (-2 * a - 40 * b * x[i]);
    g[i + 1] += 0.1 * 20 * b;
  }
  return f;
}

// 0.5 x' A x - b' x, A symmetric
Objective quadratic(const Numbers& A, const Numbers& b) {
  return [=](const Numbers& x, std::vector<double>& g) {
    double f = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      double Ax = 0;
      for (size_t j = 0; j < x.size(); ++j) Ax += double(A[i * x.size() + j]) * x[j];
      g[i] = Ax - b[i];
      f += 0.5 * x[i] * Ax - double(b[i]) * x[i];
    }
    return f;
  };
}

struct Plan {
  train::OptimConfig config;
  int64_t steps;
  std::vector<double> rates;  // one a step
};

void expect_state(Session& s, const std::string& run, Descent& d, int i) {
  const std::string p = fmt::format("p{}", i);
  s.expect(run + "state.exp_avg." + p, d.moment1(i));
  s.expect(run + "state.exp_avg_sq." + p, d.moment2(i));
}

void run_objective(Session& s, const Plan& plan, const std::string& name, const Objective& objective) {
  Descent d(s, plan.config, {"buf." + name + ".x0"});
  const Numbers noise = s.floats("buf." + name + ".noise");
  const int64_t n = d.shape(0).numel();
  const Numbers start = d.values(0);
  std::vector<double> trace(start.begin(), start.end()), gradients, losses;
  for (int64_t step = 0; step < plan.steps; ++step) {
    std::vector<double> g(size_t(n), 0.0);
    losses.push_back(objective(d.values(0), g));
    for (int64_t i = 0; i < n; ++i) g[size_t(i)] += noise[size_t(step * n + i)];
    gradients.insert(gradients.end(), g.begin(), g.end());
    d.step(step, plan.rates[size_t(step)], {Numbers(g.begin(), g.end())});
    const Numbers x = d.values(0);
    trace.insert(trace.end(), x.begin(), x.end());
  }
  const std::string run = "out." + name + ".";
  s.expect(run + "p0", with_steps(plan.steps + 1, d.shape(0)), trace);
  s.expect(run + "g0", with_steps(plan.steps, d.shape(0)), gradients);
  s.expect(run + "loss", {plan.steps}, losses);
  expect_state(s, run, d, 0);
}

void run_given_gradients(Session& s, const Plan& plan) {
  std::vector<std::string> start;
  for (int i = 0; s.golden.has(fmt::format("buf.rand.p{}", i)); ++i) start.push_back(fmt::format("buf.rand.p{}", i));
  Descent d(s, plan.config, start);
  std::vector<Numbers> tables;
  std::vector<std::vector<double>> traces;
  for (int i = 0; i < d.count(); ++i) {
    const Numbers x = d.values(i);
    tables.push_back(s.floats(fmt::format("buf.rand.g{}", i)));
    traces.emplace_back(x.begin(), x.end());
  }
  for (int64_t step = 0; step < plan.steps; ++step) {
    std::vector<Numbers> gradients;
    for (int i = 0; i < d.count(); ++i) gradients.push_back(row(tables[size_t(i)], step, d.shape(i).numel()));
    d.step(step, plan.rates[size_t(step)], gradients);
    for (int i = 0; i < d.count(); ++i) {
      const Numbers x = d.values(i);
      traces[size_t(i)].insert(traces[size_t(i)].end(), x.begin(), x.end());
    }
  }
  for (int i = 0; i < d.count(); ++i) {
    s.expect(fmt::format("out.rand.p{}", i), with_steps(plan.steps + 1, d.shape(i)), traces[size_t(i)]);
    expect_state(s, "out.rand.", d, i);
  }
}

void fairseq_adam(Session& s) {
  const Case& c = s.golden;
  Plan plan{adam(c), c.integer("steps"), {}};
  plan.config.weight_decay = c.number("weight_decay");
  plan.rates.assign(size_t(plan.steps), c.number("lr"));
  if (c.has("out.lr")) {  // the case states the rates it was run with
    const Numbers given = s.floats("out.lr");
    plan.rates.assign(given.begin(), given.end());
    s.expect("out.lr", {plan.steps}, plan.rates);
  }
  run_objective(s, plan, "rosen", rosenbrock);
  run_objective(s, plan, "quad", quadratic(s.floats("buf.quad.A"), s.floats("buf.quad.b")));
  run_given_gradients(s, plan);
}

void torch_adam(Session& s) {
  const Case& c = s.golden;
  // "0 / 0.1 (L2 in the gradient) / 0.1 (decoupled)"
  const std::string& text = c.text("weight_decay");
  const double l2 = std::stod(text.substr(text.find('/') + 1)),
               decoupled = std::stod(text.substr(text.rfind('/') + 1));
  const struct {
    const char *name, *decay;
    double weight;
  } runs[] = {{"out.adam", "decoupled", 0}, {"out.adam_l2", "l2", l2}, {"out.adamw", "decoupled", decoupled}};
  const Numbers gradients = s.floats("buf.g");
  for (const auto& run : runs) {
    train::OptimConfig config = adam(c);
    config.name = "adam_torch", config.decay = run.decay, config.weight_decay = run.weight;
    Descent d(s, config, {"buf.x0"});
    const int64_t n = d.shape(0).numel(), steps = int64_t(gradients.size()) / n;
    const Numbers start = d.values(0);
    std::vector<double> trace(start.begin(), start.end());
    for (int64_t step = 0; step < steps; ++step) {
      d.step(step, c.number("lr"), {row(gradients, step, n)});
      const Numbers x = d.values(0);
      trace.insert(trace.end(), x.begin(), x.end());
    }
    s.expect(run.name, with_steps(steps + 1, d.shape(0)), trace);
  }
}

/// With beta1 = 0 the first moment after one step is the clipped gradient itself.
train::OptimConfig clipping(double max_norm, const char* mode) {
  train::OptimConfig config;
  config.beta1 = 0, config.clip_norm = max_norm, config.clip_mode = mode;
  return config;
}

std::vector<std::string> gradient_names(const Case& c) {
  std::vector<std::string> names;
  while (c.has(fmt::format("in.g{}", names.size()))) names.push_back(fmt::format("in.g{}", names.size()));
  return names;
}

Descent& clip(Session& s, std::deque<Descent>& kept, const train::OptimConfig& config,
              const std::vector<std::string>& names) {
  Descent& d = kept.emplace_back(s, config, names);
  std::vector<Numbers> gradients;
  for (const std::string& name : names) gradients.push_back(s.floats(name));
  d.step(0, 0, gradients);
  return d;
}

void clip_total(Session& s) {
  std::deque<Descent> kept;
  for (const double max_norm : s.golden.numbers("max_norms")) {
    Descent& d = clip(s, kept, clipping(max_norm, "total"), gradient_names(s.golden));
    s.expect(fmt::format("out.norm_max{}", max_norm), {1}, std::vector<double>{d.norm()});
    for (int i = 0; i < d.count(); ++i) s.expect(fmt::format("out.max{}.g{}", max_norm, i), d.moment1(i));
  }
}

void clip_each(Session& s) {
  if (s.golden.text("mode") != "each") throw Error("hyper.mode is not each");
  std::deque<Descent> kept;
  const train::OptimConfig config = clipping(s.golden.number("max_norm"), "each");
  const std::vector<std::string> names = gradient_names(s.golden);
  Descent& all = clip(s, kept, config, names);
  for (int i = 0; i < all.count(); ++i) s.expect(fmt::format("out.g{}", i), all.moment1(i));
  double largest = 0;  // what the reference reports: fairseq utils.clip_param_grad_norm_
  for (const std::string& name : names) largest = std::max(largest, clip(s, kept, config, {name}).norm());
  s.expect("out.reported_norm", {1}, std::vector<double>{largest});
}

train::ScheduleConfig schedule_of(const Case& c) {
  train::ScheduleConfig schedule;
  schedule.warmup = c.integer("warmup_updates", c.number("warmup_steps", 0));
  schedule.init_lr = c.number("warmup_init_lr", -1), schedule.end_lr = c.number("end_learning_rate", 0);
  schedule.total = c.integer("total_num_update", 0);
  schedule.power = c.number("power", c.number("warmup_power", 1));
  schedule.decay_rate = c.number("lr_decay_rate", schedule.decay_rate);
  schedule.decay_steps = c.integer("lr_decay_steps", 0), schedule.cycle = c.integer("steps_per_cycle", 0);
  if (c.hyper.count("milestones"))
    for (const double m : c.numbers("milestones")) schedule.milestones.push_back(int64_t(m));
  constexpr std::pair<const char*, const char*> names[] = {
      {"lr_inverse_sqrt", "inverse_sqrt"},
      {"lr_linear_decay", "linear"},
      {"lr_milestone", "milestone"},
      {"lr_polynomial", "polynomial"},
      {"lr_step", "step"},
      {"lr_lra_cosine", "lra_cosine"},
      {"lr_lra_rsqrt_normalized", "lra_rsqrt_normalized"},
      {"lr_lra_rsqrt", "lra_rsqrt"},
  };
  for (const auto& [prefix, name] : names)
    if (c.starts_with(prefix)) return schedule.name = name, schedule;
  throw Error("no schedule of this name");
}

void schedules(Session& s) {
  const Case& c = s.golden;
  const train::ScheduleConfig schedule = schedule_of(c);
  const int64_t N = c.integer("N");
  const double peak = c.hyper.count("lr") ? c.numbers("lr").at(0) : c.number("base_learning_rate");
  std::vector<double> rates;
  for (int64_t u = 0; u <= N; ++u) rates.push_back(train::learning_rate(schedule, peak, N, u));
  s.expect("out.lr", {N + 1}, rates);
  if (!c.has("out.initial_lr")) return;
  // The reference's polynomial decay starts, before any update is counted, at the rate of update 1.
  const int64_t first = schedule.name == "polynomial" && schedule.warmup > 0 ? 1 : 0;
  s.expect("out.initial_lr", {1}, std::vector<double>{rates[size_t(first)]});
}

constexpr Row kRows[] = {
    {"ops", "ops_clip_grad_norm", clip_total},
    {"ops", "ops_clip_grad_norm_each", clip_each},
    {"optim", "lr_*", schedules},
    {"optim", "opt_adam_torch", torch_adam},
    {"optim", "opt_adam*", fairseq_adam},
};

}  // namespace

std::span<const Row> optimizer_rows() { return kRows; }

}  // namespace selene::golden
