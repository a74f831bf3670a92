// Softmax attention by cuDNN: operations -> operation graph -> engine configurations -> execution plan, kept for
// each shape. Forward is its one operation SDPA_FWD (since 9.13). Backward is the products, sums and exponentials
// of docs/math.md, "Attention", which its engines recognise as a whole: the operation SDPA_BWD is declared, but
// 9.19 refuses every graph with it. Built without SELENE_CUDNN (and in the shim) there is none of this.
#include "kernels/cuda/attention/cudnn.h"

#include "kernels/error.h"

#ifdef SELENE_CUDNN
#include <map>
#include <mutex>

#include "kernels/cuda/attention/cudnn_graph.h"
#include "kernels/cuda/host/resources.h"
#endif

namespace selene::cuda {

#ifdef SELENE_CUDNN
namespace {

/// One handle and its plans by shape. cuDNN says how much scratch it wants only when the plan exists, so that it
/// can't be part of the memory plan.
struct Library {
  std::mutex mutex;
  cudnnHandle_t handle = nullptr;
  std::map<std::vector<int64_t>, std::unique_ptr<Plan>> plans;

  Library() { check(cudnn().Create(&handle), "cudnnCreate"); }
};

Library& library() {
  static Library* const shared = new Library;  // not closed at exit: the driver may be gone by then
  return *shared;
}

/// The engine configurations that the heuristic names, best first.
std::vector<Descriptor*> configurations(Plan& plan, Descriptor& graph) {
  constexpr int64_t most = 8;
  Descriptor& heuristic = plan.add(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, &mode);
  heuristic.finalize("no engine for these shapes");
  std::vector<Descriptor*> result;
  cudnnBackendDescriptor_t handles[most];
  for (cudnnBackendDescriptor_t& h : handles) {
    result.push_back(&plan.add(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    h = result.back()->handle();
  }
  int64_t count = 0;
  check(cudnn().BackendGetAttribute(heuristic.handle(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                    most, &count, handles),
        "engine configurations");
  result.resize(size_t(std::min(count, most)));
  return result;
}

std::unique_ptr<Plan> make_plan(cudnnHandle_t handle, const std::vector<Operand>& operands,
                                void (*describe)(Graph&)) {
  auto plan = std::make_unique<Plan>();
  Graph operations(*plan, operands);
  describe(operations);
  Descriptor& graph = plan->add(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, &handle);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations.operations().data(),
            int64_t(operations.operations().size()));
  graph.finalize("operation graph");
  for (const Operand& x : operands) plan->operand_bytes += scratch_bytes(x);
  for (Descriptor* configuration : configurations(*plan, graph)) {
    Descriptor& executable = plan->add(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    executable.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, &handle);
    executable.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, *configuration);
    if (!executable.try_finalize()) continue;
    int64_t count = 0;
    check(cudnn().BackendGetAttribute(executable.handle(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64,
                                      1, &count, &plan->workspace_bytes),
          "workspace size");
    plan->executable = &executable;
    void* scratch = nullptr;
    cuda::check(cudaMalloc(&scratch, size_t(plan->operand_bytes + plan->workspace_bytes)),
                "cuDNN attention: scratch");
    plan->scratch = static_cast<char*>(scratch);
    return plan;
  }
  throw Error("cuDNN attention: no engine takes these shapes on this device");
}

/// `describe` makes the operations of these operands; one such function has one set of operands.
void execute(Stream& s, const std::vector<Operand>& operands, void (*describe)(Graph&)) {
  Library& l = library();
  const std::lock_guard<std::mutex> lock(l.mutex);
  std::vector<int64_t> key, ids;
  for (const Operand& x : operands) {
    key.push_back(int64_t(x.type)), ids.push_back(int64_t(ids.size()) + 1);
    key.insert(key.end(), x.shape.begin(), x.shape.end());
    key.insert(key.end(), x.stride.begin(), x.stride.end());
  }
  check(cudnn().SetStream(l.handle, static_cast<cudaStream_t>(s.queue)), "cudnnSetStream");
  std::unique_ptr<Plan>& plan = l.plans[key];
  if (!plan) plan = make_plan(l.handle, operands, describe);
  std::vector<void*> pointers;
  int64_t offset = 0;
  for (const Operand& x : operands) {
    pointers.push_back(x.place == Operand::Place::scratch ? plan->scratch + offset : x.data);
    offset += scratch_bytes(x);
  }
  void* workspace = plan->scratch + plan->operand_bytes;
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids.data(), int64_t(ids.size()));
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.data(), int64_t(pointers.size()));
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, &workspace);
  pack.finalize("variant pack");
  check(cudnn().BackendExecute(l.handle, plan->executable->handle(), pack.handle()), "execution");
}

/// Whether its loads of 16 bytes can read a tensor.
template <class T>
bool loadable(const T* data, int64_t row, int64_t batch) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && row % 8 == 0 && batch % 8 == 0;
}

/// Looks at what forward and backward pass have in common alone. One tensor for keys and values would want the sum of
/// their gradients.
template <class A>
const char* refusal(const Stream& s, const A& a, DType type) {
  if (s.capability < 80) return "compute capability below 8.0";
  if (size_of(type) != 2) return "fp32";
  if (a.key_mask) return "a key mask (examples of different lengths in a batch)";
  if (a.drop.threshold != 65536) return "dropout";
  if (a.causal) return "a causal mask";
  if (a.k == a.v) return "one tensor for keys and values";
  if (a.K % 8 || !loadable(a.q, a.q_row, a.q_batch) || !loadable(a.k, a.k_row, a.k_batch) ||
      !loadable(a.v, a.v_row, a.v_batch))
    return "heads that do not start at multiples of 16 bytes";
  return nullptr;
}
void need(const char* refusal) {
  if (refusal) throw Error(std::string("cuDNN attention: not with ") + refusal);
}

template <class T>
constexpr cudnnDataType_t cudnn_type = dtype_of<T> == DType::f16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16;

/// A tensor [B, N, H, K] as [B, H, N, K].
template <class T, class A>
Operand heads(const A& a, const T* data, int64_t N, int64_t batch, int64_t row) {
  return {const_cast<T*>(data), cudnn_type<T>, {a.B, a.H, N, a.K}, {batch, a.K, row, 1}};
}
/// A tensor [B, N, H, K] as [B, H, K, N].
template <class T, class A>
Operand heads_transposed(const A& a, const T* data, int64_t N, int64_t batch, int64_t row) {
  return {const_cast<T*>(data), cudnn_type<T>, {a.B, a.H, a.K, N}, {batch, a.K, 1, row}};
}
template <class A>
Operand row_statistics(const A& a, const float* data, Operand::Place place = Operand::Place::memory) {
  return {const_cast<float*>(data), CUDNN_DATA_FLOAT, {a.B, a.H, a.Nq, 1}, {a.H * a.Nq, a.Nq, 1, 1}, place};
}
Operand number(const float& value) {
  return {const_cast<float*>(&value), CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, Operand::Place::host};
}

void describe_forward(Graph& g) {
  g.operation(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR,
              {CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC,
               CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC,
               CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC});
}

/// As the frontend library of cuDNN spells it, to the type of every tensor inside: the engines match on that.
void describe_backward(Graph& g) {
  enum : size_t { q, k, v, o, d_o, dq, dk, dv, lse, scale, one, delta, dq_sum };  // k, v: [B, H, K, Nk]
  const Sizes n = g.operand(q).shape;
  const Sizes rows{n[0], n[1], n[2], 1}, scores{n[0], n[1], n[2], g.operand(k).shape[3]};
  const Sizes stride{n[1] * scores[2] * scores[3], scores[2] * scores[3], scores[3], 1};
  const auto between = [&](cudnnPointwiseMode_t mode, Descriptor& x, Descriptor& y) -> Descriptor& {
    return g.pointwise(mode, x, &y, g.between(scores));
  };
  // delta = sum over channels of dO O
  Descriptor& products = g.pointwise(CUDNN_POINTWISE_MUL, g[d_o], &g[o], g.between(n));
  g.pointwise(CUDNN_POINTWISE_MUL, g.sum(products, g.between(rows)), &g[one], g[delta]);
  // P = exp(scale Q K^T - lse), dV = P^T dO
  Descriptor& scaled = between(CUDNN_POINTWISE_MUL, g.matmul(g[q], g[k], g.between(scores)), g[scale]);
  Descriptor& p =
      g.pointwise(CUDNN_POINTWISE_EXP, between(CUDNN_POINTWISE_SUB, scaled, g[lse]), nullptr, g.between(scores));
  g.matmul(g.transposed(p, g.operand(q).type, scores, stride), g[d_o], g[dv]);
  // dS = scale P (dO V^T - delta), dK = dS^T Q, dQ = dS K
  Descriptor& dp = g.matmul(g[d_o], g[v], g.between(scores));
  Descriptor& weighted = between(CUDNN_POINTWISE_MUL, between(CUDNN_POINTWISE_SUB, dp, g[delta]), p);
  Descriptor& ds = between(CUDNN_POINTWISE_MUL, weighted, g[scale]);
  g.matmul(g.transposed(ds, g.operand(q).type, scores, stride), g[q], g[dk]);
  g.matmul(ds, g.transposed(g[k], CUDNN_DATA_FLOAT, g.operand(k).shape, g.operand(k).stride), g[dq_sum]);
  g.pointwise(CUDNN_POINTWISE_IDENTITY, g[dq_sum], nullptr, g[dq]);
}

}  // namespace

void need_cudnn() { cudnn(); }

template <class T>
const char* cudnn_refuses(const Stream& s, const AttentionFwd<T>& a) {
  return refusal(s, a, dtype_of<T>);
}
template <class T>
const char* cudnn_refuses(const Stream& s, const AttentionBwd<T>& a) {
  return refusal(s, a, dtype_of<T>);
}

template <class T>
void cudnn_forward(Stream& s, const AttentionFwd<T>& a) {
  need(cudnn_refuses(s, a));
  execute(s,
          {heads(a, a.q, a.Nq, a.q_batch, a.q_row), heads(a, a.k, a.Nk, a.k_batch, a.k_row),
           heads(a, a.v, a.Nk, a.v_batch, a.v_row), heads(a, a.o, a.Nq, a.o_batch, a.o_row), row_statistics(a, a.lse),
           number(a.scale)},
          describe_forward);
}

template <class T>
void cudnn_backward(Stream& s, const AttentionBwd<T>& a) {
  need(cudnn_refuses(s, a));
  static const float one = 1;
  const Operand dq_sum{nullptr,
                       CUDNN_DATA_FLOAT,
                       {a.B, a.H, a.Nq, a.K},
                       {a.H * a.Nq * a.K, a.Nq * a.K, a.K, 1},
                       Operand::Place::scratch};
  execute(s,
          {heads(a, a.q, a.Nq, a.q_batch, a.q_row), heads_transposed(a, a.k, a.Nk, a.k_batch, a.k_row),
           heads_transposed(a, a.v, a.Nk, a.v_batch, a.v_row), heads(a, a.o, a.Nq, a.o_batch, a.o_row),
           heads(a, a.d_o, a.Nq, a.o_batch, a.o_row), heads(a, a.dq, a.Nq, a.dq_batch, a.dq_row),
           heads(a, a.dk, a.Nk, a.dk_batch, a.dk_row), heads(a, a.dv, a.Nk, a.dv_batch, a.dv_row),
           row_statistics(a, a.lse), number(a.scale), number(one),
           row_statistics(a, nullptr, Operand::Place::scratch), dq_sum},
          describe_backward);
}

#else

namespace {
constexpr const char* kWithout = "cuDNN attention: this module was built without cuDNN";
}

void need_cudnn() { throw Error(kWithout); }

template <class T>
const char* cudnn_refuses(const Stream&, const AttentionFwd<T>&) {
  return kWithout;
}
template <class T>
const char* cudnn_refuses(const Stream&, const AttentionBwd<T>&) {
  return kWithout;
}
template <class T>
void cudnn_forward(Stream&, const AttentionFwd<T>&) {
  need_cudnn();
}
template <class T>
void cudnn_backward(Stream&, const AttentionBwd<T>&) {
  need_cudnn();
}

#endif

#define X(T)                                                                 \
  template const char* cudnn_refuses(const Stream&, const AttentionFwd<T>&); \
  template const char* cudnn_refuses(const Stream&, const AttentionBwd<T>&); \
  template void cudnn_forward(Stream&, const AttentionFwd<T>&);              \
  template void cudnn_backward(Stream&, const AttentionBwd<T>&);
X(float)
X(f16)
X(bf16)
#undef X

}  // namespace selene::cuda
