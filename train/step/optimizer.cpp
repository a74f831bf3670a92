#include "train/step/optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/ceil_div.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"

namespace selene::train {
namespace {

int64_t blocks(int64_t n) { return ceil_div(n, kNormBlock); }

}  // namespace

LossScaling loss_scaling(const TrainConfig& train) {
  if (train.precision != "fp16") return {};
  const int64_t window = train.fp16_scale_window ? train.fp16_scale_window : (1 << 14) / train.accumulation;
  return {true, train.fp16_init_scale, train.fp16_min_scale, std::max<int64_t>(1, window)};
}

Optimizer::Optimizer(const OptimConfig& config, const LossScaling& scaling, Parameters& parameters, Context& context)
    : config_(config), scaling_(scaling), parameters_(parameters), context_(context) {
  const bool each = config_.clip_norm > 0 && config_.clip_mode == "each";
  if (each) {
    for (int i = 0; i < int(parameters_.count()); ++i) {
      const Parameter& p = parameters_[i];
      if (p.has_gradient_path) units_.push_back({p.offset, p.offset + p.shape.numel(), int64_t(units_.size()) + 1});
    }
  } else {
    for (const UpdateRange& r : parameters_.update_ranges()) units_.push_back({r.begin, r.end, 0});
  }
  buffers_ = {{"exp_avg", parameters_.make_flat(context_, "first moment")},
              {"exp_avg_sq", parameters_.make_flat(context_, "second moment")}};
  const int64_t norms = 1 + (each ? int64_t(units_.size()) : 0);
  const auto scratch = [&](int64_t n, DType dtype, const char* what) {
    return context_.make(context_.persistent(), {n}, dtype, what);
  };
  partial_ = scratch(blocks(parameters_.elements()), parameters_.gradients().dtype(), "partial sums of the norm");
  norms_ = scratch(norms, DType::f64, "gradient norms");
  bad_ = scratch(norms, DType::i64, "blocks that are not finite");
  state_ = scratch(sizeof(UpdateState) / sizeof(float), DType::f32, "update state");
  UpdateState start{};
  start.scale = start.applied = float(scaling_.initial), start.bad_update = start.bad_block = -1;
  set_state(start);
}

void Optimizer::scalars(StepScalars& s, int64_t finished, double lr, double sample_size) const {
  s.update = finished;
  s.learning_rate = lr;
  s.gradient_scale = 1 / sample_size;
}

void Optimizer::step() {
  if (parameters_.values().dtype() == DType::f64) launch<double>();
  else launch<float>();
}

template <class T>
void Optimizer::measure(const T* gradients, int64_t n, int64_t index) {
  Stream& s = context_.stream();
  run(s, SumSquares<T>{gradients, partial_.data<T>(), n});
  run(s, GradientNorm<T>{partial_.data<T>(), blocks(n), context_.step_scalars(),
                         static_cast<const UpdateState*>(state_.raw()), norms_.data<double>() + index,
                         bad_.data<int64_t>() + index});
}

template <class T>
void Optimizer::launch() {
  Stream& s = context_.stream();
  const T* g = parameters_.gradients().data<T>();
  auto* state = static_cast<UpdateState*>(state_.raw());
  measure(g, parameters_.elements(), 0);
  for (const Unit& u : units_)
    if (u.norm) measure(g + u.begin, u.end - u.begin, u.norm);
  run(s, UpdateCheck<T>{bad_.data<int64_t>(), context_.step_scalars(), state, config_.beta1, config_.beta2,
                        scaling_.minimum, scaling_.window, scaling_.dynamic});
  const bool narrow = parameters_.compute_values().storage() != parameters_.values().storage();
  const Tensor& copy = parameters_.compute_values();
  for (const Unit& u : units_) {
    char* to = narrow && copy.raw() ? static_cast<char*>(copy.raw()) + u.begin * size_of(copy.dtype()) : nullptr;
    run(s, Adam<T>{g + u.begin, parameters_.values().data<T>() + u.begin, buffers_[0].flat.data<T>() + u.begin,
                   buffers_[1].flat.data<T>() + u.begin, to, copy.dtype(), u.end - u.begin, context_.step_scalars(),
                   state, norms_.data<double>() + u.norm, config_.clip_norm, config_.beta1, config_.beta2,
                   config_.eps, config_.weight_decay, config_.name == "adam_torch", config_.decay == "l2"});
  }
}

double Optimizer::norm() { return context_.values<double>(norms_.slice(0, 0, 1))[0]; }

UpdateState Optimizer::state() {
  UpdateState state{};
  context_.download(state_, &state);
  return state;
}

void Optimizer::set_state(const UpdateState& state) { context_.upload(state_, &state); }

std::string Optimizer::first_not_finite() {
  const int64_t first = state().bad_block * kNormBlock;
  std::string in_block;
  for (const int i : parameters_.in_memory_order()) {  // a block may hold several parameters: look at the numbers
    const Parameter& p = parameters_[i];
    const int64_t end = p.offset + p.shape.numel();
    if (end <= first) continue;
    if (in_block.empty()) in_block = p.name;
    for (const float x : context_.values<float>(parameters_.gradient(i)))
      if (!std::isfinite(x)) return p.name;
  }
  return in_block;  // finite numbers whose squares are not, or gradients that a later micro-batch has replaced
}

int GradientTree::spares(int64_t accumulation) { return int(std::bit_width(uint64_t(accumulation - 1))); }

GradientTree::GradientTree(Parameters& parameters, Context& context, Group group, int64_t accumulation)
    : parameters_(parameters), context_(context), accumulation_(accumulation) {
  if (group.size > 1 && !std::has_single_bit(uint64_t(accumulation)))
    throw Error(
        fmt::format("train.accumulation is {}, wanted a power of two for {} ranks", accumulation, group.size));
}

void GradientTree::begin() {
  const Tensor& g = parameters_.gradients();
  if (g.dtype() == DType::f64) run(context_.stream(), Fill<double>{g.data<double>(), g.numel(), 0});
  else run(context_.stream(), Fill<float>{g.data<float>(), g.numel(), 0});
}

void GradientTree::end(int64_t index) {
  if (parameters_.gradients().dtype() == DType::f64) end_as<double>(index);
  else end_as<float>(index);
}

// A binary counter: spare l holds the sum of the last complete subtree of 2^l leaves while bit l of the count is set.
template <class T>
void GradientTree::end_as(int64_t index) {
  T* g = parameters_.gradients().data<T>();
  const int64_t n = parameters_.elements();
  const bool last = index + 1 == accumulation_;
  for (int level = 0; level < int(parameters_.spares().size()); ++level) {
    T* spare = parameters_.spares()[size_t(level)].data<T>();
    if (index >> level & 1) {
      run(context_.stream(), Elementwise<T>{spare, g, g, n, Binary::add, 1});
    } else if (!last) {
      run(context_.stream(), Elementwise<T>{g, nullptr, spare, n, Binary::add, 1});
      return;
    }
  }
}

}  // namespace selene::train
