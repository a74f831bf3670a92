// The entry of a backend module, libselene_cuda.so or libselene_simt.so: the table of kernels/module_abi.h over
// runtime.h and the kernels' run() and workspace(). No exception leaves it; a failure becomes one line of text.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>

#include "kernels/cuda/host/runtime.h"
#include "kernels/error.h"

namespace selene::cuda {
namespace {

thread_local std::string failure;  // what the last failing call of this thread returned

/// Runs f; null, or why it failed.
template <class F>
const char* guarded(F f) {
  try {
    f();
    return nullptr;
  } catch (const std::exception& e) {
    failure = e.what();
  } catch (...) {
    failure = "an exception of an unknown kind";
  }
  return failure.c_str();
}

void copy_text(char* to, size_t room, const std::string& text) { snprintf(to, room, "%s", text.c_str()); }

Stream& stream(void* handle) {
  if (!handle) throw Error("no stream");
  return *static_cast<Stream*>(handle);
}

template <class A>
const A& read(const void* arguments, int64_t size) {
  if (size != int64_t(sizeof(A)))
    throw Error("argument struct of another size: " + std::to_string(size) + " bytes, wanted " +
                std::to_string(sizeof(A)));
  return *static_cast<const A*>(arguments);
}

/// f(arguments as the struct of the element type); an error for a type without a kernel.
template <template <class> class Arguments, class F>
void with_type(DType dtype, const void* arguments, int64_t size, F f) {
  if (dtype == DType::f32) return f(read<Arguments<float>>(arguments, size));
  if constexpr (!float_only<Arguments>) {
    if (dtype == DType::f16) return f(read<Arguments<f16>>(arguments, size));
    if (dtype == DType::bf16) return f(read<Arguments<bf16>>(arguments, size));
  }
  if constexpr (also_double<Arguments>)
    if (dtype == DType::f64) return f(read<Arguments<double>>(arguments, size));
  throw Error("element type that no kernel is built for");
}

/// f(arguments as the struct of the operation and the element type).
template <class F>
void with_arguments(Operation operation, DType dtype, const void* arguments, int64_t size, F f) {
  switch (operation) {
#define X(NAME)         \
  case Operation::NAME: \
    return with_type<NAME>(dtype, arguments, size, f);
    SELENE_OPERATIONS(X)
#undef X
    default:
      throw Error("unknown operation");
  }
}

/// f(), whose errors begin with the operation and the element type.
template <class F>
const char* guarded_operation(int32_t operation, int32_t dtype, F f) {
  return guarded([&] {
    const bool known =
        operation >= 0 && operation < int32_t(Operation::count) && dtype >= 0 && dtype <= int32_t(DType::u8);
    if (!known)
      throw Error("operation " + std::to_string(operation) + ", element type " + std::to_string(dtype) +
                  ": unknown to this module");
    try {
      f(Operation(operation), DType(dtype));
    } catch (const std::exception& e) {
      throw Error(std::string(name_of(Operation(operation))) + " " + name_of(DType(dtype)) + ": " + e.what());
    }
  });
}

/// SELENE_SYNC=1: wait after every operation, so that a fault on the device names the operation that made it.
bool sync_each() {
  static const bool on = [] {
    const char* value = getenv("SELENE_SYNC");
    return value && std::string(value) == "1";
  }();
  return on;
}

const char* workspace_of(int32_t operation, int32_t dtype, const void* arguments, int64_t size, int64_t* bytes) {
  return guarded_operation(operation, dtype, [&](Operation op, DType type) {
    *bytes = 0;
    with_arguments(op, type, arguments, size, [&](const auto& a) {
      if constexpr (HasWorkspace<std::decay_t<decltype(a)>>::value) *bytes = workspace(a);
    });
  });
}

const char* run_operation(int32_t operation, int32_t dtype, void* handle, const void* arguments, int64_t size) {
  return guarded_operation(operation, dtype, [&](Operation op, DType type) {
    Stream& s = stream(handle);
    with_arguments(op, type, arguments, size, [&](const auto& a) { run(s, a); });
    if (sync_each() && !capturing(s)) queue_synchronize(s);
  });
}

const char* stream_create(void** handle) {
  return guarded([&] {
    auto* s = new Stream;
    try {
      queue_create(*s);
    } catch (...) {
      delete s;
      throw;
    }
    *handle = s;
  });
}

const char* stream_destroy(void* handle) {
  return guarded([&] {
    Stream* s = &stream(handle);
    try {
      queue_destroy(*s);
    } catch (...) {
      delete s;
      throw;
    }
    delete s;
  });
}

const char* stream_option(void* handle, int32_t option, int64_t value) {
  return guarded([&] {
    Stream& s = stream(handle);
    const int64_t most = StreamOption(option) == StreamOption::attention ? int64_t(AttentionKernels::automatic) : 1;
    if (value < 0 || value > most)
      throw Error("stream option: value " + std::to_string(value) + ", wanted 0 to " + std::to_string(most));
    switch (StreamOption(option)) {
      case StreamOption::tf32:
        s.tf32 = value;
        break;
      case StreamOption::plain_matmul:
        s.plain_matmul = value;
        break;
      case StreamOption::attention:
        if (AttentionKernels(value) >= AttentionKernels::cudnn) need_cudnn();
        s.attention = AttentionKernels(value);
        break;
      default:
        throw Error("stream option " + std::to_string(option) + ": unknown to this module");
    }
  });
}

const char* fallback(void* handle, int64_t index, Fallback* one) {
  return guarded([&] {
    const std::vector<Fallback>& all = stream(handle).fallbacks;
    *one = index < int64_t(all.size()) ? all[size_t(index)] : Fallback{};
  });
}

const char* plan_of(void* handle, int32_t dtype, const void* arguments, int64_t size, ProductPlan* plan) {
  return guarded([&] {
    with_type<Matmul>(DType(dtype), arguments, size, [&](const auto& a) { *plan = product_plan(stream(handle), a); });
  });
}

/// The entries that only pass on what they get.
void fill_memory_and_queue(ModuleTable& t) {
  t.device_info = [](DeviceInfo* info) { return guarded([&] { device_info(*info); }); };
  t.allocate = [](int64_t bytes, void** memory) { return guarded([&] { *memory = allocate(bytes); }); };
  t.release = [](void* memory) { return guarded([&] { release(memory); }); };
  t.stream_create = stream_create;
  t.stream_destroy = stream_destroy;
  t.stream_synchronize = [](void* s) { return guarded([&] { queue_synchronize(stream(s)); }); };
  t.stream_option = stream_option;
  t.copy_in = [](void* s, void* to, const void* from, int64_t bytes) {
    return guarded([&] { copy_in(stream(s), to, from, bytes); });
  };
  t.copy_out = [](void* s, void* to, const void* from, int64_t bytes) {
    return guarded([&] { copy_out(stream(s), to, from, bytes); });
  };
  t.workspace = workspace_of;
  t.run = run_operation;
  t.fallback = fallback;
  if (has_matmul_library()) t.product_plan = plan_of;
}

void fill_graphs_and_events(ModuleTable& t) {
  t.capture_begin = [](void* s) { return guarded([&] { capture_begin(stream(s)); }); };
  t.capture_end = [](void* s, void** graph) { return guarded([&] { *graph = capture_end(stream(s)); }); };
  t.graph_launch = [](void* s, void* graph) { return guarded([&] { graph_launch(stream(s), graph); }); };
  t.graph_destroy = [](void* graph) { return guarded([&] { graph_destroy(graph); }); };
  t.event_create = [](void** event) { return guarded([&] { *event = event_create(); }); };
  t.event_record = [](void* event, void* s) { return guarded([&] { event_record(event, stream(s)); }); };
  t.event_seconds = [](void* from, void* to, double* seconds) {
    return guarded([&] { *seconds = event_seconds(from, to); });
  };
  t.event_destroy = [](void* event) { return guarded([&] { event_destroy(event); }); };
}

void fill_communicator(ModuleTable& t) {
  if (!has_communicator()) return;
  t.communicator_id = [](void* id) { return guarded([&] { communicator_id(id); }); };
  t.communicator_create = [](const void* id, int32_t rank, int32_t ranks, void** communicator) {
    return guarded([&] { *communicator = communicator_create(id, rank, ranks); });
  };
  t.communicator_run = [](void* communicator, int32_t collective, void* s, const void* from, void* to, int64_t count,
                          int32_t dtype) {
    return guarded(
        [&] { communicator_run(communicator, Collective(collective), stream(s), from, to, count, DType(dtype)); });
  };
  t.communicator_destroy = [](void* communicator) { return guarded([&] { communicator_destroy(communicator); }); };
}

const ModuleTable* table() {
  static const ModuleTable filled = [] {
    ModuleTable t{};
    t.abi = abi_hash();
    t.name = backend_name();
    fill_memory_and_queue(t);
    fill_graphs_and_events(t);
    fill_communicator(t);
    return t;
  }();
  return &filled;
}

}  // namespace

void count_fallback(Stream& s, Operation operation, DType dtype, const std::string& shape,
                    const std::string& reason) {
  for (Fallback& known : s.fallbacks)
    if (known.operation == operation && known.dtype == dtype && shape == known.shape && reason == known.reason) {
      ++known.calls;
      return;
    }
  Fallback f{operation, dtype, 1, {}, {}};
  copy_text(f.shape, sizeof(f.shape), shape), copy_text(f.reason, sizeof(f.reason), reason);
  s.fallbacks.push_back(f);
}

}  // namespace selene::cuda

extern "C" __attribute__((visibility("default"))) const selene::ModuleTable* selene_module(const char** why);

const selene::ModuleTable* selene_module(const char** why) {
  using namespace selene::cuda;
  const selene::ModuleTable* result = nullptr;
  const char* failed = guarded([&] {
    const std::string reason = why_unusable();
    if (!reason.empty()) throw selene::Error(reason);
    result = table();
  });
  if (failed && why) *why = failed;
  return result;
}
