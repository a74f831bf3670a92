// What a backend module asks of its device: memory, queues, graphs, events. runtime.cpp answers with the CUDA
// run-time library, kernels/simt/queue.cpp with the host; module.cpp, which makes the C table of it, serves both.
// A function that fails throws selene::Error with one line that says what failed. Plain C++17 without CUDA types.
#pragma once
#include <cstdlib>
#include <string>

#include "kernels/cuda/backend.h"

namespace selene::cuda {

const char* backend_name();  // "cuda", "simt"
/// Why nothing can run on this machine; empty where it can. The first call of the module: nothing else before it.
std::string why_unusable();
void device_info(DeviceInfo& info);

/// The compute capability that the environment asks for with SELENE_DEVICE_CAPABILITY, so that a newer device runs
/// the kernels of older ones too; where it is not set, `otherwise`.
inline int32_t wanted_capability(int32_t otherwise) {
  const char* text = getenv("SELENE_DEVICE_CAPABILITY");
  return text ? atoi(text) : otherwise;
}

void* allocate(int64_t bytes);  // uninitialised, 256-byte aligned
void release(void* memory);

/// Fills in s.queue and s.capability, and s.library where there is one.
void queue_create(Stream& s);
void queue_destroy(Stream& s);
void queue_synchronize(Stream& s);
/// In the queue's order; from_host may change when it returns.
void copy_in(Stream& s, void* to, const void* from_host, int64_t bytes);
/// Waits for everything in the queue.
void copy_out(Stream& s, void* to_host, const void* from, int64_t bytes);

/// From begin to end what launch() gets is recorded, with its arguments as they are then, and not run.
void capture_begin(Stream& s);
void* capture_end(Stream& s);  // the graph
bool capturing(const Stream& s);
void graph_launch(Stream& s, void* graph);
void graph_destroy(void* graph);

void* event_create();
void event_record(void* event, Stream& s);
double event_seconds(void* from, void* to);  // waits for `to`
void event_destroy(void* event);

// The matrix library (matmul/library.cpp); has_matmul_library() is false in the shim.
bool has_matmul_library();
template <class T>
ProductPlan product_plan(Stream& s, const Matmul<T>& a);

// Between processes (communicator.cpp): has_communicator() is false in a module built without SELENE_NCCL.
bool has_communicator();
void communicator_id(void* id);  // writes 128 bytes
void* communicator_create(const void* id, int32_t rank, int32_t ranks);
void communicator_run(void* communicator, Collective collective, Stream& s, const void* from, void* to, int64_t count,
                      DType dtype);
void communicator_destroy(void* communicator);

}  // namespace selene::cuda
