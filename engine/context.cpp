#include "engine/context.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "kernels/error.h"

namespace selene {
namespace {

int64_t aligned(int64_t bytes) { return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment; }

void check(const char* message) {
  if (message) throw Error(message);
}

// Pages are touched first by whoever computes on them; unused ones cost nothing.
char* map_host(int64_t bytes) {
  void* p = mmap(nullptr, size_t(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    throw Error(fmt::format("slab: the system refuses {:.1f} MiB of memory: {} (ulimit -v, or the container's limit)",
                            double(bytes) / (1 << 20), strerror(errno)));
  madvise(p, size_t(bytes), MADV_HUGEPAGE);
  return static_cast<char*>(p);
}

}  // namespace

std::unique_ptr<Context> Context::dry(const Backend* module) {
  const MemoryPlan unbounded{Arena::kUnbounded, Arena::kUnbounded, Arena::kUnbounded};
  return std::unique_ptr<Context>(new Context(unbounded, module, false, true));
}

Context::Context(const MemoryPlan& plan, const Backend* module, bool guard) : Context(plan, module, guard, false) {}

Context::Context(const MemoryPlan& plan, const Backend* module, bool guard, bool dry)
    : stream_(module ? module->table() : nullptr, dry) {
  const int64_t scalars = Arena::kAlignment * (guard ? 2 : 1);
  char *step_base = nullptr, *state_base = nullptr;
  int64_t persistent_bytes = plan.persistent;
  if (!dry) {
    persistent_bytes = std::max(aligned(plan.persistent), scalars);  // a plan counts the scalars, see below
    slab_bytes_ = persistent_bytes + aligned(plan.step) + aligned(plan.state);
    void* memory = nullptr;
    if (stream_.table()) check(stream_.table()->allocate(slab_bytes_, &memory));
    else memory = map_host(slab_bytes_);
    slab_ = static_cast<char*>(memory);
    step_base = slab_ + persistent_bytes, state_base = step_base + aligned(plan.step);
  }
  persistent_ = std::make_unique<Arena>("persistent", slab_, persistent_bytes, guard);
  step_ = std::make_unique<Arena>("step", step_base, plan.step, guard);
  state_ = std::make_unique<Arena>("state", state_base, plan.state, guard);
  scalars_ = make(*persistent_, {int64_t(sizeof(StepScalars))}, DType::u8, "step scalars");
  set_step({});
}

Context::~Context() {
  scalars_ = Tensor();
  persistent_.reset(), step_.reset(), state_.reset();
  if (!slab_) return;
  if (stream_.table()) stream_.table()->release(slab_);
  else munmap(slab_, size_t(slab_bytes_));
}

MemoryPlan Context::plan() const { return {persistent_->peak(), step_->peak(), state_->peak()}; }

Tensor Context::make(Arena& arena, Shape shape, DType dtype, const char* what) {
  if (&arena != step_.get()) stream_.refuse_in_capture("new memory outside of the step arena");
  if (stream_.capturing()) arena.stay_open();
  const std::string label = fmt::format("{} {}{}", what, name_of(dtype), shape.text());
  return Tensor(arena.allocate(shape.numel() * size_of(dtype), label), shape, dtype);
}

void Context::upload(const Tensor& to, const void* from) {
  if (!to.dense()) throw Error(fmt::format("upload: {} is not dense", to.text()));
  if (!is_dry()) stream_.copy_in(to.raw(), from, to.bytes());
}

void Context::download(const Tensor& from, void* to) {
  if (!from.dense()) throw Error(fmt::format("download: {} is not dense", from.text()));
  if (!is_dry()) stream_.copy_out(to, from.raw(), from.bytes());
}

void Context::need_count(const Shape& shape, int64_t count) {
  if (shape.numel() != count) throw Error(fmt::format("tensor {}: {} values given", shape.text(), count));
}

const StepScalars* Context::step_scalars() const { return static_cast<const StepScalars*>(scalars_.raw()); }

void Context::set_step(const StepScalars& scalars) { upload(scalars_, &scalars); }

}  // namespace selene
