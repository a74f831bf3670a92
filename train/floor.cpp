#include "train/floor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <tuple>

#include "autograd/with_dtype.h"
#include "kernels/attention.h"
#include "kernels/error.h"
#include "kernels/matmul.h"
#include "train/log.h"

namespace selene::train {
namespace {

auto key(const Product& p) { return std::tie(p.dtype, p.M, p.N, p.K, p.batch, p.trans_a, p.trans_b, p.c_is_acc); }

class Collector {
 public:
  void add(Product p) {
    for (Product& known : products)
      if (key(known) == key(p)) {
        ++known.calls;
        return;
      }
    products.push_back(p);
  }
  template <class T>
  void matmul(const Matmul<T>& a) {
    add({dtype_of<T>, a.M, a.N, a.K, a.outer * a.inner, 1, a.trans_a != 0, a.trans_b != 0, a.c_is_acc != 0});
  }
  template <class A>
  void forward(const A& a, DType t) {
    const int64_t n = a.B * a.H;
    add({t, a.Nq, a.Nk, a.K, n, 1, false, true, false});   // S = Q K^T
    add({t, a.Nq, a.K, a.Nk, n, 1, false, false, false});  // O = P V
  }
  template <class A>
  void backward(const A& a, DType t) {
    const int64_t n = a.B * a.H;
    add({t, a.Nq, a.Nk, a.K, n, 1, false, true, false});   // dP = dO V^T
    add({t, a.Nk, a.K, a.Nq, n, 1, true, false, false});   // dV = P^T dO
    add({t, a.Nq, a.K, a.Nk, n, 1, false, false, false});  // dQ = dS K
    add({t, a.Nk, a.K, a.Nq, n, 1, true, false, false});   // dK = dS^T Q
  }
  void launch(Operation operation, DType dtype, const void* arguments) {
    with_dtype(dtype, [&]<class T>() {
      if (operation == Operation::Matmul) matmul(*static_cast<const Matmul<T>*>(arguments));
      if (operation == Operation::AttentionFwd) forward(*static_cast<const AttentionFwd<T>*>(arguments), dtype);
      if (operation == Operation::AttentionBwd) backward(*static_cast<const AttentionBwd<T>*>(arguments), dtype);
    });
  }
  std::vector<Product> products;
};

template <class T>
double time_product(const Product& p, int repeats) {
  const DType c = p.c_is_acc && p.dtype != DType::f64 ? DType::f32 : p.dtype;
  const int64_t a_size = p.M * p.K, b_size = p.K * p.N, c_size = p.M * p.N,
                scratch = matmul_workspace(p.M, p.N, p.K, p.batch);
  const auto room = [](int64_t n, DType t) { return n * size_of(t) + 4 * Arena::kAlignment; };
  Context context(
      {1 << 12,
       p.batch * (room(a_size, p.dtype) + room(b_size, p.dtype) + room(c_size, c)) + room(scratch, DType::f64), 0});
  const auto filled = [&](int64_t n) {
    Tensor t = context.empty({p.batch * n}, p.dtype, "operand");
    T* x = t.data<T>();
    for (int64_t i = 0; i < t.numel(); ++i) x[i] = down<T>(float(i % 7) * 0.125f);
    return t;
  };
  const Tensor a = filled(a_size), b = filled(b_size), out = context.empty({p.batch * c_size}, c, "result");
  const Tensor w = scratch ? context.empty({scratch}, dtype_of<Acc<T>>, "workspace") : Tensor();
  const Matmul<T> arguments{a.data<T>(),
                            b.data<T>(),
                            nullptr,
                            out.raw(),
                            p.M,
                            p.N,
                            p.K,
                            p.trans_a ? p.M : p.K,
                            p.trans_b ? p.K : p.N,
                            p.N,
                            1,
                            p.batch,
                            0,
                            a_size,
                            0,
                            b_size,
                            0,
                            c_size,
                            p.trans_a,
                            p.trans_b,
                            c != p.dtype,
                            0,
                            w ? w.data<Acc<T>>() : nullptr};
  double best = 1e30;
  for (int i = 0; i <= repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run(context.stream(), arguments);
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i > 0) best = std::min(best, took);
  }
  return best;
}

}  // namespace

std::vector<Product> products_of_step(const Recipe& recipe, const ModelSize& size, const data::Batch& shape) {
  Recipe plain = recipe;
  plain.train.recompute = false;
  Session dry(plain, size, Context::dry(), true);
  Collector collector;
  dry.context().stream().observer = [&](Operation operation, DType dtype, double, const void* arguments) {
    collector.launch(operation, dtype, arguments);
  };
  dry.micro_batch(shape, 0);
  return collector.products;
}

double best_seconds(const Product& product, int repeats) {
  return with_dtype(product.dtype, [&]<class T>() { return time_product<T>(product, repeats); });
}

Floor measure_floor(const std::vector<Product>& products, int repeats) {
  Floor floor;
  for (const Product& p : products) {
    floor.seconds += double(p.calls) * best_seconds(p, repeats);
    floor.flops += double(p.calls) * p.flops();
  }
  return floor;
}

void tell_plan(const MemoryPlan& plan) {
  constexpr double kMiB = 1 << 20;
  log_info(fmt::format(
      "memory: {:.1f} MiB for parameters, gradients and optimiser, {:.1f} MiB for a step, {:.1f} MiB in all",
      double(plan.persistent) / kMiB, double(plan.step) / kMiB, double(plan.total()) / kMiB));
  const double has = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE));
  if (double(plan.total()) <= has) return;
  const bool model = plan.persistent > plan.step;
  throw Error(fmt::format("the run needs {:.0f} MiB of memory, the machine has {:.0f} MiB; {}",
                          double(plan.total()) / kMiB, has / kMiB,
                          model ? "most of it is the model itself: lower model.dim, model.ffn_dim or model.layers"
                                : "lower train.batch_size or data.max_length, or set train.recompute: true"));
}

void tell_floor(const Recipe& recipe, const ModelSize& size, const data::Batch& shape) {
  const Floor floor = measure_floor(products_of_step(recipe, size, shape), 3);
  const double n = double(recipe.train.accumulation);
  const Session dry(recipe, size, Context::dry(), true);
  log_info(fmt::format("model: {} parameters", dry.parameters().true_elements()));
  log_info(fmt::format(
      "an update at {} x {} x {} tokens: {:.2f} GFLOP of matrix products, which take {:.1f} ms alone",
      recipe.train.accumulation, shape.B, shape.towers[0].N, n * floor.flops / 1e9, n * floor.seconds * 1e3));
}

}  // namespace selene::train
