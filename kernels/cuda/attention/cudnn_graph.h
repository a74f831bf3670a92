// cuDNN's graph interface, as much of it as attention wants: descriptors, tensors and the operations between them.
// For cudnn.cpp alone; the library is opened at first use.
#pragma once
#include <cudnn.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/host/dynamic_library.h"

namespace selene::cuda {

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

inline const Cudnn& cudnn() {
  static const Cudnn functions;
  return functions;
}

inline void check(cudnnStatus_t status, const char* what) {
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

using Sizes = std::array<int64_t, 4>;

/// A tensor of rank 4: its shape, its strides in elements, and where it is.
struct Operand {
  enum class Place { memory, host, scratch };
  void* data;
  cudnnDataType_t type;
  Sizes shape, stride;
  Place place = Place::memory;
};

struct Plan {
  std::vector<std::unique_ptr<Descriptor>> parts;  // what the plan was made of
  Descriptor* executable = nullptr;
  char* scratch = nullptr;  // the operands that lie there, then cuDNN's workspace. Not shared with other plans: a
                            // captured step keeps the address
  int64_t operand_bytes = 0, workspace_bytes = 0;

  Descriptor& add(cudnnBackendDescriptorType_t type) {
    parts.push_back(std::make_unique<Descriptor>(type));
    return *parts.back();
  }
};

inline int64_t scratch_bytes(const Operand& x) {
  if (x.place != Operand::Place::scratch) return 0;
  return (x.shape[0] * x.shape[1] * x.shape[2] * x.shape[3] * int64_t(sizeof(float)) + 255) / 256 * 256;
}

/// The operations between the operands of a plan, and the tensors that exist only inside of it.
class Graph {
 public:
  Graph(Plan& plan, const std::vector<Operand>& operands) : plan_(plan), operands_(operands) {
    for (const Operand& x : operands) tensors_.push_back(&tensor(x.type, x.shape, x.stride, x.place, false));
  }
  const Operand& operand(size_t i) const { return operands_[i]; }
  Descriptor& operator[](size_t i) { return *tensors_[i]; }
  const std::vector<cudnnBackendDescriptor_t>& operations() const { return operations_; }

  Descriptor& between(const Sizes& n) {
    return tensor(CUDNN_DATA_FLOAT, n, {n[1] * n[2] * n[3], n[2] * n[3], n[3], 1}, Operand::Place::memory, true);
  }
  /// x with its last two axes swapped; n and stride are x's.
  Descriptor& transposed(Descriptor& x, cudnnDataType_t type, const Sizes& n, const Sizes& stride) {
    Descriptor& y = tensor(type, {n[0], n[1], n[3], n[2]}, {stride[0], stride[1], stride[3], stride[2]},
                           Operand::Place::memory, true);
    Descriptor& operation = plan_.add(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    operation.set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    finish(operation);
    return y;
  }
  Descriptor& pointwise(cudnnPointwiseMode_t mode, Descriptor& x, Descriptor* other, Descriptor& y) {
    Descriptor& kind = plan_.add(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    kind.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, &mode);
    kind.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, &fp32_);
    kind.finalize("pointwise");
    Descriptor& operation = plan_.add(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (other) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *other);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    finish(operation);
    return y;
  }
  Descriptor& matmul(Descriptor& x, Descriptor& y, Descriptor& z) {
    Descriptor& kind = plan_.add(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    kind.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, &fp32_);
    kind.finalize("matmul");
    Descriptor& operation = plan_.add(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, kind);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, x);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, y);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, z);
    finish(operation);
    return z;
  }
  /// The sum over the axes that are 1 in y.
  Descriptor& sum(Descriptor& x, Descriptor& y) {
    const cudnnReduceTensorOp_t add = CUDNN_REDUCE_TENSOR_ADD;
    Descriptor& kind = plan_.add(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    kind.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, &add);
    kind.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, &fp32_);
    kind.finalize("sum");
    Descriptor& operation = plan_.add(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, kind);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    finish(operation);
    return y;
  }
  /// An operation of its own kind on the operands, in their order.
  void operation(cudnnBackendDescriptorType_t kind, const std::vector<cudnnBackendAttributeName_t>& names) {
    Descriptor& operation = plan_.add(kind);
    for (size_t i = 0; i < names.size(); ++i) operation.set(names[i], *tensors_[i]);
    finish(operation);
  }

 private:
  Descriptor& tensor(cudnnDataType_t type, const Sizes& shape, const Sizes& stride, Operand::Place place,
                     bool inside) {
    Descriptor& t = plan_.add(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const int64_t alignment = 16, id = ++last_id_;
    const bool by_value = place == Operand::Place::host;
    t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, &id);
    t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, &type);
    t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, &alignment);
    t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, shape.data(), 4);
    t.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, stride.data(), 4);
    t.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, &inside);
    t.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, &by_value);
    t.finalize("tensor");
    return t;
  }
  void finish(Descriptor& operation) {
    operation.finalize("operation");
    operations_.push_back(operation.handle());
  }

  Plan& plan_;
  const std::vector<Operand>& operands_;
  std::vector<Descriptor*> tensors_;
  std::vector<cudnnBackendDescriptor_t> operations_;
  const cudnnDataType_t fp32_ = CUDNN_DATA_FLOAT;
  int64_t last_id_ = 0;  // an operand's is its place in the list, from 1
};

}  // namespace selene::cuda
