// gemm() on oneDNN 2.x and 3.x. Each thread keeps its own primitives, made for one thread, and its own scratch, so
// that a product has the same bits from whichever thread it is called (oneDNN would cut a long K by its number of
// threads).
#include "kernels/cpu/gemm.h"

#include <fmt/format.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/cpu/crash_guard.h"
#include "kernels/cpu/parallel.h"
#include "kernels/error.h"

namespace selene::cpu {
namespace {

// While it lives, OpenMP regions begun by this thread (oneDNN's) have one thread.
class OneThread {
#ifdef _OPENMP
 public:
  OneThread() : threads_(omp_get_max_threads()) {
    if (threads_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (threads_ != 1) omp_set_num_threads(threads_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int threads_;
#else
 public:
  OneThread() {}  // without OpenMP of our own, set OMP_NUM_THREADS=1 for oneDNN's
#endif
};

// Memory of one thread that grows and is used again, 64-byte aligned.
class Scratch {
 public:
  void* at_least(size_t bytes) {
    if (bytes > size_) {
      const size_t wanted = (bytes + 4095) / 4096 * 4096;
      size_ = 0;
      data_.reset(std::aligned_alloc(64, wanted));
      if (!data_) throw Error(fmt::format("gemm: no memory for {} bytes of scratch", wanted));
      size_ = wanted;
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> data_;
  size_t size_ = 0;
};

struct Key {
  Gemm g;
  bool bias;
  bool operator==(const Key&) const = default;
};

struct Hash {
  size_t operator()(const Key& k) const {
    const Gemm& g = k.g;
    uint64_t h = uint64_t(g.ab) | uint64_t(g.c) << 4 | uint64_t(g.trans_a) << 8 | uint64_t(g.trans_b) << 9 |
                 uint64_t(g.accumulate) << 10 | uint64_t(k.bias) << 11;
    for (const int64_t v : {g.M, g.N, g.K, g.lda, g.ldb, g.ldc}) {
      h = (h ^ uint64_t(v)) * 0x9e3779b97f4a7c15u;
      h ^= h >> 29;
    }
    return size_t(h);
  }
};

using Memory = dnnl::memory;

// The matmul primitive of one shape with its memory objects; not native where oneDNN has only its slow reference
// code.
struct Primitive {
  dnnl::matmul matmul;
  Memory a, b, c, bias, scratch;
  size_t scratch_bytes = 0;
  std::vector<dnnl_exec_arg_t> arguments;
  bool native = false;
};

const dnnl::engine& engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

Memory::data_type dnnl_type(DType t) { return t == DType::f32 ? Memory::data_type::f32 : Memory::data_type::bf16; }

Memory::desc matrix(int64_t rows, int64_t columns, int64_t ld, bool transposed, DType t) {
  return transposed ? Memory::desc({rows, columns}, dnnl_type(t), {1, ld})
                    : Memory::desc({rows, columns}, dnnl_type(t), {ld, 1});
}

dnnl::primitive_attr attributes(bool accumulate) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attr.set_fpmath_mode(dnnl::fpmath_mode::strict);  // whatever the environment says
  if (accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  }
  return attr;
}

dnnl::matmul::primitive_desc describe(const Memory::desc& a, const Memory::desc& b, const Memory::desc& bias,
                                      const Memory::desc& c, const dnnl::primitive_attr& attr) {
#if DNNL_VERSION_MAJOR >= 3
  return bias.get_size() ? dnnl::matmul::primitive_desc(engine(), a, b, bias, c, attr)
                         : dnnl::matmul::primitive_desc(engine(), a, b, c, attr);
#else
  return bias.get_size() ? dnnl::matmul::primitive_desc({a, b, bias, c}, attr, engine())
                         : dnnl::matmul::primitive_desc({a, b, c}, attr, engine());
#endif
}

Primitive make_primitive(const Gemm& g, bool with_bias) {
  const Memory::desc a = matrix(g.M, g.K, g.lda, g.trans_a, g.ab), b = matrix(g.K, g.N, g.ldb, g.trans_b, g.ab);
  const Memory::desc c = matrix(g.M, g.N, g.ldc, false, g.c);
  const Memory::desc bias = with_bias ? matrix(1, g.N, g.N, false, g.ab) : Memory::desc();
  Primitive p;
  try {
    const auto pd = describe(a, b, bias, c, attributes(g.accumulate));
    p.native = g.ab == DType::f32 || std::string_view(pd.impl_info_str()).find("ref") == std::string_view::npos;
    if (!p.native) return p;
    p.matmul = dnnl::matmul(pd);
    p.scratch_bytes = pd.scratchpad_desc().get_size();
    p.scratch = Memory(pd.scratchpad_desc(), engine(), nullptr);
  } catch (const dnnl::error& e) {
    if (e.status == dnnl_unimplemented && g.ab != DType::f32) return p;
    throw Error(fmt::format("gemm: oneDNN {}.{} refuses {} x {} x {} with row strides {}, {}, {}: {}",
                            DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, g.M, g.N, g.K, g.lda, g.ldb, g.ldc, e.what()));
  }
  p.a = Memory(a, engine(), nullptr), p.b = Memory(b, engine(), nullptr), p.c = Memory(c, engine(), nullptr);
  p.arguments = {{DNNL_ARG_SRC, p.a.get()},
                 {DNNL_ARG_WEIGHTS, p.b.get()},
                 {DNNL_ARG_DST, p.c.get()},
                 {DNNL_ARG_SCRATCHPAD, p.scratch.get()}};
  if (with_bias) {
    p.bias = Memory(bias, engine(), nullptr);
    p.arguments.push_back({DNNL_ARG_BIAS, p.bias.get()});
  }
  return p;
}

Primitive& primitive_for(const Gemm& g, bool with_bias) {
  constexpr size_t kept = 1024;  // shapes; more than any model here needs
  thread_local std::unordered_map<Key, Primitive, Hash> cache;
  const Key key{g, with_bias};
  auto found = cache.find(key);
  if (found == cache.end()) {
    if (cache.size() >= kept) cache.clear();
    found = cache.emplace(key, make_primitive(g, with_bias)).first;
  }
  return found->second;
}

// False: oneDNN has no fast code for these element types on this CPU, and nothing was done.
bool run_onednn(const Gemm& g, const void* a, const void* b, void* c, const void* bias) {
  thread_local dnnl::stream stream(engine());
  thread_local Scratch scratch;
  const OneThread one_thread;
  const CrashGuard guard;
  Primitive& p = primitive_for(g, bias);
  if (!p.native) return false;
  p.a.set_data_handle(const_cast<void*>(a));
  p.b.set_data_handle(const_cast<void*>(b));
  p.c.set_data_handle(c);
  if (bias) p.bias.set_data_handle(const_cast<void*>(bias));
  p.scratch.set_data_handle(scratch.at_least(p.scratch_bytes));
  const dnnl_status_t status =
      dnnl_primitive_execute(p.matmul.get(), stream.get(), int(p.arguments.size()), p.arguments.data());
  if (status == dnnl_out_of_memory)
    throw Error(
        fmt::format("gemm: the system refuses the memory for a product of {} x {} x {} (ulimit -v)", g.M, g.N, g.K));
  if (status != dnnl_success)
    throw Error(fmt::format("gemm: oneDNN status {} in a product of {} x {} x {}", int(status), g.M, g.N, g.K));
  return true;
}

template <class From, class To>
SELENE_CLONES void convert(const From* from, int64_t from_ld, To* to, int64_t to_ld, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[r * to_ld + c] = down<To>(up(from[r * from_ld + c]));
}

// A product that oneDNN does not do well, or not at all, in blocks: the operands of a block go to fp32 scratch of
// fixed size, or stay in place where `direct` says so.
template <class T, class Out>
class Blocks {
 public:
  Blocks(const Gemm& g, const T* a, const T* b, Out* c, const T* bias, bool direct_a, bool direct_b)
      : g_(g), a_(a), b_(b), c_(c), bias_(bias), direct_a_(direct_a), direct_b_(direct_b) {
    thread_local Scratch scratch;
    constexpr int64_t a_size = BK * (BM + kSkew) + BM * kSkew, b_size = BK * (BN + kSkew) + BN * kSkew;
    fa_ = static_cast<float*>(scratch.at_least(sizeof(float) * (a_size + b_size + BM * BN + BN)));
    fb_ = fa_ + a_size, fc_ = fb_ + b_size, fbias_ = fc_ + BM * BN;
  }

  void run() {
    const int64_t rows = direct_a_ && std::is_same_v<Out, float> ? g_.M : BM;
    for (int64_t n = 0; n < g_.N; n += BN) {
      const int64_t N = std::min(BN, g_.N - n);
      if (bias_) convert(bias_ + n, N, fbias_, N, 1, N);
      if constexpr (std::is_same_v<Out, float>) {  // sums over blocks of K can live in C
        for (int64_t k = 0; k < g_.K; k += BK) {
          load_b(n, k);
          for (int64_t m = 0; m < g_.M; m += rows) {
            load_a(m, k, rows);
            product(n, m, k, rows, c_ + m * g_.ldc + n, g_.ldc);
          }
        }
      } else {
        for (int64_t m = 0; m < g_.M; m += rows) {
          const int64_t M = std::min(rows, g_.M - m);
          Out* c = c_ + m * g_.ldc + n;
          if (g_.accumulate) convert(c, g_.ldc, fc_, N, M, N);
          for (int64_t k = 0; k < g_.K; k += BK) load_b(n, k), load_a(m, k, rows), product(n, m, k, rows, fc_, N);
          convert(fc_, N, c, g_.ldc, M, N);  // rounded once
        }
      }
    }
  }

 private:
  static constexpr int64_t BM = 256, BN = 256, BK = 256;
  static constexpr int64_t kSkew = 16;  // elements: keeps the rows of a block out of each other's cache sets

  static const float* load(const T* from, int64_t from_ld, float* to, int64_t rows, int64_t columns, bool direct) {
    if constexpr (std::is_same_v<T, float>)
      if (direct) return from;
    convert(from, from_ld, to, columns + kSkew, rows, columns);
    return to;
  }
  void load_a(int64_t m, int64_t k, int64_t rows) {
    const int64_t M = std::min(rows, g_.M - m), K = std::min(BK, g_.K - k);
    const T* from = a_ + (g_.trans_a ? k * g_.lda + m : m * g_.lda + k);
    block_a_ = load(from, g_.lda, fa_, g_.trans_a ? K : M, g_.trans_a ? M : K, direct_a_);
  }
  void load_b(int64_t n, int64_t k) {
    const int64_t N = std::min(BN, g_.N - n), K = std::min(BK, g_.K - k);
    const T* from = b_ + (g_.trans_b ? n * g_.ldb + k : k * g_.ldb + n);
    block_b_ = load(from, g_.ldb, fb_, g_.trans_b ? N : K, g_.trans_b ? K : N, direct_b_);
  }
  void product(int64_t n, int64_t m, int64_t k, int64_t rows, float* c, int64_t ldc) {
    Gemm part;
    part.M = std::min(rows, g_.M - m), part.N = std::min(BN, g_.N - n), part.K = std::min(BK, g_.K - k);
    part.lda = direct_a_ ? g_.lda : (g_.trans_a ? part.M : part.K) + kSkew;
    part.ldb = direct_b_ ? g_.ldb : (g_.trans_b ? part.K : part.N) + kSkew;
    part.ldc = ldc, part.trans_a = g_.trans_a, part.trans_b = g_.trans_b, part.accumulate = g_.accumulate || k > 0;
    run_onednn(part, block_a_, block_b_, c, bias_ && k == 0 ? fbias_ : nullptr);
  }

  const Gemm& g_;
  const T *a_, *b_;
  Out* c_;
  const T* bias_;
  bool direct_a_, direct_b_;
  float *fa_, *fb_, *fc_, *fbias_;
  const float *block_a_ = nullptr, *block_b_ = nullptr;
};

template <class T, class Out>
void run_converted(const Gemm& g, const T* a, const T* b, Out* c, const T* bias) {
  Blocks<T, Out>(g, a, b, c, bias, false, false).run();
}

// oneDNN's AVX2 code walks an operand whose rows lie along K in place. Where the row stride is a multiple of a large
// power of two, these rows share a few sets of the first-level cache, and it drops to half its speed (measured: 42
// against 80 GFLOP/s for 4096 x 1024 x 256 with ldb 1024): copied to scratch with an odd stride it does not.
bool same_cache_sets(int64_t rows, int64_t ld, int64_t uses) { return rows >= 64 && uses >= 32 && ld % 256 == 0; }

void run_float(const Gemm& g, const float* a, const float* b, float* c, const float* bias) {
  static const bool walks_in_place = unsigned(dnnl::get_effective_cpu_isa()) < unsigned(dnnl::cpu_isa::avx512_core);
  const bool copy_a = walks_in_place && g.trans_a && same_cache_sets(g.K, g.lda, g.N);
  const bool copy_b = walks_in_place && !g.trans_b && same_cache_sets(g.K, g.ldb, g.M);
  if (copy_a || copy_b) return Blocks<float, float>(g, a, b, c, bias, !copy_a, !copy_b).run();
  run_onednn(g, a, b, c, bias);
}

// double is for gradient checks: a plain loop, terms in ascending k.
void run_double(const Gemm& g, const double* a, const double* b, double* c, const double* bias) {
  const int64_t ak = g.trans_a ? g.lda : 1, am = g.trans_a ? 1 : g.lda, bk = g.trans_b ? 1 : g.ldb,
                bn = g.trans_b ? g.ldb : 1;
  constexpr int64_t BN = 64;
  double sum[BN];
  for (int64_t n = 0; n < g.N; n += BN) {
    const int64_t N = std::min(BN, g.N - n);
    for (int64_t m = 0; m < g.M; ++m) {
      double* out = c + m * g.ldc + n;
      std::fill(sum, sum + N, 0.0);
      for (int64_t k = 0; k < g.K; ++k) {
        const double x = a[m * am + k * ak], *row = b + k * bk + n * bn;
        for (int64_t j = 0; j < N; ++j) sum[j] += x * row[j * bn];
      }
      for (int64_t j = 0; j < N; ++j) out[j] = sum[j] + (bias ? bias[n + j] : 0) + (g.accumulate ? out[j] : 0);
    }
  }
}

// K = 0: the product is zero.
template <class T, class Out>
void run_empty(const Gemm& g, Out* c, const T* bias) {
  for (int64_t m = 0; m < g.M; ++m)
    for (int64_t n = 0; n < g.N; ++n) {
      Out& out = c[m * g.ldc + n];
      out = down<Out>((bias ? up(bias[n]) : 0) + (g.accumulate ? up(out) : 0));
    }
}

template <class T, class Out>
void run_typed(const Gemm& g, const void* a, const void* b, void* c, const void* bias) {
  const T *x = static_cast<const T*>(a), *y = static_cast<const T*>(b), *z = static_cast<const T*>(bias);
  Out* out = static_cast<Out*>(c);
  if (g.K == 0) return run_empty(g, out, z);
  if constexpr (std::is_same_v<T, double>) {
    run_double(g, x, y, out, z);
  } else if constexpr (std::is_same_v<T, f16>) {
    run_converted(g, x, y, out, z);
  } else if constexpr (std::is_same_v<T, float>) {
    run_float(g, x, y, out, z);
  } else if (!run_onednn(g, a, b, c, bias)) {
    run_converted(g, x, y, out, z);
  }
}

}  // namespace

void gemm(const Gemm& given, const void* a, const void* b, void* c, const void* bias) {
  if (given.M == 0 || given.N == 0) return;
  Gemm g = given;
  // The stride of a single row says nothing; a canonical one keeps oneDNN content and the cache small.
  if ((g.trans_a ? g.K : g.M) == 1) g.lda = g.trans_a ? g.M : g.K;
  if ((g.trans_b ? g.N : g.K) == 1) g.ldb = g.trans_b ? g.K : g.N;
  if (g.M == 1) g.ldc = g.N;
  const bool same = g.c == g.ab, wide = g.c == DType::f32;
  if (g.ab == DType::f32 && same) return run_typed<float, float>(g, a, b, c, bias);
  if (g.ab == DType::f64 && same) return run_typed<double, double>(g, a, b, c, bias);
  if (g.ab == DType::bf16 && wide) return run_typed<bf16, float>(g, a, b, c, bias);
  if (g.ab == DType::bf16 && same) return run_typed<bf16, bf16>(g, a, b, c, bias);
  if (g.ab == DType::f16 && wide) return run_typed<f16, float>(g, a, b, c, bias);
  if (g.ab == DType::f16 && same) return run_typed<f16, f16>(g, a, b, c, bias);
  throw Error(
      fmt::format("gemm: {} x {} -> {} does not exist; wanted f32, f64, or bf16 or f16 with C of "
                  "the same type or f32",
                  name_of(g.ab), name_of(g.ab), name_of(g.c)));
}

}  // namespace selene::cpu
