#include "autograd/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/ceil_div.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace selene {
namespace {

constexpr uint64_t kInitStream = uint64_t(1) << 63;  // keeps initialisation apart from shuffling and data generation

std::vector<double> draw(const Parameter& p, uint64_t seed, int index) {
  PhiloxStream random(seed, kInitStream + uint64_t(index));
  std::vector<double> v(size_t(p.shape.numel()));
  for (double& x : v) switch (p.init.kind) {
      case Init::zeros:
        x = 0;
        break;
      case Init::ones:
        x = 1;
        break;
      case Init::uniform:
        x = p.init.scale * (2 * random.uniform() - 1);
        break;
      case Init::normal: {  // Box-Muller; 1 - u is in (0, 1]
        const double u = 1 - random.uniform(), angle = 2 * M_PI * random.uniform();
        x = p.init.scale * std::sqrt(-2 * std::log(u)) * std::cos(angle);
      }
    }
  if (p.init.zero_row >= 0) {
    const int64_t width = p.shape.numel() / p.shape[0];
    for (int64_t i = 0; i < width; ++i) v[size_t(p.init.zero_row * width + i)] = 0;
  }
  return v;
}

void zero(Context& context, const Tensor& t) {
  if (t.dtype() == DType::f64) run(context.stream(), Fill<double>{t.data<double>(), t.numel(), 0});
  else if (t.dtype() == DType::f32) run(context.stream(), Fill<float>{t.data<float>(), t.numel(), 0});
  else if (t.dtype() == DType::bf16) run(context.stream(), Fill<bf16>{t.data<bf16>(), t.numel(), 0});
  else run(context.stream(), Fill<f16>{t.data<f16>(), t.numel(), 0});
}

}  // namespace

int Parameters::add(std::string name, Shape shape, Init init) {
  if (find(name) >= 0) throw Error(fmt::format("parameter {}: declared twice", name));
  Parameter p{std::move(name), shape, init, true, elements_};
  elements_ += round_up(shape.numel(), kSegment);
  list_.push_back(std::move(p));
  return int(list_.size()) - 1;
}

void Parameters::arrange(const std::vector<int>& order) {
  int64_t begin = elements_, end = 0, sum = 0;
  for (const int i : order) {
    const Parameter& p = list_[size_t(i)];
    const int64_t size = p.shape.numel();
    if (size % kSegment) return;
    begin = std::min(begin, p.offset), end = std::max(end, p.offset + size), sum += size;
  }
  if (end - begin != sum)
    throw Error(fmt::format("parameter {}: laid beside others that were not declared next to it",
                            list_[size_t(order.at(0))].name));
  for (const int i : order) {
    list_[size_t(i)].offset = begin;
    begin += list_[size_t(i)].shape.numel();
  }
}

int Parameters::find(const std::string& name) const {
  for (size_t i = 0; i < list_.size(); ++i)
    if (list_[i].name == name) return int(i);
  return -1;
}

int64_t Parameters::true_elements() const {
  int64_t n = 0;
  for (const Parameter& p : list_) n += p.shape.numel();
  return n;
}

void Parameters::allocate(Context& context, DType compute, bool training, int spare_gradients, uint64_t seed) {
  compute_ = compute;
  const DType full = compute == DType::f64 ? DType::f64 : DType::f32;
  values_ = make_flat(context, "parameters", full);
  compute_values_ = compute == full ? values_ : make_flat(context, "parameters in the compute type", compute);
  if (training) {
    gradients_ = make_flat(context, "gradients");
    for (int i = 0; i < spare_gradients; ++i) spares_.push_back(make_flat(context, "gradients of a subtree"));
  }
  initialise(context, seed);
}

Tensor Parameters::make_flat(Context& context, const char* what, DType dtype) const {
  Tensor t = context.make(context.persistent(), {elements_}, dtype, what);
  zero(context, t);
  return t;
}

void Parameters::initialise(Context& context, uint64_t seed) {
  if (context.is_dry()) return;
  for (int i = 0; i < int(list_.size()); ++i) {
    const std::vector<double> v = draw(list_[size_t(i)], seed, i);
    if (values_.dtype() == DType::f64) context.upload(master(i), v.data());
    else set(context, i, std::vector<float>(v.begin(), v.end()).data());
  }
}

Tensor Parameters::segment(const Tensor& flat, int i) const {
  const Parameter& p = list_[size_t(i)];
  return flat.slice(0, p.offset, p.offset + p.shape.numel()).reshape(p.shape);
}

Tensor Parameters::neighbours(const std::vector<int>& indices) const {
  const Parameter& first = list_[size_t(indices.at(0))];
  int64_t end = first.offset;
  for (const int i : indices) {
    const Parameter& p = list_[size_t(i)];
    if (p.offset != end || !(p.shape == first.shape)) return {};
    end += p.shape.numel();
  }
  Shape shape = first.shape;
  shape[0] *= int64_t(indices.size());
  return compute_values_.slice(0, first.offset, end).reshape(shape);
}

void Parameters::set(Context& context, int i, const float* v) {
  context.upload(master(i), v);
  const Tensor from = master(i), to = value(i);
  if (from.storage() == to.storage()) return;
  run(context.stream(), Cast<float>{from.data<float>(), to.raw(), to.dtype(), to.numel()});
}

void Parameters::refresh(Context& context) {
  if (values_.storage() == compute_values_.storage()) return;
  run(context.stream(), Cast<float>{values_.data<float>(), compute_values_.raw(), compute_, elements_});
}

std::vector<UpdateRange> Parameters::update_ranges() const {
  std::vector<UpdateRange> ranges;
  for (const int i : in_memory_order()) {
    const Parameter& p = list_[size_t(i)];
    if (!p.has_gradient_path) continue;
    const int64_t end = p.offset + round_up(p.shape.numel(), kSegment);
    if (!ranges.empty() && ranges.back().end == p.offset) ranges.back().end = end;
    else ranges.push_back({p.offset, end});
  }
  return ranges;
}

std::vector<int> Parameters::in_memory_order() const {
  std::vector<int> order(list_.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return list_[size_t(a)].offset < list_[size_t(b)].offset; });
  return order;
}

}  // namespace selene
