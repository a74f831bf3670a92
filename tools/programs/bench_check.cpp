// Second opinions on a device at the sizes that are timed: tensor-core attention beside the kernels without tensor
// cores, the library's products beside our own kernel, gradients of biases beside sums in double on the host.
//
// How far two right results may lie apart, as a part of the largest element. u is the unit roundoff of the element
// type. Sums are in fp32, and the n terms of one have random signs: the errors of its additions walk at random, so
// two orders of addition differ by some sqrt(n) 2^-24 of the largest partial sum, which is no larger than the result
// by orders; 8 of them are allowed. Each of the two results is rounded once more to its element type: 2 u. Attention
// on tensor cores also rounds the probabilities and their gradients before it multiplies with them, which moves a
// result by u / sqrt(3) of itself, and a second time where both kernels do: 4 u in all.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>

#include "autograd/with_dtype.h"
#include "data/io/json.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/matmul.h"
#include "tools/programs/bench.h"
#include "tools/programs/bench_operands.h"
#include "train/step/session.h"

namespace selene::bench {
namespace {

double unit_roundoff(DType t) { return t == DType::f32 ? 0x1p-24 : t == DType::f16 ? 0x1p-11 : 0x1p-8; }
double of_sums(int64_t terms) { return 8 * std::sqrt(double(terms)) * 0x1p-24; }

struct Verdicts {
  const Arguments& arguments;
  int failed = 0;

  void add(const char* what, const char* result, DType dtype, const std::string& shape, double distance,
           double allowed) {
    const bool near = distance <= allowed;  // NaN is not
    failed += near ? 0 : 1;
    if (arguments.json)
      fmt::print("{}\n", data::Json{{"what", what},
                                    {"result", result},
                                    {"dtype", name_of(dtype)},
                                    {"shape", shape},
                                    {"distance", distance},
                                    {"allowed", allowed},
                                    {"verdict", near ? "near" : "too far"}}
                             .dump());
    else
      fmt::print("{:10} {:14} {:5} {:24} distance {:.2e}, allowed {:.2e}{}\n", what, result, name_of(dtype), shape,
                 distance, allowed, near ? "" : ": too far");
    fflush(stdout);
  }
};

// Own attention, then the kernels without tensor cores.
template <class T>
void check_attention(Verdicts& verdicts, const std::string& shape, const Backend* module) {
  const std::array<int64_t, 5> n = parse_shape(shape);
  Context context({1 << 12, attention_bytes(n), 0}, module);
  AttentionProblem<T> problem(context, n);
  problem.f.scale *= 4, problem.b.scale *= 4;  // scores of some units, so that probabilities differ
  const std::pair<const char*, Tensor> results[] = {
      {"o", problem.o}, {"dq", problem.dq}, {"dk", problem.dk}, {"dv", problem.dv}};
  Distance distances[4];
  for (const AttentionKernels kernels : {AttentionKernels::plain, AttentionKernels::own}) {
    context.stream().set(StreamOption::attention, int64_t(kernels));
    run_with_scratch(context, problem.f);
    run_with_scratch(context, problem.b);
    for (int i = 0; i < 4; ++i) {
      const double distance = distances[i].of(context, {results[i].second});
      if (kernels == AttentionKernels::own)
        verdicts.add("attention", results[i].first, dtype_of<T>, shape, distance,
                     4 * unit_roundoff(dtype_of<T>) + of_sums(std::max(n[2], n[3])));
    }
  }
}

// A linear layer y = x w^T + b over many rows: x [R, in], w [out, in], and its gradients.
template <class T>
class Linear {
 public:
  Linear(Context& context, int64_t R, int64_t in, int64_t out) : context_(context), R_(R), in_(in), out_(out) {
    x_ = random({R, in}, 1), w_ = random({out, in}, 2), b_ = random({out}, 3), dy_ = random({R, out}, 4);
    y_ = context.empty({R, out}, dtype_of<T>), dx_ = context.empty({R, in}, dtype_of<T>);
    dw_ = context.empty({out, in}, dtype_of<Acc<T>>), db_ = context.empty({out}, dtype_of<Acc<T>>);
  }

  void run_all() {
    Matmul<T> forward = product(x_, w_, y_, R_, out_, in_);
    forward.trans_b = 1, forward.ldb = in_, forward.bias = b_.template data<T>();
    run_with_scratch(context_, forward);
    run_with_scratch(context_, product(dy_, w_, dx_, R_, in_, out_));
    for (const Tensor& sum : {dw_, db_}) run(context_.stream(), Fill<Acc<T>>{sum.data<Acc<T>>(), sum.numel(), 0});
    Matmul<T> weights = product(dy_, x_, dw_, out_, in_, R_);
    weights.trans_a = 1, weights.lda = out_, weights.c_is_acc = 1, weights.accumulate = 1;
    weights.sums_a = 1, weights.a_sum = db_.template data<Acc<T>>();
    run_with_scratch(context_, weights);
  }

  void check(Verdicts& verdicts) {
    const std::string shape = fmt::format("[{} x {} -> {}]", R_, in_, out_);
    const DType t = dtype_of<T>;
    struct Row {
      const char* name;
      Tensor result;
      DType type;
      int64_t terms;
      Distance distance = {};
    };
    Row rows[] = {{"y", y_, t, in_}, {"dx", dx_, t, out_}, {"dw", dw_, DType::f32, R_}};
    for (const int64_t plain : {1, 0}) {
      context_.stream().set(StreamOption::plain_matmul, plain);
      run_all();
      for (Row& row : rows) {
        const double distance = row.distance.of(context_, {row.result});
        if (!plain)
          verdicts.add("linear", row.name, t, shape, distance, 2 * unit_roundoff(row.type) + of_sums(row.terms));
      }
    }
    verdicts.add("linear", "db", t, shape, bias_distance(), of_sums(R_));
  }

 private:
  Tensor random(const Shape& shape, uint32_t seed) {
    int64_t n = 1;
    for (const int64_t axis : shape) n *= axis;
    return context_.tensor<T>(shape, random_values<T>(n, seed), "operand");
  }

  // C [M, N] = A [M, K] B [K, N], all dense.
  Matmul<T> product(const Tensor& a, const Tensor& b, const Tensor& c, int64_t M, int64_t N, int64_t K) {
    Matmul<T> m{};
    m.a = a.data<T>(), m.b = b.data<T>(), m.c = c.raw(), m.M = M, m.N = N, m.K = K;
    m.lda = K, m.ldb = N, m.ldc = N, m.outer = m.inner = 1;
    return m;
  }

  // Of db from the sums over the rows of dy in double, as a part of the largest.
  double bias_distance() {
    const std::vector<T> dy = context_.values<T>(dy_);
    std::vector<double> sums(size_t(out_), 0.0);
    for (size_t i = 0; i < dy.size(); ++i) sums[i % size_t(out_)] += double(up(dy[i]));
    const std::vector<Acc<T>> db = context_.values<Acc<T>>(db_);
    double distance = 0, largest = 0;
    for (size_t i = 0; i < db.size(); ++i) {
      const double d = std::abs(double(db[i]) - sums[i]);
      if (!std::isfinite(d)) return d;
      distance = std::max(distance, d), largest = std::max(largest, std::abs(sums[i]));
    }
    return distance / largest;
  }

  Context& context_;
  int64_t R_, in_, out_;
  Tensor x_, w_, b_, dy_, y_, dx_, dw_, db_;
};

}  // namespace

int check(const Arguments& a, const std::string& precision, const Backend* module) {
  if (!module)
    throw Error("check compares the kernels of a device with others of it: --device is cpu, wanted a device");
  const bool tiny = std::string(module->table()->name) != "cuda";  // the shim takes a thousand times as long
  const DType dtype = train::compute_type(precision);
  Verdicts verdicts{a};
  std::vector<std::string> shapes{"32x4x16x4096x64", "32x4x4096x16x64", "4x4x4096x4096x64"};
  if (tiny) shapes = {"2x2x16x200x16", "2x2x200x16x16", "1x2x130x150x32"};
  with_dtype(dtype, [&]<class T>() {
    if (dtype != DType::f32)  // has no other kernels than the plain ones
      for (const std::string& shape : shapes) check_attention<T>(verdicts, shape, module);
    const int64_t R = tiny ? 1500 : 131072, in = tiny ? 16 : 256;
    for (const int64_t out : {4 * in, in}) {
      const int64_t numbers = R * (2 * in + 2 * out) + 2 * in * out;
      Context context({1 << 12, numbers * size_of(dtype) + 8 * in * out + (int64_t(64) << 20), 0}, module);
      Linear<T>(context, R, in, out).check(verdicts);
    }
  });
  return verdicts.failed;
}

}  // namespace selene::bench
