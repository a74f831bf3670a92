// What a device can do at most, and attention by itself.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>

#include "autograd/with_dtype.h"
#include "data/io/json.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "tools/programs/bench.h"
#include "tools/programs/bench_operands.h"
#include "train/measure/cost.h"
#include "train/measure/floor.h"

namespace selene::bench {
namespace {

// Least seconds of a launch, with scratch of its own, after one to warm up.
template <template <class> class A, class T>
double least_seconds(Context& context, A<T> arguments, int64_t repeats) {
  const Tensor scratch = context.empty({workspace_bytes(context.stream(), arguments)}, DType::u8, "workspace");
  arguments.workspace = static_cast<Acc<T>*>(scratch.raw());
  run(context.stream(), arguments);
  double least = std::numeric_limits<double>::infinity();
  context.stream().observer = [&](Operation, DType, double s, const void*) { least = std::min(least, s); };
  for (int64_t i = 0; i < repeats; ++i) run(context.stream(), arguments);
  context.stream().observer = nullptr;
  return least;
}

double copy_speed(const Backend* module, int64_t n) {  // n: fp32 elements
  Context context({1 << 12, 2 * n * int64_t(sizeof(float)) + 4 * Arena::kAlignment, 0}, module);
  const Tensor x = context.empty({n}, DType::f32), y = context.empty({n}, DType::f32);
  Stream& stream = context.stream();
  run(stream, Fill<float>{x.data<float>(), n, 1});
  double least = std::numeric_limits<double>::infinity();
  const Elementwise<float> copy{x.data<float>(), nullptr, y.data<float>(), n, Binary::add, 1};
  run(stream, copy);
  stream.observer = [&](Operation, DType, double s, const void*) { least = std::min(least, s); };
  for (int i = 0; i < 10; ++i) run(stream, copy);
  return 2 * double(n) * sizeof(float) / least;
}

void print_attention(const Arguments& a, const char* kernel, const char* pass, DType dtype, const std::string& shape,
                     double seconds, const train::Cost& cost, double distance, const data::Json& fallbacks) {
  const double gflop = cost.flops / seconds / 1e9, gb = cost.bytes / seconds / 1e9;
  if (a.json)
    fmt::print("{}\n", data::Json{{"kernel", kernel},
                                  {"pass", pass},
                                  {"dtype", name_of(dtype)},
                                  {"shape", shape},
                                  {"ms", seconds * 1e3},
                                  {"gflop_s", gflop},
                                  {"gb_s", gb},
                                  {"distance", distance},
                                  {"fallbacks", fallbacks}}
                           .dump());
  else {
    fmt::print("{:6} {:8} {:5} {:24} {:9.3f} ms {:9.1f} GFLOP/s {:8.1f} GB/s, {:.1e} from own\n", kernel, pass,
               name_of(dtype), shape, seconds * 1e3, gflop, gb, distance);
    print_fallbacks(fallbacks);
  }
  fflush(stdout);
}

}  // namespace

std::array<int64_t, 5> parse_shape(const std::string& text) {
  std::array<int64_t, 5> n{};
  char end = 0;
  if (sscanf(text.c_str(), "%ldx%ldx%ldx%ldx%ld%c", &n[0], &n[1], &n[2], &n[3], &n[4], &end) != 5 ||
      *std::min_element(n.begin(), n.end()) < 1)
    throw Error(fmt::format("attention shape is '{}', wanted BxHxNqxNkxK, for example 32x4x16x4096x64", text));
  return n;
}

double Distance::of(Context& context, const std::vector<Tensor>& tensors) {
  std::vector<float> values;
  values.reserve(first_.size());
  for (const Tensor& t : tensors)
    with_dtype(t.dtype(), [&]<class T>() {
      for (const T x : context.values<T>(t)) values.push_back(float(up(x)));
    });
  if (first_.empty()) first_ = values;
  double largest = 0, distance = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    largest = std::max(largest, double(std::fabs(first_[i])));
    const double d = std::fabs(values[i] - first_[i]);
    if (!std::isfinite(d)) return d;
    distance = std::max(distance, d);
  }
  return distance / largest;
}

Ceilings measure_ceilings(DType dtype, const Backend* module) {
  static std::map<DType, Ceilings> known;  // a process has one device
  const auto found = known.find(dtype);
  if (module && found != known.end()) return found->second;
  // The shim takes a thousand times as long; its numbers say nothing.
  const bool gpu = module && std::string(module->table()->name) == "cuda", shim = module && !gpu;
  const int64_t elements = int64_t(shim ? 1 : 256) << 18, side = gpu ? 8192 : shim ? 64 : 1024;
  const train::Product large{dtype, side, side, side, 1, 1, false, true, false};
  return known[dtype] = {copy_speed(module, elements), large.flops() / train::best_seconds(large, 5, module)};
}

void ceilings(const Arguments& a, const std::string& precision, const Backend* module) {
  const DType dtype = train::compute_type(precision);
  const Ceilings c = measure_ceilings(dtype, module);
  if (a.json) {
    for (const auto& [what, value] : {std::pair{"copy", c.copy_bytes_per_s}, std::pair{"matmul", c.flops_per_s}})
      fmt::print("{}\n", data::Json{{"what", what}, {"dtype", name_of(dtype)}, {"value", value / 1e9}}.dump());
  } else {
    fmt::print("copy {:.1f} GB/s, matrix product in {} {:.1f} GFLOP/s\n", c.copy_bytes_per_s / 1e9, name_of(dtype),
               c.flops_per_s / 1e9);
  }
}

void attention(const Arguments& a, const std::string& shape, const std::string& precision, const Backend* module) {
  const std::array<int64_t, 5> n = parse_shape(shape);
  const DType dtype = train::compute_type(precision);
  with_dtype(dtype, [&]<class T>() {
    Context context({1 << 12, attention_bytes(n), 0}, module);
    AttentionProblem<T> problem(context, n);
    constexpr std::pair<const char*, AttentionKernels> others[] = {{"plain", AttentionKernels::plain},
                                                                   {"cudnn", AttentionKernels::cudnn}};
    Distance forward, backward;
    const auto measure = [&](const char* kernel) {
      // Those of `own`, which is the first: others fall back to nothing.
      const auto fallbacks = [&](Operation operation) {
        return std::string(kernel) == "own" ? fallbacks_of(context.stream(), operation, dtype)
                                            : data::Json(data::Json::List());
      };
      const double f = least_seconds(context, problem.f, a.steps);
      print_attention(a, kernel, "forward", dtype, shape, f,
                      train::cost_of(Operation::AttentionFwd, dtype, &problem.f), forward.of(context, {problem.o}),
                      fallbacks(Operation::AttentionFwd));
      const double b = least_seconds(context, problem.b, a.steps);
      print_attention(a, kernel, "backward", dtype, shape, b,
                      train::cost_of(Operation::AttentionBwd, dtype, &problem.b),
                      backward.of(context, {problem.dq, problem.dk, problem.dv}), fallbacks(Operation::AttentionBwd));
    };
    measure("own");
    for (const auto& [kernel, kernels] : others) {
      if (!module) break;
      try {
        context.stream().set(StreamOption::attention, int64_t(kernels));
        measure(kernel);
      } catch (const Error& e) {
        fmt::print(stderr, "{}: {}\n", kernel, e.what());
      }
    }
  });
}

}  // namespace selene::bench
