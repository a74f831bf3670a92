// The one door through which every kernel is launched, and what a stream can do: run at once, stay dry (plan memory only),
// or record launches for replay, with the restrictions of a CUDA graph. Knows no Tensor. C++17; also read by device code.
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
using Graph = std::vector<Launch>;

class Stream {
 public:
  Stream() = default;
  /// A stream of a loaded backend; the table outlives the stream.
  explicit Stream(const ModuleTable* table);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device device() const { return table_ ? Device::module : Device::cpu; }
  const ModuleTable* table() const { return table_; }

  /// Launches are counted but nothing runs: the memory plan of a step.
  bool dry = false;
  /// Called after every launch with its seconds (0 in a dry run) and its argument struct. Empty: no timing.
  std::function<void(Operation, DType, double seconds, const void* arguments)> observer;

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
  void launch(Operation operation, DType dtype, void (*on_cpu)(Stream&, const void*), const void* arguments, size_t size);
  /// Host memory to device memory of this stream and back; both wait. Refused while capturing.
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
  Graph captured_;
};

}  // namespace selene
