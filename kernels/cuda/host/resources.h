// What a stream of the CUDA backend owns beside its queue: staging memory and the state of the matrix library.
#pragma once
#include <cuda_runtime_api.h>

#include <deque>
#include <string>
#include <vector>

#include "kernels/cuda/backend.h"

namespace selene::cuda {

/// Throws "<what>: <error> (CUDA error n)" unless all is well; leaves no error behind.
void check(cudaError_t error, const char* what);

/// Pinned memory between host and device, taken from in ring order: many small copies can be under way at once,
/// and the host waits only for the part that it needs again.
class Staging {
 public:
  ~Staging();
  void copy_in(cudaStream_t queue, void* to, const void* from_host, int64_t bytes);

 private:
  struct Piece {
    cudaEvent_t done;
    int64_t begin, end;
  };
  void create();
  int64_t take(int64_t bytes);
  void retire_oldest();

  char* memory_ = nullptr;
  int64_t next_ = 0;
  std::deque<Piece> under_way_;
  std::vector<cudaEvent_t> free_events_;
};

/// Stream::library points to one.
struct Resources {
  Staging staging;
  void* matmul = nullptr;  // matmul/library.cpp
};
inline Resources& resources(Stream& s) { return *static_cast<Resources*>(s.library); }

void* matmul_library_create();
void matmul_library_destroy(void* library);
std::string matmul_library_version();

}  // namespace selene::cuda
