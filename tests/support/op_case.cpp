#include "tests/support/op_case.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/with_dtype.h"
#include "kernels/philox.h"

namespace selene::testing {
namespace {

template <class T>
T narrow(double x) {
  return down<T>(x);
}

double rounded(double x, DType dtype) {
  double y = x;
  with_dtype(dtype, [&]<class T>() { y = double(up(narrow<T>(x))); });
  return y;
}

Shape result_shape(const OpCase& c) {
  const auto dry = Context::dry();
  Tape t(*dry, nullptr, Tape::Mode::train);
  std::vector<Var> inputs;
  for (const OpInput& in : c.inputs) inputs.push_back(t.leaf(t.empty(in.shape, DType::f32)));
  return c.apply(t, inputs).shape();
}

std::vector<Var> leaves(const OpCase& c, const OpValues& values, DType dtype, Tape& t) {
  std::vector<Var> in;
  for (size_t i = 0; i < c.inputs.size(); ++i)
    in.push_back(t.leaf(upload_doubles(t.context(), c.inputs[i].shape, dtype, values.inputs[i])));
  return in;
}

// A loss is f64 whatever its input is; its gradient has the accumulation type.
DType cotangent_type(const Var& y, DType dtype) {
  return y.dtype() == dtype ? dtype : dtype == DType::f64 ? DType::f64 : DType::f32;
}

std::vector<OpCase> cases_of(Extent extent) {
  std::vector<OpCase> all;
  add_product_cases(all, extent);
  add_row_cases(all, extent);
  add_elementwise_cases(all, extent);
  return all;
}

}  // namespace

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> cases = cases_of(Extent::small);
  return cases;
}
const std::vector<OpCase>& device_cases() {
  static const std::vector<OpCase> cases = cases_of(Extent::device);
  return cases;
}
const std::vector<OpCase>& thread_cases() {
  static const std::vector<OpCase> cases = cases_of(Extent::threads);
  return cases;
}

MemoryPlan test_memory() { return {1 << 16, 64 << 20, 0}; }

void set_test_step(Context& context) {
  StepScalars s{};
  s.seed = 0x0123456789abcdefu, s.micro_batch = 7;
  context.set_step(s);
}

OpValues random_values(const OpCase& c, DType narrowest, uint64_t seed) {
  PhiloxStream random(seed, 1);
  const auto draw = [&](double low, double high, double away) {
    for (;;) {
      const double x = rounded(low + (high - low) * random.uniform(), narrowest);
      if (!(std::abs(x) < away)) return x;
    }
  };
  OpValues values;
  for (const OpInput& in : c.inputs) {
    std::vector<double>& v = values.inputs.emplace_back(size_t(in.shape.numel()));
    for (double& x : v) x = draw(in.low, in.high, in.away);
  }
  values.cotangent.resize(size_t(result_shape(c).numel()));
  for (double& x : values.cotangent) x = draw(-1, 1, 0);
  return values;
}

OpResult run_case(const OpCase& c, const OpValues& values, DType dtype, Context& context) {
  OpResult result;
  Tape t(context, nullptr, Tape::Mode::train);
  const std::vector<Var> in = leaves(c, values, dtype, t);
  const Var y = c.apply(t, in);
  result.y = download_doubles(context, y.v);
  t.backward(y, upload_doubles(context, y.shape(), cotangent_type(y, dtype), values.cotangent));
  for (const Var& x : in) {
    const Tensor dx = t.gradient(x);
    result.gradients.push_back(dx ? download_doubles(context, dx) : std::vector<double>{});
  }
  return result;
}

double loss_of(const OpCase& c, const OpValues& values, Context& context) {
  Tape t(context, nullptr, Tape::Mode::train);
  const std::vector<double> y =
      t.no_grad([&] { return download_doubles(context, c.apply(t, leaves(c, values, DType::f64, t)).v); });
  long double sum = 0;
  for (size_t i = 0; i < y.size(); ++i) sum += static_cast<long double>(y[i]) * values.cotangent[i];
  return double(sum);
}

double largest(const std::vector<double>& v) {
  double most = 0;
  for (const double x : v)
    if (!(std::abs(x) <= most)) most = std::abs(x);
  return most;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(a[i] - b[i]);
    if (std::isnan(d)) return d;
    most = std::max(most, d);
  }
  return most;
}

Tensor upload_doubles(Context& context, const Shape& shape, DType dtype, const std::vector<double>& values) {
  Tensor to;
  with_dtype(dtype, [&]<class T>() {
    std::vector<T> v;
    for (const double x : values) v.push_back(narrow<T>(x));
    to = context.tensor<T>(shape, v);
  });
  return to;
}

std::vector<double> download_doubles(Context& context, const Tensor& t) {
  std::vector<double> v;
  with_dtype(t.dtype(), [&]<class T>() {
    for (const T x : context.values<T>(t)) v.push_back(double(up(x)));
  });
  return v;
}

}  // namespace selene::testing
