// Softmax attention as one operation of cuDNN's graph interface (cudnn_graph.h: SDPA_FWD since 9.13, SDPA_BWD
// since 9.17): operation -> operation graph -> engine configurations -> execution plan, kept for each shape. The
// library is opened at first use. Built without SELENE_CUDNN (and in the shim) there is none.
#include "kernels/cuda/attention_cudnn.h"

#include "kernels/error.h"

#ifdef SELENE_CUDNN
#include <cudnn.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/cuda/dynamic_library.h"
#include "kernels/cuda/resources.h"
#endif

namespace selene::cuda {

#ifdef SELENE_CUDNN
namespace {

/// The functions of cuDNN that are used.
struct Cudnn {
  DynamicLibrary library{"cuDNN", "libcudnn.so.9"};
#define X(NAME) decltype(cudnn##NAME)* NAME = library.find<decltype(cudnn##NAME)>("cudnn" #NAME);
  X(Create)
  X(SetStream)
  X(GetErrorString)
  X(GetLastErrorString)
  X(BackendCreateDescriptor)
  X(BackendDestroyDescriptor)
  X(BackendSetAttribute)
  X(BackendGetAttribute)
  X(BackendFinalize)
  X(BackendExecute)
#undef X
};

const Cudnn& cudnn() {
  static const Cudnn functions;
  return functions;
}

void check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char detail[512] = "";
  cudnn().GetLastErrorString(detail, sizeof(detail));
  std::replace(detail, detail + sizeof(detail), '\n', ' ');
  throw Error(std::string("cuDNN attention: ") + what + ": " + cudnn().GetErrorString(status) + " (cuDNN status " +
              std::to_string(int(status)) + ") " + detail);
}

class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(cudnn().BackendCreateDescriptor(type, &handle_), "descriptor of a kind that this version does not have");
  }
  ~Descriptor() { cudnn().BackendDestroyDescriptor(handle_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const void* values,
           int64_t count = 1) {
    check(cudnn().BackendSetAttribute(handle_, name, type, count, values), "cudnnBackendSetAttribute");
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& part) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, &part.handle_);
  }
  void finalize(const char* what) { check(cudnn().BackendFinalize(handle_), what); }
  bool try_finalize() { return cudnn().BackendFinalize(handle_) == CUDNN_STATUS_SUCCESS; }
  cudnnBackendDescriptor_t& handle() { return handle_; }

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

/// [B, H, N, channels] by strides; the shape of a tensor and where it goes in an operation.
struct Operand {
  cudnnBackendAttributeName_t name;
  void* data;
  cudnnDataType_t type;
  int64_t shape[4], stride[4];
  bool on_host = false;
};

struct Plan {
  std::vector<std::unique_ptr<Descriptor>> parts;  // what the plan was made of
  Descriptor* executable = nullptr;
  int64_t workspace = 0;

  Descriptor& add(cudnnBackendDescriptorType_t type) {
    parts.push_back(std::make_unique<Descriptor>(type));
    return *parts.back();
  }
};

/// One handle, its plans by shape, and scratch that grows: cuDNN says how much only when the plan exists, so that
/// it can't be part of the memory plan.
struct Library {
  std::mutex mutex;
  cudnnHandle_t handle = nullptr;
  std::map<std::vector<int64_t>, std::unique_ptr<Plan>> plans;
  void* scratch = nullptr;
  int64_t scratch_bytes = 0;

  Library() { check(cudnn().Create(&handle), "cudnnCreate"); }
};

Library& library() {
  static Library* const shared = new Library;  // not closed at exit: the driver may be gone by then
  return *shared;
}

void add_tensor(Plan& plan, Descriptor& operation, const Operand& x, int64_t id) {
  Descriptor& t = plan.add(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const int64_t alignment = x.on_host ? 4 : 16;
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, &id);
  t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, &x.type);
  t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, &alignment);
  t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, x.shape, 4);
  t.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, x.stride, 4);
  t.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, &x.on_host);
  t.finalize("tensor");
  operation.set(x.name, t);
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
  check(cudnn().BackendGetAttribute(heuristic.handle(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count, handles),
        "engine configurations");
  result.resize(size_t(std::min(count, most)));
  return result;
}

std::unique_ptr<Plan> make_plan(cudnnHandle_t handle, cudnnBackendDescriptorType_t kind,
                                const std::vector<Operand>& operands) {
  auto plan = std::make_unique<Plan>();
  Descriptor& operation = plan->add(kind);
  for (size_t i = 0; i < operands.size(); ++i) add_tensor(*plan, operation, operands[i], int64_t(i) + 1);
  operation.finalize("operation");
  Descriptor& graph = plan->add(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, &handle);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  graph.finalize("operation graph");
  for (Descriptor* configuration : configurations(*plan, graph)) {
    Descriptor& executable = plan->add(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    executable.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, &handle);
    executable.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, *configuration);
    if (!executable.try_finalize()) continue;
    int64_t count = 0;
    check(cudnn().BackendGetAttribute(executable.handle(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                      CUDNN_TYPE_INT64, 1, &count, &plan->workspace),
          "workspace size");
    plan->executable = &executable;
    return plan;
  }
  throw Error("cuDNN attention: no engine takes these shapes on this device");
}

void execute(Stream& s, cudnnBackendDescriptorType_t kind, const std::vector<Operand>& operands) {
  Library& l = library();
  const std::lock_guard<std::mutex> lock(l.mutex);
  std::vector<int64_t> key{int64_t(kind)}, ids;
  std::vector<void*> pointers;
  for (const Operand& x : operands) {
    if (!x.on_host && reinterpret_cast<uintptr_t>(x.data) % 16 != 0)
      throw Error("cuDNN attention: a tensor does not start at a multiple of 16 bytes");
    key.push_back(int64_t(x.type));
    key.insert(key.end(), x.shape, x.shape + 4), key.insert(key.end(), x.stride, x.stride + 4);
    pointers.push_back(x.data), ids.push_back(int64_t(ids.size()) + 1);
  }
  check(cudnn().SetStream(l.handle, static_cast<cudaStream_t>(s.queue)), "cudnnSetStream");
  std::unique_ptr<Plan>& plan = l.plans[key];
  if (!plan) plan = make_plan(l.handle, kind, operands);
  if (plan->workspace > l.scratch_bytes) {
    cuda::check(cudaStreamSynchronize(static_cast<cudaStream_t>(s.queue)), "cuDNN attention: synchronize");
    cuda::check(cudaFree(l.scratch), "cuDNN attention: cudaFree");
    l.scratch = nullptr, l.scratch_bytes = 0;
    cuda::check(cudaMalloc(&l.scratch, size_t(plan->workspace)), "cuDNN attention: scratch");
    l.scratch_bytes = plan->workspace;
  }
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids.data(), int64_t(ids.size()));
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.data(), int64_t(pointers.size()));
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, &l.scratch);
  pack.finalize("variant pack");
  check(cudnn().BackendExecute(l.handle, plan->executable->handle(), pack.handle()), "execution");
}

/// Arguments that differ from full attention in 16 bits.
template <class A>
void refuse_others(const Stream& s, const A& a, DType type) {
  const char* why = nullptr;
  if (size_of(type) != 2) why = "fp32";
  else if (a.key_mask) why = "a key mask";
  else if (a.drop.threshold != 65536) why = "dropout";
  else if (a.causal) why = "a causal mask";
  else if (s.capability < 80) why = "compute capability below 8.0";
  if (why) throw Error(std::string("cuDNN attention: not with ") + why);
}

template <class T>
constexpr cudnnDataType_t cudnn_type = dtype_of<T> == DType::f16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16;

/// A tensor [B, N, H, K] of the operation.
template <class T, class A>
Operand heads(cudnnBackendAttributeName_t name, const A& a, const T* data, int64_t N, int64_t batch, int64_t row) {
  return {name, const_cast<T*>(data), cudnn_type<T>, {a.B, a.H, N, a.K}, {batch, a.K, row, 1}};
}
template <class A>
Operand row_statistics(cudnnBackendAttributeName_t name, const A& a) {
  return {name, const_cast<float*>(a.lse), CUDNN_DATA_FLOAT, {a.B, a.H, a.Nq, 1}, {a.H * a.Nq, a.Nq, 1, 1}};
}
Operand number(cudnnBackendAttributeName_t name, const float& value) {
  return {name, const_cast<float*>(&value), CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, true};
}

}  // namespace

template <class T>
void cudnn_forward(Stream& s, const AttentionFwd<T>& a) {
  refuse_others(s, a, dtype_of<T>);
  execute(s, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR,
          {heads(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, a, a.q, a.Nq, a.q_batch, a.q_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, a, a.k, a.Nk, a.k_batch, a.k_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, a, a.v, a.Nk, a.v_batch, a.v_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, a, a.o, a.Nq, a.o_batch, a.o_row),
           row_statistics(CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC, a),
           number(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, a.scale)});
}

template <class T>
void cudnn_backward(Stream& s, const AttentionBwd<T>& a) {
  refuse_others(s, a, dtype_of<T>);
  if (a.dv == a.dk) throw Error("cuDNN attention: not with one tensor for keys and values");
  execute(s, CUDNN_BACKEND_OPERATION_SDPA_BWD_DESCRIPTOR,
          {heads(CUDNN_ATTR_OPERATION_SDPA_BWD_QDESC, a, a.q, a.Nq, a.q_batch, a.q_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_BWD_KDESC, a, a.k, a.Nk, a.k_batch, a.k_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_BWD_VDESC, a, a.v, a.Nk, a.v_batch, a.v_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_BWD_ODESC, a, a.o, a.Nq, a.o_batch, a.o_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_BWD_DODDESC, a, a.d_o, a.Nq, a.o_batch, a.o_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_BWD_DQDESC, a, a.dq, a.Nq, a.dq_batch, a.dq_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_BWD_DKDESC, a, a.dk, a.Nk, a.dk_batch, a.dk_row),
           heads(CUDNN_ATTR_OPERATION_SDPA_BWD_DVDESC, a, a.dv, a.Nk, a.dv_batch, a.dv_row),
           row_statistics(CUDNN_ATTR_OPERATION_SDPA_BWD_STATSDESC, a),
           number(CUDNN_ATTR_OPERATION_SDPA_BWD_SCALEDESC, a.scale)});
}

#else

template <class T>
void cudnn_forward(Stream&, const AttentionFwd<T>&) {
  throw Error("cuDNN attention: this module was built without cuDNN");
}
template <class T>
void cudnn_backward(Stream&, const AttentionBwd<T>&) {
  throw Error("cuDNN attention: this module was built without cuDNN");
}

#endif

template void cudnn_forward(Stream&, const AttentionFwd<float>&);
template void cudnn_forward(Stream&, const AttentionFwd<f16>&);
template void cudnn_forward(Stream&, const AttentionFwd<bf16>&);
template void cudnn_backward(Stream&, const AttentionBwd<float>&);
template void cudnn_backward(Stream&, const AttentionBwd<f16>&);
template void cudnn_backward(Stream&, const AttentionBwd<bf16>&);

}  // namespace selene::cuda
