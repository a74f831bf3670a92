// What the sanitizers must be told of fibers: weak symbols, null in a build without them. The file that includes this
// is itself built without -fsanitize=thread, so that the scheduler's own accesses are not taken for a kernel's.
#pragma once
#include <cstddef>

extern "C" {
__attribute__((weak)) void* __tsan_get_current_fiber();
__attribute__((weak)) void* __tsan_create_fiber(unsigned flags);
__attribute__((weak)) void __tsan_destroy_fiber(void* fiber);
__attribute__((weak)) void __tsan_switch_to_fiber(void* fiber, unsigned flags);
__attribute__((weak)) void __tsan_acquire(void* address);
__attribute__((weak)) void __tsan_release(void* address);
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom_old,
                                                           size_t* size_old);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* address, size_t size);
__attribute__((weak)) void __asan_poison_memory_region(const volatile void* address, size_t size);
}

namespace selene::simt {

inline void acquire(void* sync) {
  if (__tsan_acquire) __tsan_acquire(sync);
}
inline void release(void* sync) {
  if (__tsan_release) __tsan_release(sync);
}

}  // namespace selene::simt
