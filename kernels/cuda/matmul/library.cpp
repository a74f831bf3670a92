// Matrix products by cuBLASLt, with bias, GELU and GELU's gradient fused where it offers that. What it does not offer
// is done in passes of our own behind the product, and a product that it has nothing for goes to our own kernel
// (plain.h); both are counted (count_fallback). A row-major matrix is the transpose of a column-major one, so every
// product is handed over as C^T[N, M] = op(B)^T[N, K] op(A)^T[K, M].
//
// The gradient of a bias is a pass of our own beside the product: the library's epilogue for it (BGRADB) is a kernel
// of its own too, of 32 blocks for 256 columns, and slower (docs/results/2026-11-27-h100.md). GELU in fp32 is a pass
// of our own as well: the epilogue's tanh is good to six digits, enough for 16-bit elements only.
//
// Same bits from run to run: the algorithm is the first one that the library's heuristic names for the shape, the
// layout and the alignment; one stream, a workspace of fixed size, and partial sums in fp32 only.
#include <cublasLt.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "kernels/cuda/host/resources.h"
#include "kernels/cuda/host/runtime.h"
#include "kernels/cuda/matmul/plain.h"
#include "kernels/error.h"

namespace selene::cuda {
namespace {

constexpr int64_t kLibraryWorkspace = 32 << 20;  // what cuBLAS itself takes on compute capability 9.0
constexpr int64_t kSmallProduct = 1 << 22;       // multiplications below which scratch gains nothing

void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(std::string(what) + ": " + cublasLtGetStatusString(status) + " (cuBLAS status " +
              std::to_string(int(status)) + ")");
}

/// The library has nothing for the product, which is no error. (Mismatch: bf16 below 8.0.) An invalid value is one.
bool refused(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_ARCH_MISMATCH;
}

/// Everything that decides the algorithm. Integers of one size only: compared as bytes. Matrices as in Matmul, but
/// one batch axis.
struct Product {
  int64_t M, N, K, lda, ldb, ldc, batch, a_stride, b_stride, c_stride;
  int64_t trans_a, trans_b, accumulate, ab, c, tf32, epilogue;  // ab, c: DType; epilogue: cublasLtEpilogue_t
  int64_t a_alignment, b_alignment, c_alignment, bias_alignment, workspace;  // bytes
  bool operator<(const Product& p) const { return memcmp(this, &p, sizeof(p)) < 0; }
};

/// The descriptors of one product and the algorithm found for it.
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  cublasLtMatmulHeuristicResult_t choice{};
  bool found = false;

  Plan() = default;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    if (operation) cublasLtMatmulDescDestroy(operation);
    for (cublasLtMatrixLayout_t layout : {a, b, c})
      if (layout) cublasLtMatrixLayoutDestroy(layout);
  }
  template <class V>
  void set(cublasLtMatmulDescAttributes_t which, const V& value) {
    check(cublasLtMatmulDescSetAttribute(operation, which, &value, sizeof(value)), "cublasLtMatmulDescSetAttribute");
  }
  /// The vector that a BIAS epilogue reads and the matrix of a GELU epilogue; null: none.
  void point_to(const void* bias, const void* aux) {
    if (bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    if (aux) set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
  }
};

/// A cuBLASLt handle and the plans made with it.
struct MatmulLibrary {
  cublasLtHandle_t handle = nullptr;
  std::map<Product, std::unique_ptr<Plan>> plans;

  MatmulLibrary() { check(cublasLtCreate(&handle), "cublasLtCreate"); }
  ~MatmulLibrary() {
    plans.clear();
    cublasLtDestroy(handle);
  }
};

cudaDataType_t cuda_type(int64_t t) {
  return DType(t) == DType::f16 ? CUDA_R_16F : DType(t) == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

/// A row-major matrix of `rows` rows: the column-major one of as many columns. A single row has no row stride.
cublasLtMatrixLayout_t layout(int64_t type, int64_t rows, int64_t width, int64_t stride, int64_t batch,
                              int64_t batch_stride) {
  cublasLtMatrixLayout_t result = nullptr;
  check(cublasLtMatrixLayoutCreate(&result, cuda_type(type), uint64_t(width), uint64_t(rows),
                                   rows == 1 ? std::max(stride, width) : stride),
        "cublasLtMatrixLayoutCreate");
  const int32_t count = int32_t(batch);
  cublasLtMatrixLayoutSetAttribute(result, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count));
  cublasLtMatrixLayoutSetAttribute(result, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_stride,
                                   sizeof(batch_stride));
  return result;
}

void describe(const Product& p, Plan& plan) {
  const cublasComputeType_t compute = p.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  check(cublasLtMatmulDescCreate(&plan.operation, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
  plan.set(CUBLASLT_MATMUL_DESC_TRANSA, p.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  plan.set(CUBLASLT_MATMUL_DESC_TRANSB, p.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  plan.set(CUBLASLT_MATMUL_DESC_EPILOGUE, cublasLtEpilogue_t(p.epilogue));
  const bool has_aux = p.epilogue == CUBLASLT_EPILOGUE_GELU_AUX || p.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS ||
                       p.epilogue == CUBLASLT_EPILOGUE_DGELU;
  if (has_aux) plan.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.N);
  plan.a = layout(p.ab, p.trans_a ? p.K : p.M, p.trans_a ? p.M : p.K, p.lda, p.batch, p.a_stride);
  plan.b = layout(p.ab, p.trans_b ? p.N : p.K, p.trans_b ? p.K : p.N, p.ldb, p.batch, p.b_stride);
  plan.c = layout(p.c, p.M, p.N, p.ldc, p.batch, p.c_stride);
}

/// Asks the heuristic; leaves plan.found false where the library has nothing for the product.
void choose(cublasLtHandle_t handle, const Product& p, Plan& plan) {
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, auto value) {
    cublasLtMatmulPreferenceSetAttribute(preference, which, &value, sizeof(value));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(p.workspace));
  // Parts of a long sum in fp32, whatever the result's type, added in an order that counters or a second step keep.
  const bool wide = DType(p.c) == DType::f32;
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         uint32_t(wide ? CUBLASLT_REDUCTION_SCHEME_MASK : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(p.b_alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, uint32_t(p.a_alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, uint32_t(p.c_alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, uint32_t(p.c_alignment));
  int results = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, plan.operation, plan.b, plan.a, plan.c, plan.c,
                                                               preference, 1, &plan.choice, &results);
  cublasLtMatmulPreferenceDestroy(preference);
  if (!refused(status)) check(status, "cublasLtMatmulAlgoGetHeuristic");
  plan.found = status == CUBLAS_STATUS_SUCCESS && results > 0 && plan.choice.state == CUBLAS_STATUS_SUCCESS;
}

/// The plan of a product, made once, with the pointers of its epilogue; null where the library has nothing for it.
/// The heuristic takes the alignment of bias and aux from the pointers: they are set before it is asked. It may not
/// be asked while a step is captured (cuBLASLt 13.3 refuses): a shape runs once before.
Plan* find(MatmulLibrary& library, const Product& p, const void* bias, const void* aux) {
  std::unique_ptr<Plan>& plan = library.plans[p];
  if (!plan) {
    auto made = std::make_unique<Plan>();
    describe(p, *made);
    made->point_to(bias, aux);
    choose(library.handle, p, *made);
    plan = std::move(made);
  }
  if (!plan->found) return nullptr;
  plan->point_to(bias, aux);
  return plan.get();
}

/// The largest power of two, 256 at most, that divides an address and all the byte offsets added to it.
int64_t alignment(const void* pointer, int64_t offset, int64_t other_offset) {
  const uint64_t bits =
      uint64_t(reinterpret_cast<uintptr_t>(pointer)) | uint64_t(offset) | uint64_t(other_offset) | 256;
  return int64_t(bits & (~bits + 1));
}

/// The batch axis that the library does not take: a loop of launches. Steps in elements.
struct Batches {
  int64_t count, a_step, b_step, c_step;
};

template <class T>
Product product_of(const Stream& s, const Matmul<T>& a, Batches& loop) {
  Product p{};
  p.M = a.M, p.N = a.N, p.K = a.K, p.lda = a.lda, p.ldb = a.ldb, p.ldc = a.ldc;
  p.trans_a = a.trans_a != 0, p.trans_b = a.trans_b != 0, p.accumulate = a.accumulate != 0;
  p.ab = int64_t(dtype_of<T>), p.c = int64_t(a.c_is_acc ? DType::f32 : dtype_of<T>);
  p.tf32 = s.tf32 && p.ab == int64_t(DType::f32);
  p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const bool one_axis =
      a.a_outer == a.inner * a.a_inner && a.b_outer == a.inner * a.b_inner && a.c_outer == a.inner * a.c_inner;
  if (a.inner > 1 && (a.outer == 1 || one_axis || a.inner >= a.outer)) {
    p.batch = a.inner, p.a_stride = a.a_inner, p.b_stride = a.b_inner, p.c_stride = a.c_inner;
    loop = {a.outer, a.a_outer, a.b_outer, a.c_outer};
    if (one_axis) p.batch *= a.outer, loop = {1, 0, 0, 0};
  } else {
    p.batch = a.outer, p.a_stride = a.a_outer, p.b_stride = a.b_outer, p.c_stride = a.c_outer;
    loop = {a.inner, a.a_inner, a.b_inner, a.c_inner};
  }
  if (p.batch == 1) p.a_stride = p.b_stride = p.c_stride = 0;
  if (loop.count == 1) loop = {1, 0, 0, 0};
  const int64_t size = size_of(dtype_of<T>), c_size = size_of(DType(p.c));
  p.a_alignment = alignment(a.a, p.a_stride * size, loop.a_step * size);
  p.b_alignment = alignment(a.b, p.b_stride * size, loop.b_step * size);
  p.c_alignment = alignment(a.c, p.c_stride * c_size, loop.c_step * c_size);
  return p;
}

template <class T>
int64_t scratch_bytes(const Matmul<T>& a) {
  return a.M * a.N * a.K * a.outer * a.inner < kSmallProduct ? 0 : kLibraryWorkspace;
}

template <class T>
ColumnSum<T> rows_of_a(const Matmul<T>& a) {
  return {a.a, a.a_sum, a.K, a.M, a.workspace};
}

/// False: nothing was launched, and the plan is not tried again.
template <class T>
bool launch_product(Stream& s, const Matmul<T>& a, const Product& p, Plan& plan, const Batches& loop, void* c) {
  auto& library = *static_cast<MatmulLibrary*>(resources(s).matmul);
  const float one = 1, beta = p.accumulate ? 1.0f : 0.0f;
  const int64_t c_size = size_of(DType(p.c));
  for (int64_t i = 0; i < loop.count; ++i) {
    void* to = static_cast<char*>(c) + i * loop.c_step * c_size;
    const cublasStatus_t status =
        cublasLtMatmul(library.handle, plan.operation, &one, a.b + i * loop.b_step, plan.b, a.a + i * loop.a_step,
                       plan.a, &beta, to, plan.c, to, plan.c, &plan.choice.algo, p.workspace ? a.workspace : nullptr,
                       size_t(p.workspace), static_cast<cudaStream_t>(s.queue));
    if (i == 0 && refused(status)) return plan.found = false;
    check(status, "cublasLtMatmul");
  }
  return true;
}

template <class T>
void tell_fallback(Stream& s, const Matmul<T>& a, const char* reason) {
  const auto text = [](int64_t n) { return std::to_string(n); };
  std::string shape =
      text(a.M) + "x" + text(a.N) + "x" + text(a.K) + (a.trans_a ? " T" : " N") + (a.trans_b ? "T" : "N");
  if (a.outer * a.inner != 1) shape = text(a.outer * a.inner) + " of " + shape;
  if (a.bias) shape += ", bias";
  if (a.accumulate) shape += ", added";
  if (a.c_is_acc) shape += ", to fp32";
  count_fallback(s, Operation::Matmul, dtype_of<T>, shape, reason);
}

/// Of the product and its epilogue in one launch; null where the library does not offer it as we want it.
template <class T>
Plan* fused_plan(Stream& s, const Matmul<T>& a, Product& p) {
  if (a.bias) {
    p.epilogue = a.epilogue == Epilogue::gelu ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_BIAS;
    p.bias_alignment = alignment(a.bias, 0, 0);
  } else if (a.epilogue == Epilogue::gelu) {
    p.epilogue = CUBLASLT_EPILOGUE_GELU_AUX;
  }
  if (a.epilogue == Epilogue::gelu_gradient) p.epilogue = CUBLASLT_EPILOGUE_DGELU;
  if (a.epilogue != Epilogue::none && (size_of(dtype_of<T>) != 2 || p.N % 8 != 0 || alignment(a.aux, 0, 0) < 16))
    return nullptr;
  const void* aux = a.epilogue == Epilogue::none ? nullptr : a.aux;
  return find(*static_cast<MatmulLibrary*>(resources(s).matmul), p, a.bias, aux);
}

/// False: nothing was launched.
template <class T>
bool run_fused(Stream& s, const Matmul<T>& a, Product p, const Batches& loop, void* c) {
  Plan* plan = fused_plan(s, a, p);
  return plan && launch_product(s, a, p, *plan, loop, c);
}

/// The product without an epilogue in one launch, or its bias in a second one.
template <class T>
bool run_product(Stream& s, const Matmul<T>& a, const Product& p, const Batches& loop, void* c) {
  if (run_fused(s, a, p, loop, c)) return true;
  if (!a.bias || a.epilogue != Epilogue::none) return false;
  Matmul<T> product = a;
  product.bias = nullptr;
  if (!run_fused(s, product, p, loop, c)) return false;
  tell_fallback(s, a, "the library does not add the bias, a pass of its own does");
  run(s, CopyStrided<T>{a.bias,
                        static_cast<T*>(c),
                        {a.outer, a.inner, a.M, a.N},
                        {0, 0, 0, 1},
                        {a.c_outer, a.c_inner, a.ldc, 1},
                        1});
  return true;
}

/// The product, then GELU or its gradient in a pass of its own, as always in fp32.
template <class T>
bool run_in_two(Stream& s, const Matmul<T>& a, const Product& p, const Batches& loop) {
  Matmul<T> product = a;
  product.epilogue = Epilogue::none;
  const bool forward = a.epilogue == Epilogue::gelu;
  if (a.epilogue == Epilogue::none || p.batch != 1 || a.ldc != a.N) return false;
  T* c = static_cast<T*>(a.c);
  Product q = p;
  if (forward) q.c_alignment = alignment(a.aux, 0, 0);
  if (!run_product(s, product, q, loop, forward ? a.aux : c)) return false;
  if (size_of(dtype_of<T>) == 2) tell_fallback(s, a, "the library has no GELU for it, a pass of its own does it");
  if (forward) run(s, ActivationFwd<T>{a.aux, c, a.M, a.N, a.M, Activation::gelu_tanh, 0, DropoutSite{}});
  else run(s, ActivationBwd<T>{a.aux, c, c, nullptr, a.M, a.N, a.M, Activation::gelu_tanh, 0, DropoutSite{}});
  return true;
}

/// False: nothing was launched, the library does not take this product.
template <class T>
bool run_by_library(Stream& s, const Matmul<T>& a) {
  const bool other_bias =
      a.bias && (a.epilogue == Epilogue::gelu_gradient || (a.c_is_acc && size_of(dtype_of<T>) != 4));
  if (a.M == 0 || a.N == 0 || a.K == 0 || a.outer * a.inner == 0) return false;
  if (other_bias) {
    tell_fallback(s, a, "the library adds no bias of this type, our own kernel computes the product");
    return false;
  }
  Batches loop{};
  Product p = product_of(s, a, loop);
  p.workspace = scratch_bytes(a);
  if (!run_product(s, a, p, loop, a.c) && !run_in_two(s, a, p, loop)) {
    tell_fallback(s, a, "the library has nothing for it, our own kernel computes the product");
    return false;
  }
  if (a.sums_a) run(s, rows_of_a(a));
  return true;
}

int32_t number_of(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t which) {
  int32_t value = 0;
  size_t written = 0;
  check(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, which, &value, sizeof(value), &written),
        "cublasLtMatmulAlgoConfigGetAttribute");
  return value;
}

std::string tile_name(int32_t tile) {
  struct Tile {
    int32_t number;
    const char* name;
  };
  constexpr Tile tiles[] = {{CUBLASLT_MATMUL_TILE_32x32, "32x32"},     {CUBLASLT_MATMUL_TILE_32x64, "32x64"},
                            {CUBLASLT_MATMUL_TILE_64x32, "64x32"},     {CUBLASLT_MATMUL_TILE_64x64, "64x64"},
                            {CUBLASLT_MATMUL_TILE_64x128, "64x128"},   {CUBLASLT_MATMUL_TILE_128x64, "128x64"},
                            {CUBLASLT_MATMUL_TILE_128x128, "128x128"}, {CUBLASLT_MATMUL_TILE_64x256, "64x256"},
                            {CUBLASLT_MATMUL_TILE_256x64, "256x64"},   {CUBLASLT_MATMUL_TILE_128x256, "128x256"},
                            {CUBLASLT_MATMUL_TILE_256x128, "256x128"}, {CUBLASLT_MATMUL_TILE_128x160, "128x160"},
                            {CUBLASLT_MATMUL_TILE_160x128, "160x128"}, {CUBLASLT_MATMUL_TILE_192x128, "192x128"},
                            {CUBLASLT_MATMUL_TILE_128x192, "128x192"}, {CUBLASLT_MATMUL_TILE_128x96, "128x96"},
                            {CUBLASLT_MATMUL_TILE_96x128, "96x128"}};
  for (const Tile& known : tiles)
    if (tile == known.number) return known.name;
  return std::to_string(tile);
}

}  // namespace

bool has_matmul_library() { return true; }

template <class T>
ProductPlan product_plan(Stream& s, const Matmul<T>& a) {
  Batches loop{};
  Product p = product_of(s, a, loop);
  p.workspace = scratch_bytes(a);
  Matmul<T> bare = a;
  bare.epilogue = Epilogue::none;
  Product q = p;
  const Plan* plan = fused_plan(s, a, p);
  if (!plan) plan = fused_plan(s, bare, q);  // what run_in_two launches
  ProductPlan result{};
  if (!plan) return result;
  const cublasLtMatmulAlgo_t& algorithm = plan->choice.algo;
  result.found = 1, result.waves = plan->choice.wavesCount, result.workspace = int64_t(plan->choice.workspaceSize);
  result.algorithm = number_of(algorithm, CUBLASLT_ALGO_CONFIG_ID);
  result.stages = number_of(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID);
  result.split_k = number_of(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
  snprintf(result.tile, sizeof(result.tile), "%s",
           tile_name(number_of(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID)).c_str());
  return result;
}
template ProductPlan product_plan(Stream&, const Matmul<float>&);
template ProductPlan product_plan(Stream&, const Matmul<f16>&);
template ProductPlan product_plan(Stream&, const Matmul<bf16>&);

void* matmul_library_create() { return new MatmulLibrary; }
void matmul_library_destroy(void* library) { delete static_cast<MatmulLibrary*>(library); }

std::string matmul_library_version() { return "cuBLASLt " + std::to_string(cublasLtGetVersion()); }

template <class T>
void run(Stream& s, const Matmul<T>& a) {
  if (s.plain_matmul || !run_by_library(s, a)) plain_matmul(s, a);
}

template <class T>
int64_t workspace(const Matmul<T>& a) {
  const int64_t sums = a.sums_a ? workspace(rows_of_a(a)) : 0;
  return std::max({scratch_bytes(a), plain_matmul_workspace(a), sums});
}

INSTANTIATE_DEVICE(Matmul)
INSTANTIATE_DEVICE_WORKSPACE(Matmul)

}  // namespace selene::cuda
