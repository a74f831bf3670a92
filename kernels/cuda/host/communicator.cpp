// Sums and copies between processes with one device each: NCCL, opened at first use. Built without SELENE_NCCL
// (and in the shim) there is none. For training on several devices; until that is there only tests call it.
#include "kernels/cuda/host/runtime.h"
#include "kernels/error.h"

#ifdef SELENE_NCCL
#include <nccl.h>

#include <cstring>

#include "kernels/cuda/host/dynamic_library.h"
#endif

namespace selene::cuda {

#ifdef SELENE_NCCL
namespace {

/// The functions of NCCL that are used.
struct Nccl {
  DynamicLibrary library{"NCCL", "libnccl.so.2"};
#define X(NAME) decltype(nccl##NAME)* NAME = library.find<decltype(nccl##NAME)>("nccl" #NAME);
  X(GetErrorString)
  X(GetUniqueId)
  X(CommInitRank)
  X(CommDestroy)
  X(AllReduce)
  X(ReduceScatter)
  X(AllGather)
  X(Broadcast)
#undef X
};

const Nccl& nccl() {
  static const Nccl functions;
  return functions;
}

void check(ncclResult_t result, const char* what) {
  if (result == ncclSuccess) return;
  throw Error(std::string(what) + ": " + nccl().GetErrorString(result) + " (NCCL error " +
              std::to_string(int(result)) + "; NCCL_DEBUG=WARN says more)");
}

ncclDataType_t type_of(DType t) {
  switch (t) {
    case DType::f32:
      return ncclFloat32;
    case DType::f16:
      return ncclFloat16;
    case DType::bf16:
      return ncclBfloat16;
    case DType::f64:
      return ncclFloat64;
    case DType::i32:
      return ncclInt32;
    case DType::i64:
      return ncclInt64;
    case DType::u8:
      return ncclUint8;
    case DType::u16:
      break;
  }
  throw Error("communicator: unknown element type");
}

}  // namespace

bool has_communicator() { return true; }

void communicator_id(void* id) {
  ncclUniqueId made;
  static_assert(sizeof(made) == 128, "an id is 128 bytes in kernels/module_abi.h");
  check(nccl().GetUniqueId(&made), "ncclGetUniqueId");
  memcpy(id, &made, sizeof(made));
}

void* communicator_create(const void* id, int32_t rank, int32_t ranks) {
  ncclUniqueId shared;
  memcpy(&shared, id, sizeof(shared));
  ncclComm_t communicator = nullptr;
  check(nccl().CommInitRank(&communicator, ranks, shared, rank), "ncclCommInitRank");
  return communicator;
}

void communicator_run(void* communicator, Collective collective, Stream& s, const void* from, void* to, int64_t count,
                      DType dtype) {
  const auto comm = static_cast<ncclComm_t>(communicator);
  const auto queue = static_cast<cudaStream_t>(s.queue);
  const ncclDataType_t type = type_of(dtype);
  const size_t n = size_t(count);
  switch (collective) {
    case Collective::all_reduce:
      return check(nccl().AllReduce(from, to, n, type, ncclSum, comm, queue), "ncclAllReduce");
    case Collective::reduce_scatter:
      return check(nccl().ReduceScatter(from, to, n, type, ncclSum, comm, queue), "ncclReduceScatter");
    case Collective::all_gather:
      return check(nccl().AllGather(from, to, n, type, comm, queue), "ncclAllGather");
    case Collective::broadcast:
      return check(nccl().Broadcast(from, to, n, type, 0, comm, queue), "ncclBroadcast");
  }
  throw Error("communicator: unknown collective " + std::to_string(int(collective)));
}

void communicator_destroy(void* communicator) {
  check(nccl().CommDestroy(static_cast<ncclComm_t>(communicator)), "ncclCommDestroy");
}

#else

bool has_communicator() { return false; }

[[noreturn]] static void refuse() { throw Error("communicator: this module was built without NCCL"); }

void communicator_id(void*) { refuse(); }
void* communicator_create(const void*, int32_t, int32_t) { refuse(); }
void communicator_run(void*, Collective, Stream&, const void*, void*, int64_t, DType) { refuse(); }
void communicator_destroy(void*) { refuse(); }

#endif

}  // namespace selene::cuda
