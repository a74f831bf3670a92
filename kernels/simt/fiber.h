// One thread of a block: a fiber of Boost.Context with a stack of its own, made once and used for every block.
#pragma once
#include <boost/context/detail/fcontext.hpp>

#include "kernels/simt/simt.h"

namespace selene::simt {

enum class State { ready, at_warp, at_barrier, done };

struct Fiber {
  State state = State::done;
  uint3 index{};
  WarpOperation operation{};  // from here: what it waits for at_warp
  unsigned mask = 0;
  uint64_t value = 0;  // given, then received
  int source = 0;
  void (*together)(void* const*) = nullptr;
  unsigned barriers = 0, warp_barriers = 0;  // passed
  AsyncCopies copies;

  boost::context::detail::fcontext_t context = nullptr;
  unsigned char* stack = nullptr;  // [kStack]
  void *tsan = nullptr, *fake_stack = nullptr;
};

/// Gives the fiber a stack, or a fresh start on the one it has; number: its place in the block.
void prepare(Fiber& fiber, int number, void (*entry)(boost::context::detail::transfer_t));
/// From the scheduler: runs the fiber until it calls leave().
void enter(Fiber& fiber);
/// From a fiber: back to the scheduler, until it is entered again.
void leave(Fiber& fiber);
/// The first thing on a fresh fiber.
void arrive(boost::context::detail::transfer_t from);
/// Before the first enter() of a launch, on the thread that launches.
void scheduler_is_here();

}  // namespace selene::simt
