// kernels/cuda/host/runtime.h on the host: kernels run when they are queued, a graph is the list of kernels with the
// arguments of the capture. The compute capability is 80 where the environment asks for no other.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "kernels/ceil_div.h"
#include "kernels/cuda/host/runtime.h"
#include "kernels/error.h"
#include "kernels/simt/runtime.h"

namespace selene::cuda {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kAlignment = 256;

int32_t capability() { return wanted_capability(80); }

simt::Queue& queue(const Stream& s) { return *static_cast<simt::Queue*>(s.queue); }

}  // namespace

const char* backend_name() { return "simt"; }

std::string why_unusable() {
  const int32_t c = capability();
  for (const int32_t known : {70, 75, 80, 86, 89, 90})
    if (c == known) return "";
  return "SELENE_DEVICE_CAPABILITY is not one of 70, 75, 80, 86, 89, 90";
}

void device_info(DeviceInfo& info) {
  info = DeviceInfo{};
  strcpy(info.name, "the host through the shim");
  strcpy(info.software, "kernels run thread by thread, for tests only");
  const int64_t page = sysconf(_SC_PAGE_SIZE);
  info.memory = sysconf(_SC_PHYS_PAGES) * page, info.free = sysconf(_SC_AVPHYS_PAGES) * page;
  info.multiprocessors = 1;
  info.major = capability() / 10, info.minor = capability() % 10;
}

// NaN wherever nothing was written yet.
void* allocate(int64_t bytes) {
  const size_t size = size_t(round_up(bytes, kAlignment));
  void* memory = aligned_alloc(kAlignment, size);
  if (!memory) throw Error("no memory: " + std::to_string(bytes >> 20) + " MiB asked for");
  return memset(memory, 0xff, size);
}
void release(void* memory) { free(memory); }

void queue_create(Stream& s) { s.queue = new simt::Queue, s.capability = capability(); }
void queue_destroy(Stream& s) { delete &queue(s), s.queue = nullptr; }
void queue_synchronize(Stream&) {}
void copy_in(Stream&, void* to, const void* from_host, int64_t bytes) { memcpy(to, from_host, size_t(bytes)); }
void copy_out(Stream&, void* to_host, const void* from, int64_t bytes) { memcpy(to_host, from, size_t(bytes)); }

void capture_begin(Stream& s) { queue(s).captured.clear(), queue(s).capturing = true; }
void* capture_end(Stream& s) {
  queue(s).capturing = false;
  auto* graph = new std::vector<simt::Kernel>;
  graph->swap(queue(s).captured);
  return graph;
}
bool capturing(const Stream& s) { return queue(s).capturing; }
void graph_launch(Stream&, void* graph) {
  for (const simt::Kernel& kernel : *static_cast<std::vector<simt::Kernel>*>(graph)) simt::run(kernel);
}
void graph_destroy(void* graph) { delete static_cast<std::vector<simt::Kernel>*>(graph); }

void* event_create() { return new Clock::time_point; }
void event_record(void* event, Stream&) { *static_cast<Clock::time_point*>(event) = Clock::now(); }
double event_seconds(void* from, void* to) {
  return std::chrono::duration<double>(*static_cast<Clock::time_point*>(to) - *static_cast<Clock::time_point*>(from))
      .count();
}
void event_destroy(void* event) { delete static_cast<Clock::time_point*>(event); }

}  // namespace selene::cuda
