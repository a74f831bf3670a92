#include "tests/golden/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/error.h"
#include "tests/support/device_module.h"

namespace selene::golden {
namespace {

constexpr MemoryPlan kMemory{16 << 20, 32 << 20, 1 << 20};  // far more than any case needs; untouched pages are free

/// [A, B, rest] -> [B, A, rest].
template <class T>
std::vector<T> exchanged(std::span<const T> x, int64_t A, int64_t B) {
  const int64_t width = A * B > 0 ? int64_t(x.size()) / (A * B) : 0;
  std::vector<T> y(x.size());
  for (int64_t a = 0; a < A; ++a)
    for (int64_t b = 0; b < B; ++b)
      std::copy_n(&x[size_t((a * B + b) * width)], width, &y[size_t((b * A + a) * width)]);
  return y;
}

std::string text(const std::vector<int64_t>& shape) { return Shape(shape.begin(), shape.end()).text(); }

std::vector<int64_t> sizes(const Shape& shape) { return {shape.begin(), shape.end()}; }

bool is_result(const std::string& name) {
  return name == "loss" || name.rfind("out.", 0) == 0 || name.rfind("grad.", 0) == 0;
}

template <class T>
std::vector<double> doubles(Context& context, const Tensor& t) {
  const std::vector<T> v = context.values<T>(t);
  return {v.begin(), v.end()};
}

std::vector<double> host_values(Context& context, const Tensor& t) {
  if (t.dtype() == DType::f64) return doubles<double>(context, t);
  if (t.dtype() == DType::i32) return doubles<int32_t>(context, t);
  if (t.dtype() == DType::u8) return doubles<uint8_t>(context, t);
  return doubles<float>(context, t);
}

}  // namespace

Session::Session(const Case& c, const std::string& folder)
    : golden(c),
      context(kMemory, testing::module_from_environment(), !testing::module_from_environment()),
      file_(folder + "/" + c.file) {
  check_file();
}

void Session::check_file() const {
  for (const auto& [name, d] : golden.tensors) {
    const data::TensorEntry& e = file_.at(name);
    if (e.dtype != d.dtype || e.shape != d.shape)
      throw Error(fmt::format("{}: tensor {} is {}{}, the manifest says {}{}", file_.path(), name, name_of(e.dtype),
                              text(e.shape), name_of(d.dtype), text(d.shape)));
    const bool input = name.rfind("in.", 0) == 0 && d.dtype == DType::f32;
    if (golden.has_gradients && (input || name.rfind("param.", 0) == 0)) entry("grad." + name, DType::f32);
  }
}

Tape& Session::tape() {
  if (!tape_) tape_ = std::make_unique<Tape>(context, &parameters, Tape::Mode::evaluate);
  return *tape_;
}

const data::TensorEntry& Session::entry(const std::string& name, DType dtype) const {
  const data::TensorEntry& e = file_.at(name);
  if (e.dtype != dtype)
    throw Error(fmt::format("{}: tensor {} is {}, wanted {}", file_.path(), name, name_of(e.dtype), name_of(dtype)));
  return e;
}

/// grad.X is laid out as X, lossw.X as out.X (the manifest lists neither).
const Described& Session::described(const std::string& name) const {
  std::string key = name;
  if (name.rfind("grad.", 0) == 0) key = name.substr(5);
  if (name.rfind("lossw.", 0) == 0) key = "out." + name.substr(6);
  const auto found = golden.tensors.find(key);
  if (found == golden.tensors.end()) throw Error(fmt::format("the manifest does not describe tensor {}", key));
  return found->second;
}

std::vector<float> Session::floats(const std::string& name) const {
  const data::TensorEntry& e = entry(name, DType::f32);
  std::vector<float> v(size_t(e.numel()));
  std::memcpy(v.data(), file_.bytes(e).data(), v.size() * sizeof(float));
  return v;
}

std::vector<int64_t> Session::integers(const std::string& name) const {
  const data::TensorEntry& e = entry(name, DType::i64);
  std::vector<int64_t> v(size_t(e.numel()));
  std::memcpy(v.data(), file_.bytes(e).data(), v.size() * sizeof(int64_t));
  return v;
}

Tensor Session::tensor(const std::string& name) {
  const Described& d = described(name);
  Shape shape(d.shape.begin(), d.shape.end());
  if (d.dtype == DType::i64) {
    const std::vector<int64_t> v = integers(name);
    return context.tensor<int32_t>(shape, std::vector<int32_t>(v.begin(), v.end()));
  }
  if (d.dtype == DType::u8) {
    const std::span<const uint8_t> bytes = file_.bytes(entry(name, DType::u8));
    return context.tensor<uint8_t>(shape, std::vector<uint8_t>(bytes.begin(), bytes.end()));
  }
  std::vector<float> v = floats(name);
  if (d.batch_second()) {
    v = exchanged<float>(v, shape[0], shape[1]);
    std::swap(shape[0], shape[1]);
  }
  return context.tensor<float>(shape, v);
}

Tensor Session::optional(const std::string& name) { return golden.has(name) ? tensor(name) : Tensor(); }

Var Session::leaf(const std::string& name) {
  for (const Output& known : leaves_)
    if (known.name == name) return known.y;
  leaves_.push_back({name, tape().leaf(tensor(name))});
  return leaves_.back().y;
}

void Session::load_parameters(const std::string& prefix, bool check_paths) {
  parameters.allocate(context, DType::f32, true, 0, 1);
  for (const auto& [name, d] : golden.tensors)
    if (name.rfind(prefix, 0) == 0 && parameters.find(name.substr(prefix.size())) < 0)
      throw Error(fmt::format("the model has no parameter for {}", name));
  for (int i = 0; i < int(parameters.count()); ++i) {
    const Described& d = described(prefix + parameters[i].name);
    if (d.shape != sizes(parameters[i].shape))
      throw Error(fmt::format("parameter {} is {} in the model, {} in the file", parameters[i].name,
                              parameters[i].shape.text(), text(d.shape)));
    parameters.set(context, i, floats(prefix + parameters[i].name).data());
  }
  if (check_paths) check_gradient_paths();
}

void Session::check_gradient_paths() const {
  for (int i = 0; i < int(parameters.count()); ++i) {
    const bool listed = golden.no_gradient_path.count("param." + parameters[i].name) > 0;
    if (listed == parameters[i].has_gradient_path)
      throw Error(fmt::format("parameter {} {} a path to the loss by the manifest, the model says otherwise",
                              parameters[i].name, listed ? "has no" : "has"));
  }
}

void Session::output(const std::string& name, const Var& y) {
  expect("out." + name, y.v);
  outputs_.push_back({name, y});
}

void Session::backward() {
  double loss = 0;
  std::vector<std::pair<Var, Tensor>> seeds;
  for (const Output& o : outputs_) {
    if (!file_.find("lossw." + o.name)) continue;
    const Tensor weights = tensor("lossw." + o.name);
    const std::vector<double> w = host_values(context, weights), y = host_values(context, o.y.v);
    for (size_t i = 0; i < w.size(); ++i) loss += w[i] * y[i];
    seeds.emplace_back(o.y, weights);
  }
  expect("loss", {1}, std::vector<double>{loss});
  tape().backward(std::move(seeds));
  check_gradients();
}

void Session::backward(const Var& loss, double value) {
  expect("loss", {1}, std::vector<double>{value});
  tape().backward(loss, context.tensor<float>({1}, {1.0f}));
  check_gradients();
}

void Session::check_gradients() {
  const auto compare = [&](const std::string& name, const Shape& shape, const Tensor& gradient) {
    if (gradient) expect("grad." + name, gradient);
    else expect("grad." + name, sizes(shape), std::vector<double>(size_t(shape.numel()), 0.0));
  };
  for (const Output& x : leaves_) compare(x.name, x.y.shape(), tape().gradient(x.y));
  for (int i = 0; i < int(parameters.count()); ++i)
    compare("param." + parameters[i].name, parameters[i].shape, parameters.gradient(i));
}

void Session::expect(const std::string& name, const Tensor& got) {
  if (!got) throw Error(fmt::format("{}: the model did not compute it", name));
  expect(name, sizes(got.shape()), host_values(context, got));
}

Tolerance Session::tolerance(const std::string& name) const {
  const std::string kind = name == "loss" ? "loss" : name.rfind("grad.", 0) == 0 ? "grad" : "out";
  const auto found = golden.tolerance.find(kind);
  if (found == golden.tolerance.end()) throw Error(fmt::format("the manifest has no tolerance for {}", kind));
  return found->second;
}

/// The expected values as numbers, in our order of axes, and their shape.
std::pair<std::vector<int64_t>, std::vector<double>> Session::wanted(const std::string& name) const {
  const data::TensorEntry& e = file_.at(name);
  std::vector<int64_t> shape = e.shape;
  std::vector<double> want;
  if (e.dtype == DType::i64) {
    const std::vector<int64_t> v = integers(name);
    want.assign(v.begin(), v.end());
  } else {
    const std::vector<float> v = floats(name);
    want.assign(v.begin(), v.end());
  }
  if (described(name).batch_second()) {
    want = exchanged<double>(want, shape[0], shape[1]);
    std::swap(shape[0], shape[1]);
  }
  return {shape, want};
}

void Session::expect(const std::string& name, const std::vector<int64_t>& shape, std::span<const double> got) {
  Check& check = checks_.emplace_back(Check{name, 0, 0, ""});
  checked_.insert(name);
  const auto [wanted_shape, want] = wanted(name);
  if (shape != wanted_shape || got.size() != want.size()) {
    check.complaint = fmt::format("shape is {}, wanted {}", text(shape), text(wanted_shape));
    return;
  }
  double largest = 0;
  bool finite = true;
  for (size_t i = 0; i < want.size(); ++i) {
    finite = finite && std::isfinite(want[i]) && std::isfinite(got[i]);
    largest = std::max(largest, std::abs(want[i]));
    check.error = std::max(check.error, std::abs(got[i] - want[i]));
  }
  const Tolerance allowed = file_.at(name).dtype == DType::i64 ? Tolerance{} : tolerance(name);
  check.bound = allowed.rtol * largest + allowed.atol;
  if (!finite) check.complaint = "NaN or infinity";
  else if (!(check.error <= check.bound))
    check.complaint = fmt::format("error {:.3g}, allowed {:.3g}", check.error, check.bound);
}

std::vector<Check> Session::finish() {
  for (const data::TensorEntry& e : file_.entries())
    if (is_result(e.name) && !checked_.count(e.name)) checks_.push_back({e.name, 0, 0, "was not compared"});
  return checks_;
}

}  // namespace selene::golden
