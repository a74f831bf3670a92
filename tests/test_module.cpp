// A backend module for tests: the entry of kernels/module_abi.h served by the CPU kernels, with memory from malloc.
// It shows that loading, the table, the ABI hash and the way of every argument struct work where there is no GPU.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>

#include "kernels/operations.h"

namespace selene {
namespace {

thread_local std::string failure;

const char* fail(const std::string& why) {
  failure = why;
  return failure.c_str();
}

template <template <class> class Arguments, class T>
void run_as(Stream& stream, const void* arguments, int64_t size) {
  if (size != int64_t(sizeof(Arguments<T>))) throw std::runtime_error("argument struct of another size");
  cpu::run(stream, *static_cast<const Arguments<T>*>(arguments));
}

template <template <class> class Arguments>
void run_typed(DType dtype, Stream& stream, const void* arguments, int64_t size) {
  switch (dtype) {
    case DType::f32:
      return run_as<Arguments, float>(stream, arguments, size);
    case DType::f64:
      return run_as<Arguments, double>(stream, arguments, size);
    case DType::bf16:
      return run_as<Arguments, bf16>(stream, arguments, size);
    case DType::f16:
      return run_as<Arguments, f16>(stream, arguments, size);
    default:
      throw std::runtime_error("element type that no kernel is built for");
  }
}

void run_operation(Operation operation, DType dtype, Stream& stream, const void* arguments, int64_t size) {
  switch (operation) {
#define X(NAME)         \
  case Operation::NAME: \
    return run_typed<NAME>(dtype, stream, arguments, size);
    SELENE_OPERATIONS(X)
#undef X
    default:
      throw std::runtime_error("unknown operation");
  }
}

const char* describe(char* text, int64_t size) {
  snprintf(text, size_t(size), "the host, through a module");
  return nullptr;
}
const char* allocate(int64_t bytes, void** memory) {
  *memory = aligned_alloc(4096, size_t((bytes + 4095) / 4096 * 4096));
  return *memory ? nullptr : fail("no memory for " + std::to_string(bytes) + " bytes");
}
const char* release(void* memory) { return free(memory), nullptr; }
const char* stream_create(void** stream) { return *stream = new Stream, nullptr; }
const char* stream_destroy(void* stream) { return delete static_cast<Stream*>(stream), nullptr; }
const char* stream_synchronize(void*) { return nullptr; }
const char* copy_in(void*, void* to, const void* from, int64_t bytes) {
  return memcpy(to, from, size_t(bytes)), nullptr;
}
const char* copy_out(void*, void* to, const void* from, int64_t bytes) {
  return memcpy(to, from, size_t(bytes)), nullptr;
}

const char* run_from_table(int32_t operation, int32_t dtype, void* stream, const void* arguments, int64_t size) {
  try {
    run_operation(Operation(operation), DType(dtype), *static_cast<Stream*>(stream), arguments, size);
    return nullptr;
  } catch (const std::exception& e) {
    return fail(e.what());
  }
}

}  // namespace
}  // namespace selene

extern "C" const selene::ModuleTable* selene_module(const char**) {
  using namespace selene;
  static const ModuleTable table{abi_hash(), "test",        describe,       allocate,
                                 release,    stream_create, stream_destroy, stream_synchronize,
                                 copy_in,    copy_out,      run_from_table};
  return &table;
}
