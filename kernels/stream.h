// The one door through which every kernel is launched, and what a stream can do: run at once, stay dry (plan memory
// only), or record launches for replay, with the restrictions of a CUDA graph. Knows no Tensor. C++17; also read by
// device code.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/dtype.h"
#include "kernels/module_abi.h"

namespace selene {

enum class Device : int32_t { cpu, module };  // module: a backend loaded at run time (CUDA, or the host shim of it)

class Stream;

/// One recorded or observed launch: which operation on which element type, and a copy of its argument struct.
struct Launch {
  Operation operation;
  DType dtype;
  void (*on_cpu)(Stream&, const void*);
  std::vector<std::byte> arguments;
};

/// The launches of a captured step: a list on the CPU, the backend's own graph on a module.
class Graph {
 public:
  Graph() = default;
  ~Graph();
  Graph(Graph&& other) noexcept { *this = std::move(other); }
  Graph& operator=(Graph&& other) noexcept;
  explicit operator bool() const { return handle_ || !launches_.empty(); }

 private:
  friend class Stream;
  std::vector<Launch> launches_;
  const ModuleTable* table_ = nullptr;
  void* handle_ = nullptr;
};

class Stream {
 public:
  Stream() = default;
  /// A stream of a loaded backend (null: the CPU); the table outlives the stream. A dry one launches nothing and
  /// needs no device: it plans memory.
  explicit Stream(const ModuleTable* table, bool dry_run = false);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device device() const { return table_ ? Device::module : Device::cpu; }
  const ModuleTable* table() const { return table_; }

  /// Launches are observed but nothing runs: the memory plan of a step.
  const bool dry = false;
  /// Called after every launch with its seconds (0 in a dry run) and its argument struct. Empty: no timing.
  std::function<void(Operation, DType, double seconds, const void* arguments)> observer;

  /// A module's switch; ignored on the CPU.
  void set(StreamOption option, int64_t value);
  /// What slower kernels than those meant for it have run so far, in the order in which it was met first, from number
  /// `first` on; a captured call counts once. A module's; empty on the CPU.
  std::vector<Fallback> fallbacks(int64_t first = 0) const;
  /// How the module's matrix library runs a Matmul with these arguments. Error where there is no such library.
  ProductPlan product_plan(DType dtype, const void* arguments, size_t size) const;
  /// Used by workspace_bytes(); modules only.
  int64_t workspace(Operation operation, DType dtype, const void* arguments, size_t size) const;

  /// From here to end_capture launches are recorded, not run. Error if capturing already.
  void begin_capture();
  /// The launches since begin_capture. Error if not capturing.
  Graph end_capture();
  /// Runs the launches of a graph in order with the argument values of the capture.
  void replay(const Graph& graph);
  bool capturing() const { return capturing_; }
  /// Throws "<what>: not possible while a step is captured": host reads, host writes, new memory.
  void refuse_in_capture(const char* what) const;

  /// Used by run() below.
  void launch(Operation operation, DType dtype, void (*on_cpu)(Stream&, const void*), const void* arguments,
              size_t size);
  /// Host memory to device memory of this stream, in order: `from` may change afterwards. And back, which waits. Both
  /// are refused while capturing.
  void copy_in(void* to, const void* from, int64_t bytes);
  void copy_out(void* to, const void* from, int64_t bytes);
  /// Waits until everything launched has finished. Refused while capturing.
  void synchronize();

 private:
  void execute(Operation operation, DType dtype, void (*on_cpu)(Stream&, const void*), const void* arguments,
               size_t size);
  const ModuleTable* table_ = nullptr;
  void* handle_ = nullptr;
  bool capturing_ = false;
  std::vector<Launch> captured_;
  void *before_ = nullptr, *after_ = nullptr;  // a module's events, for the observer's seconds
};

}  // namespace selene
