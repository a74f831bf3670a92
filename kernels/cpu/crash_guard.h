// A message where oneDNN crashes for want of memory.
#pragma once

namespace selene::cpu {

/// While it lives, a memory fault of this thread is taken for what it is in oneDNN's code generator: the system has
/// refused memory (ulimit -v, a container's limit), and the generator writes to a null pointer. Then one line says so
/// and the process ends with status 1. Any other fault goes to whoever handled it before.
class CrashGuard {
 public:
  CrashGuard();
  ~CrashGuard();
  CrashGuard(const CrashGuard&) = delete;
  CrashGuard& operator=(const CrashGuard&) = delete;
};

}  // namespace selene::cpu
