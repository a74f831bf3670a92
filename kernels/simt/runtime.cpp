// The scheduler of one block: each warp as far as it can go, then the next; a barrier opens when all threads of the
// block stand at it, a warp operation when all lanes of its mask do. Whatever can't go on is an error, not a hang.
#include "kernels/simt/runtime.h"

#include <cstdlib>
#include <mutex>
#include <numeric>
#include <set>

#include "kernels/error.h"
#include "kernels/simt/fiber.h"
#include "kernels/simt/sanitizer.h"
#include "kernels/simt/symbols.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace selene::simt {
namespace {

constexpr int64_t kShared = 227 * 1024, kGuard = 1024;
constexpr unsigned char kPoison = 0xff, kGuardByte = 0xa5;

}  // namespace
}  // namespace selene::simt

alignas(128) unsigned char dynamic_shared[selene::simt::kShared + selene::simt::kGuard];

namespace selene::simt {
namespace {

Schedule schedule_of_environment() {
  const char* text = getenv("SELENE_SIMT_SCHEDULE");
  const std::string name = text ? text : "ascending";
  if (name == "ascending") return Schedule::ascending;
  if (name == "descending") return Schedule::descending;
  if (name == "shuffled") return Schedule::shuffled;
  throw Error("SELENE_SIMT_SCHEDULE is " + name + ", wanted ascending, descending or shuffled");
}

Schedule& chosen_schedule() {
  static Schedule schedule = schedule_of_environment();
  return schedule;
}

// An order of n things: i -> (first + i * step) mod n, step and n without a common factor.
struct Order {
  int64_t n, first, step;
  Order(int64_t count, Schedule schedule, uint64_t& random) : n(count), first(0), step(1) {
    if (schedule == Schedule::descending) first = n - 1, step = n - 1;
    if (schedule != Schedule::shuffled) return;
    random = random * 6364136223846793005u + 1442695040888963407u;
    first = int64_t((random >> 33) % uint64_t(n)), step = int64_t((random >> 20) % 8191) + 1;
    while (std::gcd(step, n) != 1) ++step;
  }
  int64_t operator[](int64_t i) const { return (first + i * (step % n)) % n; }
};

struct Runtime {
  std::mutex mutex;
  std::vector<Fiber> fibers;
  Fiber* current = nullptr;
  const Kernel* kernel = nullptr;
  int threads = 0, done = 0;
  std::string failure;
  Schedule schedule = Schedule::ascending;
  uint64_t random = 0;
  std::set<std::string> names;
  char start_sync, end_sync, barrier_sync[2], warp_sync[32][2];  // addresses for ThreadSanitizer
};

Runtime& runtime() {
  static Runtime instance;
  return instance;
}

std::string place(const char* what, uint3 i) {
  return std::string(what) + " (" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) +
         ")";
}

void entry(boost::context::detail::transfer_t from) {
  arrive(from);
  Runtime& r = runtime();
  for (;;) {
    Fiber& f = *r.current;
    acquire(&r.start_sync);
    try {
      r.kernel->body();
      if (!f.copies.pending.empty()) fail("ended with an asynchronous copy that it did not wait for");
    } catch (const std::exception& e) {
      r.failure = place("block", blockIdx) + ", " + place("thread", f.index) + ": " + e.what();
    }
    release(&r.end_sync);
    f.state = State::done, ++r.done;
    leave(f);
  }
}

std::string stuck(const Runtime& r) {
  int at_barrier = 0;
  for (int t = 0; t < r.threads; ++t) at_barrier += r.fibers[size_t(t)].state == State::at_barrier;
  for (int t = 0; t < r.threads; ++t) {
    const Fiber& f = r.fibers[size_t(t)];
    if (f.state != State::at_warp) continue;
    int reached = 0;
    for (int l = t & ~31; l < std::min(r.threads, (t & ~31) + 32); ++l) {
      const Fiber& o = r.fibers[size_t(l)];
      reached += o.state == State::at_warp && o.mask == f.mask && o.operation == f.operation;
    }
    return place("block", blockIdx) + ": warp operation reached by " + std::to_string(reached) + " of " +
           std::to_string(__builtin_popcount(f.mask)) + " lanes of its mask, warp " + std::to_string(t / 32) + "; " +
           std::to_string(at_barrier) + " threads at __syncthreads, " + std::to_string(r.done) + " exited";
  }
  return place("block", blockIdx) + ": " + std::to_string(at_barrier) + " threads at __syncthreads, " +
         std::to_string(r.done) + " exited";
}

// If all lanes of f's mask wait for the same operation: does it and lets them go.
void try_warp_operation(Runtime& r, Fiber& f, int warp) {
  Fiber* lanes = &r.fibers[size_t(warp) * 32];
  const int count = std::min(32, r.threads - warp * 32);
  const unsigned mask = f.mask;
  if (count < 32 && mask >> count) return;
  for (unsigned m = mask; m; m &= m - 1) {
    const Fiber& o = lanes[__builtin_ctz(m)];
    if (o.state != State::at_warp || o.mask != mask || o.operation != f.operation) return;
  }
  uint64_t given[32] = {}, ballot = 0;
  void* pointers[32] = {};
  for (unsigned m = mask; m; m &= m - 1) {
    const int l = __builtin_ctz(m);
    given[l] = lanes[l].value, ballot |= uint64_t(given[l] != 0) << l;
    pointers[l] = reinterpret_cast<void*>(given[l]);
  }
  if (f.operation == WarpOperation::collective) f.together(pointers);
  for (unsigned m = mask; m; m &= m - 1) {
    Fiber& o = lanes[__builtin_ctz(m)];
    o.value = o.operation == WarpOperation::shuffle ? given[o.source] : ballot;
    o.state = State::ready;
  }
}

bool run_warp(Runtime& r, int warp) {
  bool progress = false;
  for (bool ran = true; ran;) {
    ran = false;
    const Order order(32, r.schedule, r.random);
    for (int i = 0; i < 32; ++i) {
      const int t = warp * 32 + int(order[i]);
      if (t >= r.threads) continue;
      Fiber& f = r.fibers[size_t(t)];
      if (f.state == State::at_warp) try_warp_operation(r, f, warp);
      if (f.state != State::ready) continue;
      r.current = &f, threadIdx = f.index;
      enter(f);
      if (!r.failure.empty()) {
        acquire(&r.end_sync);
        throw Error(r.failure);
      }
      ran = progress = true;
    }
  }
  return progress;
}

// What lies after a block's dynamic shared memory: writes there are found after the block, and AddressSanitizer finds
// reads too.
void close_shared(int64_t bytes) {
  memset(dynamic_shared + bytes, kGuardByte, kGuard);
  if (__asan_poison_memory_region)
    __asan_poison_memory_region(dynamic_shared + bytes, size_t(kShared - bytes + kGuard));
}
void open_shared() {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(dynamic_shared, size_t(kShared + kGuard));
}
void check_guard(int64_t bytes) {
  for (int64_t i = 0; i < kGuard; ++i)
    if (dynamic_shared[bytes + i] != kGuardByte)
      throw Error(place("block", blockIdx) + ": wrote " + std::to_string(i) +
                  " bytes past the end of dynamic shared memory (" + std::to_string(bytes) + " bytes)");
}

void run_block(Runtime& r, const std::vector<Range>& shared) {
  const int64_t bytes = r.kernel->shared_bytes;
  for (const Range& v : shared) memset(v.from, kPoison, size_t(v.bytes));
  memset(dynamic_shared, kPoison, size_t(bytes));
  close_shared(bytes);
  r.done = 0;
  for (int t = 0; t < r.threads; ++t) {
    Fiber& f = r.fibers[size_t(t)];
    f.state = State::ready, f.barriers = f.warp_barriers = 0;
  }
  release(&r.start_sync);
  while (r.done < r.threads) {
    bool progress = false;
    const Order order((r.threads + 31) / 32, r.schedule, r.random);
    for (int w = 0; w < order.n; ++w) progress |= run_warp(r, int(order[w]));
    if (progress) continue;
    for (int t = 0; t < r.threads; ++t)
      if (r.fibers[size_t(t)].state != State::at_barrier) throw Error(stuck(r));
    for (int t = 0; t < r.threads; ++t) r.fibers[size_t(t)].state = State::ready;
  }
  acquire(&r.end_sync);
  open_shared();
  check_guard(bytes);
}

void run_blocks(Runtime& r) {
  const Kernel& k = *r.kernel;
  const std::vector<Range> shared = shared_variables();
  const int64_t blocks = int64_t(k.grid.x) * k.grid.y * k.grid.z;
  const Order order(blocks, r.schedule, r.random);
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t b = order[i];
    blockIdx = {unsigned(b % k.grid.x), unsigned(b / k.grid.x % k.grid.y), unsigned(b / k.grid.x / k.grid.y)};
    run_block(r, shared);
  }
}

// After an error the fibers stand somewhere inside the kernel and never go on.
void abandon(Runtime& r) {
  open_shared();
  for (size_t t = 0; t < r.fibers.size(); ++t) {
    prepare(r.fibers[t], int(t), entry);
    r.fibers[t].copies = {};
  }
  r.failure.clear();
}

}  // namespace

void set_schedule(Schedule schedule) { chosen_schedule() = schedule; }

void run(const Kernel& kernel) {
  Runtime& r = runtime();
  const std::lock_guard<std::mutex> lock(r.mutex);
  const std::string name = kernel_name(kernel.function);
  r.names.insert(name);
  r.schedule = chosen_schedule(), r.random = 1;
  r.kernel = &kernel, r.threads = kernel.block;
  for (size_t t = r.fibers.size(); t < size_t(kernel.block); ++t) {
    r.fibers.emplace_back();
    prepare(r.fibers.back(), int(t), entry);
  }
  for (int t = 0; t < kernel.block; ++t) r.fibers[size_t(t)].index = {unsigned(t), 0, 0};
  blockDim = dim3(unsigned(kernel.block)), gridDim = kernel.grid;
  scheduler_is_here();
  try {
    run_blocks(r);
  } catch (const std::exception& e) {
    const std::string what = "kernel " + name + ", " + e.what();
    abandon(r);
    throw Error(what);
  }
}

void submit(void* queue, Kernel kernel) {
  auto* q = static_cast<Queue*>(queue);
  if (q && q->capturing) q->captured.push_back(std::move(kernel));
  else run(kernel);
}

int64_t shared_limit(int32_t capability) {
  const int32_t c = capability;
  return 1024 * (c >= 90 ? 227 : c == 80 || c == 87 ? 163 : c >= 86 ? 99 : c == 75 ? 64 : 96);
}

void fail(const std::string& what) { throw Error(what); }

int lane() { return int(runtime().current - runtime().fibers.data()) & 31; }

AsyncCopies& async_copies() { return runtime().current->copies; }

uint64_t warp(WarpOperation operation, unsigned mask, uint64_t value, int source, void (*together)(void* const*)) {
  Runtime& r = runtime();
  Fiber& f = *r.current;
  if (!(mask >> lane() & 1)) fail("warp operation by lane " + std::to_string(lane()) + ", which its mask leaves out");
  if (operation == WarpOperation::shuffle && !(mask >> source & 1))
    fail("shuffle reads lane " + std::to_string(source) + ", which the mask leaves out");
  f.operation = operation, f.mask = mask, f.value = value, f.source = source, f.together = together;
  f.state = State::at_warp;
  char* sync =
      operation == WarpOperation::sync ? &r.warp_sync[(&f - r.fibers.data()) / 32][f.warp_barriers++ & 1] : nullptr;
  if (sync) release(sync);
  leave(f);
  if (sync) acquire(sync);
  return f.value;
}

std::vector<std::string> kernels_run() { return {runtime().names.begin(), runtime().names.end()}; }

int64_t static_shared_variables() { return int64_t(shared_variables().size()); }

}  // namespace selene::simt

void __syncthreads() {
  using namespace selene::simt;
  Runtime& r = runtime();
  Fiber& f = *r.current;
  char* sync = &r.barrier_sync[f.barriers++ & 1];
  release(sync);
  f.state = State::at_barrier;
  leave(f);
  acquire(sync);
}

// For tests that have loaded the module: 0 ascending, 1 descending, 2 shuffled.
extern "C" __attribute__((visibility("default"))) void selene_simt_set_schedule(int schedule) {
  selene::simt::set_schedule(static_cast<selene::simt::Schedule>(schedule));
}

namespace {

std::string lines(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name + "\n";
  return text;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const char* selene_simt_kernels_run() {
  static std::string text;
  text = lines(selene::simt::kernels_run());
  return text.c_str();
}

extern "C" __attribute__((visibility("default"))) const char* selene_simt_functions() {
  static const std::string text = lines(selene::simt::function_names());
  return text.c_str();
}
