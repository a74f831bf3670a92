#include "autograd/tape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

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

Var Tape::neighbours(const std::vector<int>& indices) {
  return Var{parameters_->neighbours(indices), -1, indices[0]};
}

bool Tape::wanted(std::initializer_list<const Var*> inputs) const {
  for (const Var* x : inputs)
    if (wants(*x)) return true;
  return false;
}

Tensor Tape::grad(const Var& weight) {
  if (weight.parameter >= 0) {
    const int64_t begin = (*parameters_)[weight.parameter].offset, end = begin + weight.v.numel();
    for (size_t i = 0; i < touched_.size(); ++i)
      if (const int64_t at = (*parameters_)[int(i)].offset; begin <= at && at < end) touched_[i] = true;
    return parameters_->gradients().slice(0, begin, end).reshape(weight.shape());
  }
  if (weight.slot < 0) throw Error(fmt::format("gradient of {}: nobody wants one", weight.v.text()));
  Slot& slot = slots_[size_t(weight.slot)];
  if (slot.own) return slot.gradient;
  const DType wide = weight.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Tensor sum = zeros(weight.shape(), wide, "gradient of a weight");
  if (const Tensor& before = slot.gradient)  // may be 16-bit, or shared with another value's gradient
    copy_strided(stream(), cast(*this, made_dense(before), wide).reshape({-1}), sum.reshape({-1}), true);
  slot.gradient = sum, slot.own = true, slot.dtype = weight.dtype();
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
  if (x.parameter >= 0) return add_to_parameter(x, made_dense(std::move(dx)));
  Tensor& slot = slots_[size_t(x.slot)].gradient;
  if (!slot) {
    const int split = slots_[size_t(x.slot)].split;
    const bool in_place = split >= 0 && splits_[size_t(split)].whole.storage() == dx.storage();
    slot = in_place ? std::move(dx) : made_dense(std::move(dx));
    return;
  }
  dx = cast(*this, made_dense(std::move(dx)), slot.dtype());
  if (!slot.dense()) return copy_strided(stream(), dx, slot, true);  // in its place among the parts of a value
  const Tensor sum = slot.unique() ? slot : empty(slot.shape(), slot.dtype(), "gradient");
  with_dtype(slot.dtype(), [&]<class T>() {
    run(stream(), Elementwise<T>{slot.data<T>(), dx.data<T>(), sum.data<T>(), sum.numel(), Binary::add, 1});
  });
  slot = sum;
}

Tensor Tape::made_dense(Tensor x) {
  if (x.dense()) return x;
  const Tensor to = empty(x.shape(), x.dtype(), "gradient");
  copy_strided(stream(), x, to, false);
  return to;
}

Tensor Tape::empty_gradient(const Var& x, const char* what) {
  Slot* slot = x.slot >= 0 ? &slots_[size_t(x.slot)] : nullptr;
  if (!slot || slot->split < 0 || slot->gradient || slot->placed) return empty(x.shape(), x.dtype(), what);
  slot->placed = true;
  Split& split = splits_[size_t(slot->split)];
  if (!split.whole) {
    Shape shape = x.shape();
    shape[-1] *= split.parts;
    split.whole = empty(shape, x.dtype(), "gradients side by side");
  }
  return split.part(split.whole, x.slot - split.first);
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

Tensor Tape::Split::part(const Tensor& x, int i) const {
  const int64_t C = x.dim(-1) / parts;
  return x.slice(x.rank() - 1, i * C, (i + 1) * C);
}

std::vector<Var> Tape::split(const Var& x, int parts) {
  if (parts < 1 || x.dim(-1) % parts)
    throw Error(fmt::format("split: x is {}, wanted channels divisible by {} parts", x.v.text(), parts));
  const Split split{int(slots_.size()), parts, {}};
  std::vector<Var> results;
  for (int i = 0; i < parts; ++i) results.push_back(constant(split.part(x.v, i)));
  if (!wants(x)) return results;
  const int index = int(splits_.size());
  splits_.push_back(split);
  for (Var& y : results) y.slot = new_slot(), slots_[size_t(y.slot)].split = index;
  push(split.first, parts, [this, x, index](std::span<Tensor> dy) {
    Split& s = splits_[size_t(index)];
    Tensor whole = std::exchange(s.whole, {});
    if (!whole) whole = empty(x.shape(), x.dtype(), "gradients side by side");
    for (int i = 0; i < s.parts; ++i) {
      Tensor from = std::exchange(dy[size_t(i)], {});
      const Tensor to = s.part(whole, i);
      if (from.storage() == whole.storage()) continue;
      from = from ? cast(*this, from, to.dtype()) : zeros(to.shape(), to.dtype(), "gradient");
      copy_strided(stream(), from, to, false);
    }
    add_grad(x, std::move(whole));
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
