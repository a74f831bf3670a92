// Host memory to device memory through a ring of pinned memory, in the order of one queue.
#include <algorithm>
#include <cstring>

#include "kernels/ceil_div.h"
#include "kernels/cuda/host/resources.h"

namespace selene::cuda {
namespace {

constexpr int64_t kRingBytes = 16 << 20, kLargestPiece = 8 << 20;
constexpr size_t kMostPieces = 256;  // under way at once, each with an event

}  // namespace

Staging::~Staging() {
  for (const Piece& p : under_way_) cudaEventDestroy(p.done);
  for (cudaEvent_t e : free_events_) cudaEventDestroy(e);
  cudaFreeHost(memory_);
}

void Staging::create() {
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, kRingBytes, cudaHostAllocDefault), "pinned memory for copies to the device");
  memory_ = static_cast<char*>(memory);
}

void Staging::retire_oldest() {
  check(cudaEventSynchronize(under_way_.front().done), "copy to the device");
  free_events_.push_back(under_way_.front().done);
  under_way_.pop_front();
}

/// Where `bytes` of the ring begin that no copy reads any more.
int64_t Staging::take(int64_t bytes) {
  const int64_t begin = next_ + bytes > kRingBytes ? 0 : next_, end = begin + bytes;
  const auto overlaps = [&](const Piece& p) { return p.begin < end && begin < p.end; };
  while (under_way_.size() >= kMostPieces || std::any_of(under_way_.begin(), under_way_.end(), overlaps))
    retire_oldest();
  next_ = round_up(end, 256);
  return begin;
}

void Staging::copy_in(cudaStream_t queue, void* to, const void* from_host, int64_t bytes) {
  if (!memory_) create();
  for (int64_t done = 0; done < bytes;) {
    const int64_t size = std::min(bytes - done, kLargestPiece), begin = take(size);
    memcpy(memory_ + begin, static_cast<const char*>(from_host) + done, size_t(size));
    check(
        cudaMemcpyAsync(static_cast<char*>(to) + done, memory_ + begin, size_t(size), cudaMemcpyHostToDevice, queue),
        "copy to the device");
    if (free_events_.empty()) {
      cudaEvent_t event = nullptr;
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
      free_events_.push_back(event);
    }
    check(cudaEventRecord(free_events_.back(), queue), "cudaEventRecord");
    under_way_.push_back({free_events_.back(), begin, begin + size});
    free_events_.pop_back();
    done += size;
  }
}

}  // namespace selene::cuda
