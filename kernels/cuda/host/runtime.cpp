// The CUDA backend's memory, queues, graphs and events: kernels/cuda/host/runtime.h on the CUDA run-time library.
#include "kernels/cuda/host/runtime.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/cuda/host/resources.h"
#include "kernels/error.h"

#ifndef SELENE_GPU_ARCH
#error "SELENE_GPU_ARCH: the compute capabilities that the kernels are built for, such as 75,80,90"
#endif

namespace selene::cuda {
namespace {

cudaStream_t queue_of(const Stream& s) { return static_cast<cudaStream_t>(s.queue); }

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

int32_t capability() {
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor);
}

/// Which of the capabilities that this module was built for a device runs, 0 for none. Machine code runs on its own
/// and on later ones of the same major number; the last of the list is also there as PTX, for everything newer.
int32_t code_for(int32_t device, const char* built_for) {
  int32_t best = 0, last = 0;
  for (const char* c = built_for; *c;) {
    char* end = nullptr;
    last = int32_t(strtol(c, &end, 10));
    if (end == c) return 0;
    if (last / 10 == device / 10 && last <= device && last > best) best = last;
    while (*end && *end != ',') ++end;  // 90a
    c = *end ? end + 1 : end;
  }
  return best ? best : last <= device ? last : 0;
}

std::string why_no_driver() {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  const std::string wanted = version_text(CUDART_VERSION);
  if (driver == 0) return "no NVIDIA driver on this machine (CUDA run-time " + wanted + " found no driver)";
  return "the NVIDIA driver of this machine serves CUDA up to " + version_text(driver) +
         ", this module was built with CUDA " + wanted +
         ": it wants a newer driver, or a build with an older toolkit";
}

std::string why_no_device(cudaError_t error) {
  if (error == cudaErrorInsufficientDriver) return why_no_driver();
  if (error != cudaSuccess && error != cudaErrorNoDevice)
    return std::string("CUDA does not start: ") + cudaGetErrorString(error) + " (CUDA error " +
           std::to_string(int(error)) + ")";
  const char* visible = getenv("CUDA_VISIBLE_DEVICES");
  return std::string("no CUDA device") +
         (visible ? std::string(" (CUDA_VISIBLE_DEVICES is '") + visible + "')" : std::string());
}

}  // namespace

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw Error(std::string(what) + ": " + cudaGetErrorString(error) + " (CUDA error " + std::to_string(int(error)) +
              ")");
}

const char* backend_name() { return "cuda"; }

std::string why_unusable() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  cudaGetLastError();
  if (error != cudaSuccess || devices == 0) return why_no_device(error);
  const int32_t device = capability();
  const std::string found =
      "the CUDA device has compute capability " + std::to_string(device / 10) + "." + std::to_string(device % 10);
  if (device < 70) return found + ", wanted 7.0 (V100) or newer";
  if (!code_for(device, SELENE_GPU_ARCH))
    return found + ", this module was built for " SELENE_GPU_ARCH
                   " (option gpu_arch; 70 needs a CUDA toolkit before 13)";
  return "";
}

void device_info(DeviceInfo& info) {
  info = DeviceInfo{};
  cudaDeviceProp properties{};
  int device = 0, driver = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  cudaDriverGetVersion(&driver);
  size_t free_bytes = 0, total = 0;
  check(cudaMemGetInfo(&free_bytes, &total), "cudaMemGetInfo");
  snprintf(info.name, sizeof(info.name), "%.120s", properties.name);
  snprintf(info.software, sizeof(info.software), "driver for CUDA %s, run-time %s, %s, built for %s",
           version_text(driver).c_str(), version_text(CUDART_VERSION).c_str(), matmul_library_version().c_str(),
           SELENE_GPU_ARCH);
  info.memory = int64_t(total), info.free = int64_t(free_bytes);
  info.multiprocessors = properties.multiProcessorCount;
  info.major = properties.major, info.minor = properties.minor;
}

void* allocate(int64_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, size_t(bytes));
  if (error == cudaSuccess) return memory;
  cudaGetLastError();
  size_t free_bytes = 0, total = 0;
  cudaMemGetInfo(&free_bytes, &total);
  const auto mib = [](size_t n) { return std::to_string(n >> 20) + " MiB"; };
  throw Error("device memory: " + mib(size_t(bytes)) + " wanted, " + mib(free_bytes) + " of " + mib(total) +
              " free: " + cudaGetErrorString(error) + " (CUDA error " + std::to_string(int(error)) + ")");
}

void release(void* memory) { check(cudaFree(memory), "cudaFree"); }

void queue_create(Stream& s) {
  const int32_t code = code_for(capability(), SELENE_GPU_ARCH);  // not the device's: which kernels exist
  s.capability = std::min(code, wanted_capability(code));
  if (s.capability < 70)
    throw Error("SELENE_DEVICE_CAPABILITY is " + std::to_string(s.capability) + ", wanted 70 or more");
  cudaStream_t queue = nullptr;
  check(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking), "cudaStreamCreate");
  s.queue = queue;
  auto* owned = new Resources;
  s.library = owned;
  try {
    owned->matmul = matmul_library_create();
  } catch (...) {
    queue_destroy(s);
    throw;
  }
}

void queue_destroy(Stream& s) {
  cudaStreamSynchronize(queue_of(s));
  matmul_library_destroy(resources(s).matmul);
  delete &resources(s);
  s.library = nullptr;
  check(cudaStreamDestroy(queue_of(s)), "cudaStreamDestroy");
}

void queue_synchronize(Stream& s) { check(cudaStreamSynchronize(queue_of(s)), "cudaStreamSynchronize"); }

void copy_in(Stream& s, void* to, const void* from_host, int64_t bytes) {
  resources(s).staging.copy_in(queue_of(s), to, from_host, bytes);
}

void copy_out(Stream& s, void* to_host, const void* from, int64_t bytes) {
  check(cudaMemcpyAsync(to_host, from, size_t(bytes), cudaMemcpyDeviceToHost, queue_of(s)), "copy from the device");
  queue_synchronize(s);
}

void capture_begin(Stream& s) {
  check(cudaStreamBeginCapture(queue_of(s), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
}

void* capture_end(Stream& s) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(queue_of(s), &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, nullptr, nullptr, 0);
  cudaGraphDestroy(graph);
  check(error, "cudaGraphInstantiate");
  return executable;
}

bool capturing(const Stream& s) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(queue_of(s), &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

void graph_launch(Stream& s, void* graph) {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), queue_of(s)), "cudaGraphLaunch");
}

void graph_destroy(void* graph) {
  check(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)), "cudaGraphExecDestroy");
}

void* event_create() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cudaEventCreate");
  return event;
}

void event_record(void* event, Stream& s) {
  check(cudaEventRecord(static_cast<cudaEvent_t>(event), queue_of(s)), "cudaEventRecord");
}

double event_seconds(void* from, void* to) {
  float milliseconds = 0;
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(to)), "cudaEventSynchronize");
  check(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(from), static_cast<cudaEvent_t>(to)),
        "cudaEventElapsedTime");
  return milliseconds * 1e-3;
}

void event_destroy(void* event) { check(cudaEventDestroy(static_cast<cudaEvent_t>(event)), "cudaEventDestroy"); }

}  // namespace selene::cuda
