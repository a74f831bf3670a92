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

Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(launches_, other.launches_), std::swap(table_, other.table_), std::swap(handle_, other.handle_);
  return *this;
}

Graph::~Graph() {
  if (handle_) table_->graph_destroy(handle_);
}

Stream::Stream(const ModuleTable* table, bool dry_run) : dry(dry_run), table_(table) {
  if (!table_ || dry) return;
  check(table_->stream_create(&handle_));
  check(table_->event_create(&before_));
  check(table_->event_create(&after_));
}

Stream::~Stream() {
  if (!handle_) return;
  table_->event_destroy(before_), table_->event_destroy(after_);
  table_->stream_destroy(handle_);
}

void Stream::set(StreamOption option, int64_t value) {
  if (handle_) check(table_->stream_option(handle_, int32_t(option), value));
}

std::vector<Fallback> Stream::fallbacks(int64_t first) const {
  std::vector<Fallback> all;
  while (handle_) {
    Fallback next{};
    check(table_->fallback(handle_, first + int64_t(all.size()), &next));
    if (next.calls == 0) break;
    all.push_back(next);
  }
  return all;
}

ProductPlan Stream::product_plan(DType dtype, const void* arguments, size_t size) const {
  if (!handle_ || !table_->product_plan)
    throw Error("this device has no matrix library, Selene's own kernel computes every product");
  ProductPlan plan{};
  check(table_->product_plan(handle_, int32_t(dtype), arguments, int64_t(size), &plan));
  return plan;
}

int64_t Stream::workspace(Operation operation, DType dtype, const void* arguments, size_t size) const {
  int64_t bytes = 0;
  check(table_->workspace(int32_t(operation), int32_t(dtype), arguments, int64_t(size), &bytes));
  return bytes;
}

void Stream::refuse_in_capture(const char* what) const {
  if (capturing_) throw Error(std::string(what) + ": not possible while a step is captured");
}

void Stream::begin_capture() {
  refuse_in_capture("begin_capture");
  if (handle_) check(table_->capture_begin(handle_));
  capturing_ = true;
  captured_.clear();
}

Graph Stream::end_capture() {
  if (!capturing_) throw Error("end_capture: no capture has begun on this stream");
  capturing_ = false;
  Graph graph;
  graph.launches_ = std::move(captured_);
  if (!handle_) return graph;
  graph.table_ = table_;
  check(table_->capture_end(handle_, &graph.handle_));
  return graph;
}

void Stream::replay(const Graph& graph) {
  refuse_in_capture("replay");
  if (graph.handle_) return check(table_->graph_launch(handle_, graph.handle_));
  for (const Launch& l : graph.launches_)
    execute(l.operation, l.dtype, l.on_cpu, l.arguments.data(), l.arguments.size());
}

void Stream::launch(Operation operation, DType dtype, void (*on_cpu)(Stream&, const void*), const void* arguments,
                    size_t size) {
  if (dry) {
    if (observer) observer(operation, dtype, 0, arguments);
    return;
  }
  if (capturing_ && handle_)  // the module's own capture records it
    return check(table_->run(int32_t(operation), int32_t(dtype), handle_, arguments, int64_t(size)));
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
  if (!observer) {
    if (handle_) check(table_->run(int32_t(operation), int32_t(dtype), handle_, arguments, int64_t(size)));
    else on_cpu(*this, arguments);
    return;
  }
  double seconds = 0;
  if (handle_) {
    check(table_->event_record(before_, handle_));
    check(table_->run(int32_t(operation), int32_t(dtype), handle_, arguments, int64_t(size)));
    check(table_->event_record(after_, handle_));
    check(table_->event_seconds(before_, after_, &seconds));
  } else {
    const Clock::time_point start = Clock::now();
    on_cpu(*this, arguments);
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
  }
  observer(operation, dtype, seconds, arguments);
}

void Stream::copy_in(void* to, const void* from, int64_t bytes) {
  refuse_in_capture("a copy from host memory");
  if (bytes == 0) return;  // then an address may be null
  if (table_) check(table_->copy_in(handle_, to, from, bytes));
  else memcpy(to, from, size_t(bytes));
}

void Stream::copy_out(void* to, const void* from, int64_t bytes) {
  refuse_in_capture("a copy to host memory");
  if (bytes == 0) return;  // then an address may be null
  if (table_) check(table_->copy_out(handle_, to, from, bytes));
  else memcpy(to, from, size_t(bytes));
}

void Stream::synchronize() {
  refuse_in_capture("synchronize");
  if (table_) check(table_->stream_synchronize(handle_));
}

}  // namespace selene
