#include "kernels/stream.h"

#include <chrono>
#include <cstring>

#include "kernels/error.h"

namespace selene {
namespace {

void check(const char* message) {
  if (message) throw Error(message);
}

}  // namespace

Stream::Stream(const ModuleTable* table) : table_(table) {
  if (table_) check(table_->stream_create(&handle_));
}

Stream::~Stream() {
  if (handle_) table_->stream_destroy(handle_);
}

void Stream::refuse_in_capture(const char* what) const {
  if (capturing_) throw Error(std::string(what) + ": not possible while a step is captured");
}

void Stream::begin_capture() {
  refuse_in_capture("begin_capture");
  capturing_ = true;
  captured_.clear();
}

Graph Stream::end_capture() {
  if (!capturing_) throw Error("end_capture: no capture has begun on this stream");
  capturing_ = false;
  return std::move(captured_);
}

void Stream::replay(const Graph& graph) {
  refuse_in_capture("replay");
  for (const Launch& l : graph) execute(l.operation, l.dtype, l.on_cpu, l.arguments.data(), l.arguments.size());
}

void Stream::launch(Operation operation, DType dtype, void (*on_cpu)(Stream&, const void*), const void* arguments,
                    size_t size) {
  if (dry) {
    if (observer) observer(operation, dtype, 0, arguments);
    return;
  }
  if (capturing_) {
    const auto* bytes = static_cast<const std::byte*>(arguments);
    captured_.push_back({operation, dtype, on_cpu, {bytes, bytes + size}});
    return;
  }
  execute(operation, dtype, on_cpu, arguments, size);
}

void Stream::execute(Operation operation, DType dtype, void (*on_cpu)(Stream&, const void*), const void* arguments,
                     size_t size) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = observer ? Clock::now() : Clock::time_point();
  if (table_) check(table_->run(int32_t(operation), int32_t(dtype), handle_, arguments, int64_t(size)));
  else on_cpu(*this, arguments);
  if (!observer) return;
  synchronize();
  observer(operation, dtype, std::chrono::duration<double>(Clock::now() - start).count(), arguments);
}

void Stream::copy_in(void* to, const void* from, int64_t bytes) {
  refuse_in_capture("a copy from host memory");
  if (table_) check(table_->copy_in(handle_, to, from, bytes));
  else memcpy(to, from, size_t(bytes));
}

void Stream::copy_out(void* to, const void* from, int64_t bytes) {
  refuse_in_capture("a copy to host memory");
  if (table_) check(table_->copy_out(handle_, to, from, bytes));
  else memcpy(to, from, size_t(bytes));
}

void Stream::synchronize() {
  refuse_in_capture("synchronize");
  if (table_) check(table_->stream_synchronize(handle_));
}

}  // namespace selene
