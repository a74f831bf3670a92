#include "autograd/tape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/products.h"
#include "autograd/with_dtype.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"

namespace selene {

Tape::Tape(Context& context, Parameters* parameters, Mode mode)
    : context_(context),
      parameters_(parameters),
      mode_(mode),
      touched_(parameters ? size_t(parameters->count()) : 0) {}

Tape::~Tape() {
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) node->destroy(node->closure);
}

Tensor Tape::zeros(Shape shape, DType dtype, const char* what) {
  Tensor t = empty(shape, dtype, what);
  with_dtype(dtype, [&]<class T>() { run(stream(), Fill<T>{t.data<T>(), t.numel(), 0}); });
  return t;
}

int Tape::new_slot() {
  slots_.emplace_back();
  return int(slots_.size()) - 1;
}

Var Tape::leaf(Tensor v) { return Var{std::move(v), new_slot(), -1}; }

Var Tape::parameter(int i) { return Var{parameters_->value(i), -1, i}; }

bool Tape::wanted(std::initializer_list<const Var*> inputs) const {
  for (const Var* x : inputs)
    if (wants(*x)) return true;
  return false;
}

Tensor Tape::grad(const Var& weight) {
  if (weight.parameter >= 0) {
    touched_[size_t(weight.parameter)] = true;
    return parameters_->gradient(weight.parameter);
  }
  if (weight.slot < 0) throw Error(fmt::format("gradient of {}: nobody wants one", weight.v.text()));
  Slot& slot = slots_[size_t(weight.slot)];
  if (slot.own) return slot.gradient;
  const DType wide = weight.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Tensor sum = zeros(weight.shape(), wide, "gradient of a weight");
  if (const Tensor& before = slot.gradient)  // may be 16-bit, or shared with another value's gradient
    copy_strided(stream(), cast(*this, before, wide).reshape({-1}), sum.reshape({-1}), true);
  slot = {sum, true, weight.dtype()};
  return sum;
}

// Rare: a parameter used like an activation. Its gradient may be 16-bit, the flat buffer is not.
void Tape::add_to_parameter(const Var& x, Tensor dx) {
  const Tensor to = grad(x);
  dx = cast(*this, dx, to.dtype());
  copy_strided(stream(), dx, to, true);
}

void Tape::add_grad(const Var& x, Tensor dx) {
  if (!x.wants_gradient()) return;
  if (!(dx.shape() == x.shape())) throw Error(fmt::format("gradient of {}: got {}", x.v.text(), dx.text()));
  if (!dx.dense()) {
    const Tensor to = empty(dx.shape(), dx.dtype(), "gradient");
    copy_strided(stream(), dx, to, false);
    dx = to;
  }
  if (x.parameter >= 0) return add_to_parameter(x, dx);
  Tensor& slot = slots_[size_t(x.slot)].gradient;
  if (!slot) {
    slot = std::move(dx);
    return;
  }
  dx = cast(*this, dx, slot.dtype());
  const Tensor sum = slot.unique() ? slot : empty(slot.shape(), slot.dtype(), "gradient");
  with_dtype(slot.dtype(), [&]<class T>() {
    run(stream(), Elementwise<T>{slot.data<T>(), dx.data<T>(), sum.data<T>(), sum.numel(), Binary::add, 1});
  });
  slot = sum;
}

Tensor Tape::gathered(const Var& x) const {
  if (x.slot < 0) return {};
  const Slot& slot = slots_[size_t(x.slot)];
  return slot.gradient && !slot.own && slot.gradient.unique() && slot.gradient.dtype() == x.dtype() ? slot.gradient
                                                                                                    : Tensor();
}

void Tape::backward(const Var& loss, Tensor seed) { backward({{loss, std::move(seed)}}); }

void Tape::backward(std::vector<std::pair<Var, Tensor>> outputs) {
  for (auto& [y, dy] : outputs) {
    if (!y.wants_gradient())
      throw Error(fmt::format("backward: {} does not depend on anything differentiable", y.v.text()));
    add_grad(y, std::move(dy));
  }
  outputs.clear();
  run_nodes();
}

void Tape::run_nodes() {
  while (!nodes_.empty()) {
    const Node node = nodes_.back();
    nodes_.pop_back();
    const std::unique_ptr<void, void (*)(void*)> closure(node.closure,
                                                         node.destroy);  // also when an operation throws
    std::vector<Tensor> dy(size_t(node.outputs));
    bool any = false;
    for (int i = 0; i < node.outputs; ++i) {
      Slot& slot = slots_[size_t(node.slot + i)];
      if (slot.own) slot.gradient = cast(*this, slot.gradient, slot.dtype);
      dy[size_t(i)] = std::move(slot.gradient);
      any |= bool(dy[size_t(i)]);
    }
    if (any) node.run(node.closure, dy);
  }
}

Tensor Tape::gradient(const Var& leaf) const { return leaf.slot < 0 ? Tensor() : slots_[size_t(leaf.slot)].gradient; }

std::vector<Var> Tape::checkpoint(const Function& f, const std::vector<Var>& inputs) {
  std::vector<Var> results = no_grad([&] { return f(*this, inputs); });
  if (!recording_) return results;
  const int first = int(slots_.size());
  for (Var& y : results) y.slot = new_slot();
  push(first, int(results.size()), [this, f, inputs](std::span<Tensor> dy) {
    Tape inner(context_, parameters_, mode_);
    std::vector<Var> leaves;
    for (const Var& x : inputs) leaves.push_back(x.slot >= 0 ? inner.leaf(x.v) : x);
    const std::vector<Var> again = f(inner, leaves);
    std::vector<std::pair<Var, Tensor>> seeds;
    for (size_t i = 0; i < again.size(); ++i)
      if (dy[i] && again[i].wants_gradient()) seeds.emplace_back(again[i], std::move(dy[i]));
    inner.backward(std::move(seeds));
    for (size_t i = 0; i < inputs.size(); ++i)
      if (Tensor dx = inner.gradient(leaves[i]); dx && inputs[i].slot >= 0) add_grad(inputs[i], std::move(dx));
    for (size_t i = 0; i < touched_.size(); ++i)
      if (inner.touched_[i]) touched_[i] = true;
  });
  return results;
}

DropoutSite Tape::dropout(double probability, uint32_t site) const {
  if (!(probability >= 0 && probability < 1))
    throw Error(fmt::format("dropout: probability is {}, wanted 0 <= p < 1", probability));
  if (mode_ == Mode::evaluate || probability == 0) return {};
  const long threshold = std::lround((1 - probability) * 65536);
  return {context_.step_scalars(), site, uint32_t(std::max(1L, threshold))};  // never 0: the scale divides by it
}

}  // namespace selene
