// One device: its stream, its slab and the three arenas in it. A dry context has no
// memory and runs nothing: the same program on it gives the exact plan.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/tensor.h"
#include "kernels/backend.h"

namespace selene {

/// Bytes of each arena.
struct MemoryPlan {
  int64_t persistent = 0;  // parameters, master copy, gradients, optimiser state, per-step scalars
  int64_t step = 0;        // activations and scratch of one micro-batch
  int64_t state = 0;       // what outlives a step: caches of a decoder that makes one symbol after another
  int64_t total() const { return persistent + step + state; }
};

class Context {
 public:
  /// A device without memory: launches are dropped, arenas are unbounded, plan() tells what a real run on that module
  /// (null: the CPU) needs.
  static std::unique_ptr<Context> dry(const Backend* module = nullptr);
  /// CPU when `module` is null. Allocates the whole slab; Error when the machine has not so much. `guard`: Arena.
  Context(const MemoryPlan& plan, const Backend* module = nullptr, bool guard = false);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Stream& stream() { return stream_; }
  bool is_dry() const { return stream_.dry; }
  Arena& persistent() { return *persistent_; }
  Arena& step() { return *step_; }
  Arena& state() { return *state_; }
  /// Peaks so far.
  MemoryPlan plan() const;

  /// A tensor with undefined contents. `what` names it where memory runs out.
  Tensor empty(Shape shape, DType dtype, const char* what = "tensor") { return make(*step_, shape, dtype, what); }
  Tensor make(Arena& arena, Shape shape, DType dtype, const char* what);

  /// Host to device, into a dense tensor. Refused in a capture; nothing in a dry run.
  void upload(const Tensor& to, const void* from);
  /// Device to host; waits. Refused in a capture. In a dry run the host memory is left alone.
  void download(const Tensor& from, void* to);
  template <class T>
  std::vector<T> values(const Tensor& t) {
    std::vector<T> v(size_t(t.numel()));
    t.data<T>();
    download(t, v.data());
    return v;
  }
  template <class T>
  Tensor tensor(Shape shape, const std::vector<T>& values, const char* what = "input") {
    need_count(shape, int64_t(values.size()));
    Tensor t = empty(shape, dtype_of<T>, what);
    upload(t, values.data());
    return t;
  }

  /// The per-step scalars in device memory, and the one copy that writes them.
  const StepScalars* step_scalars() const;
  void set_step(const StepScalars& scalars);

 private:
  Context(const MemoryPlan& plan, const Backend* module, bool guard, bool dry);
  static void need_count(const Shape& shape, int64_t count);
  Stream stream_;
  char* slab_ = nullptr;
  int64_t slab_bytes_ = 0;
  std::unique_ptr<Arena> persistent_, step_, state_;
  Tensor scalars_;
};

}  // namespace selene
