// Switching between the scheduler and its fibers, with what AddressSanitizer and ThreadSanitizer want to know of it.
#include "kernels/simt/fiber.h"

#include <sys/mman.h>

#include "kernels/error.h"
#include "kernels/simt/sanitizer.h"

namespace selene::simt {
namespace {

namespace context = boost::context::detail;
constexpr size_t kStack = 256 * 1024, kPage = 4096;  // only touched pages cost memory; sanitizers make frames large
// What ThreadSanitizer takes a switch for. kNoSync: it orders nothing, as the threads of a block are not ordered.
constexpr unsigned kSync = 0, kNoSync = 1;

context::fcontext_t scheduler;
void *scheduler_tsan, *scheduler_fake_stack;
const void* scheduler_bottom;
size_t scheduler_size;

}  // namespace

void prepare(Fiber& f, int number, void (*entry)(context::transfer_t)) {
  if (!f.stack) {
    void* memory = mmap(nullptr, kStack + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw Error("simt: no memory for the stacks of a block");
    mprotect(memory, kPage, PROT_NONE);
    f.stack = static_cast<unsigned char*>(memory) + kPage;
  }
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(f.stack, kStack);
  if (f.tsan) {  // what an abandoned fiber did is over before anything that follows
    scheduler_is_here();
    __tsan_switch_to_fiber(f.tsan, kSync), __tsan_switch_to_fiber(scheduler_tsan, kSync);
    __tsan_destroy_fiber(f.tsan);
  }
  if (__tsan_create_fiber) f.tsan = __tsan_create_fiber(0);
  // Equal offsets in page-aligned stacks would all fall into the same cache sets.
  f.context = context::make_fcontext(f.stack + kStack - size_t(number) % 32 * 320, kStack - kPage * 3, entry);
  f.state = State::done, f.fake_stack = nullptr;
}

void enter(Fiber& f) {
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(f.tsan, kNoSync);
  if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(&scheduler_fake_stack, f.stack, kStack);
  f.context = context::jump_fcontext(f.context, nullptr).fctx;
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
}

void leave(Fiber& f) {
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(scheduler_tsan, kNoSync);
  if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(&f.fake_stack, scheduler_bottom, scheduler_size);
  scheduler = context::jump_fcontext(scheduler, nullptr).fctx;
  if (__sanitizer_finish_switch_fiber)
    __sanitizer_finish_switch_fiber(f.fake_stack, &scheduler_bottom, &scheduler_size);
}

void arrive(context::transfer_t from) {
  scheduler = from.fctx;
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
}

void scheduler_is_here() {
  if (__tsan_get_current_fiber) scheduler_tsan = __tsan_get_current_fiber();
}

}  // namespace selene::simt
