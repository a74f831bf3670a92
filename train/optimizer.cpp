#include "train/optimizer.h"

#include <bit>
#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/optimizer.h"

namespace selene {
namespace {

int64_t blocks(int64_t n) { return (n + kNormBlock - 1) / kNormBlock; }

}  // namespace

Optimizer::Optimizer(const OptimConfig& config, Parameters& parameters, Context& context)
    : config_(config), parameters_(parameters), context_(context) {
  const bool each = config_.clip_norm > 0 && config_.clip_mode == "each";
  if (each) {
    for (int i = 0; i < int(parameters_.count()); ++i) {
      const Parameter& p = parameters_[i];
      if (p.has_gradient_path) units_.push_back({p.offset, p.offset + p.shape.numel(), int64_t(units_.size()) + 1});
    }
  } else {
    for (const UpdateRange& r : parameters_.update_ranges()) units_.push_back({r.begin, r.end, 0});
  }
  const int64_t norms = 1 + (each ? int64_t(units_.size()) : 0);
  const auto scratch = [&](int64_t n, DType dtype, const char* what) {
    return context_.make(context_.persistent(), {n}, dtype, what);
  };
  partial_ = scratch(blocks(parameters_.elements()), parameters_.gradients().dtype(), "partial sums of the norm");
  norms_ = scratch(norms, DType::f64, "gradient norms");
  bad_ = scratch(norms, DType::i64, "blocks that are not finite");
}

void Optimizer::scalars(StepScalars& s, int64_t finished, double lr, double sample_size) const {
  s.update = finished;
  s.learning_rate = lr;
  s.correction1 = 1 - std::pow(config_.beta1, double(finished + 1));
  s.correction2 = 1 - std::pow(config_.beta2, double(finished + 1));
  s.gradient_scale = 1 / sample_size;
}

void Optimizer::step() {
  if (parameters_.values().dtype() == DType::f64) launch<double>();
  else launch<float>();
}

template <class T>
void Optimizer::launch() {
  Stream& s = context_.stream();
  const T* g = parameters_.gradients().data<T>();
  const auto measure = [&](const T* from, int64_t n, int64_t index) {
    run(s, SumSquares<T>{from, partial_.data<T>(), n});
    run(s, GradientNorm<T>{partial_.data<T>(), blocks(n), context_.step_scalars(), norms_.data<double>() + index,
                           bad_.data<int64_t>() + index});
  };
  measure(g, parameters_.elements(), 0);
  const bool narrow = parameters_.compute_values().storage() != parameters_.values().storage();
  const Tensor& copy = parameters_.compute_values();
  for (const Unit& u : units_) {
    if (u.norm) measure(g + u.begin, u.end - u.begin, u.norm);
    char* to = narrow && copy.raw() ? static_cast<char*>(copy.raw()) + u.begin * size_of(copy.dtype()) : nullptr;
    run(s,
        Adam<T>{g + u.begin, parameters_.values().data<T>() + u.begin, parameters_.moment1().data<T>() + u.begin,
                parameters_.moment2().data<T>() + u.begin, to, copy.dtype(), u.end - u.begin, context_.step_scalars(),
                norms_.data<double>() + u.norm, config_.clip_norm, config_.beta1, config_.beta2, config_.eps,
                config_.weight_decay, config_.name == "adam_torch", config_.decay == "l2"});
  }
}

double Optimizer::norm() { return context_.values<double>(norms_.slice(0, 0, 1))[0]; }

std::string Optimizer::first_not_finite() {
  const int64_t block = context_.values<int64_t>(bad_.slice(0, 0, 1))[0];
  if (block < 0) return "";
  for (int i = 0; i < int(parameters_.count()); ++i) {  // a block may hold several parameters: look at the numbers
    const Parameter& p = parameters_[i];
    if (p.offset + p.shape.numel() <= block * kNormBlock) continue;
    for (const float x : context_.values<float>(parameters_.gradient(i)))
      if (!std::isfinite(x)) return p.name;
  }
  return "the sum of squares";
}

int GradientTree::spares(int64_t micro_batches) { return int(std::bit_width(uint64_t(micro_batches - 1))); }

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
  const bool last = index + 1 == micro_batches_;
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

}  // namespace selene
