#include "train/measure/floor.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "autograd/with_dtype.h"
#include "data/io/machine.h"
#include "kernels/attention.h"
#include "kernels/ceil_div.h"
#include "kernels/error.h"
#include "kernels/matmul.h"
#include "train/folder/log.h"

namespace selene::train {
namespace {

constexpr int64_t kFloorTokens = 16384;  // of the products that are timed on a CPU, where more only takes longer

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

constexpr int64_t kMostTimed = 1 << 30;  // bytes of operands

int64_t bytes_of(const Product& p) { return p.batch * (p.M * p.K + p.K * p.N + p.M * p.N) * size_of(p.dtype); }

// The product of two dense batches of matrices.
template <class T>
Matmul<T> dense_product(const Product& p) {
  Matmul<T> m{};
  m.M = p.M, m.N = p.N, m.K = p.K, m.outer = 1, m.inner = p.batch;
  m.lda = p.trans_a ? p.M : p.K, m.ldb = p.trans_b ? p.K : p.N, m.ldc = p.N;
  m.a_inner = p.M * p.K, m.b_inner = p.K * p.N, m.c_inner = p.M * p.N;
  m.trans_a = p.trans_a, m.trans_b = p.trans_b, m.c_is_acc = p.c_is_acc && p.dtype != DType::f64;
  return m;
}

template <class T>
double time_product(const Product& p, int repeats, const Backend* module) {
  Matmul<T> m = dense_product<T>(p);
  const DType c = m.c_is_acc ? DType::f32 : p.dtype;
  const int64_t scratch = workspace_bytes(Stream(module ? module->table() : nullptr, true), m);
  const auto room = [](int64_t n, DType t) { return n * size_of(t) + Arena::kAlignment; };
  const int64_t a_size = p.batch * m.a_inner, b_size = p.batch * m.b_inner, c_size = p.batch * m.c_inner;
  Context context(
      {1 << 12, room(a_size, p.dtype) + room(b_size, p.dtype) + room(c_size, c) + room(scratch, DType::u8), 0},
      module);
  const auto filled = [&](int64_t n) {
    std::vector<T> x(static_cast<size_t>(n));
    for (size_t i = 0; i < x.size(); ++i) x[i] = down<T>(float(i % 7) * 0.125f);
    return context.tensor<T>({n}, x, "operand");
  };
  const Tensor a = filled(a_size), b = filled(b_size), out = context.empty({c_size}, c, "result"),
               w = context.empty({scratch}, DType::u8, "workspace");
  m.a = a.data<T>(), m.b = b.data<T>(), m.c = out.raw(), m.workspace = static_cast<Acc<T>*>(w.raw());
  run(context.stream(), m);
  double best = std::numeric_limits<double>::infinity();
  context.stream().observer = [&](Operation, DType, double seconds, const void*) { best = std::min(best, seconds); };
  for (int i = 0; i < repeats; ++i) run(context.stream(), m);
  return best;
}

}  // namespace

std::vector<Product> products_of_step(const Task& task, const data::Batch& shape) {
  Session dry(task, Context::dry(), true, {}, false);
  Collector collector;
  dry.context().stream().observer = [&](Operation operation, DType dtype, double, const void* arguments) {
    collector.launch(operation, dtype, arguments);
  };
  dry.micro_batch(shape, 0);
  return collector.products;
}

double best_seconds(const Product& product, int repeats, const Backend* module) {
  Product part = product;  // the scores of long sequences fit no memory, though no step ever holds them
  double share = 1;
  while (bytes_of(part) > kMostTimed && part.batch * part.M > 1) {
    int64_t& rows = part.batch > 1 ? part.batch : part.M;
    const int64_t half = ceil_div(rows, 2);
    share *= double(rows) / double(half), rows = half;
  }
  return share * with_dtype(part.dtype, [&]<class T>() { return time_product<T>(part, repeats, module); });
}

Floor measure_floor(const std::vector<Product>& products, int repeats, const Backend* module) {
  Floor floor;
  for (const Product& p : products) {
    floor.seconds += double(p.calls) * best_seconds(p, repeats, module);
    floor.flops += double(p.calls) * p.flops();
  }
  return floor;
}

void tell_floor(const Task& task, const data::Dataset& set, const Backend* module) {
  const Recipe& recipe = task.recipe();
  const Task::Extent extent = task.extent(set);
  const int64_t N = extent.longest, B = std::min(extent.examples, recipe.train.batch_size);
  const int64_t timed = module ? B : std::clamp<int64_t>(kFloorTokens / N, 1, B);
  const Floor floor = measure_floor(products_of_step(task, task.shape(timed, N)), 3, module);
  double flops = 0;
  for (const Product& p : products_of_step(task, task.shape(B, N))) flops += double(p.calls) * p.flops();
  const double n = double(recipe.train.accumulation), seconds = floor.seconds * flops / floor.flops;
  const Session dry(task, Context::dry(), true);
  log_info(fmt::format("model: {} parameters", dry.parameters().true_elements()));
  log_info(
      fmt::format("an update at {} x {} x {} tokens: {:.2f} GFLOP of matrix products, which take {:.1f} ms alone",
                  recipe.train.accumulation, B, N, n * flops / 1e9, n * seconds * 1e3));
}

}  // namespace selene::train
