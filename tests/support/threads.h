// The number of OpenMP threads for the length of a scope. Without OpenMP there is one.
#pragma once
#ifdef _OPENMP
#include <omp.h>
#endif

namespace selene::testing {

class Threads {
 public:
#ifdef _OPENMP
  explicit Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(before_); }

 private:
  int before_;
#else
  explicit Threads(int) {}
  ~Threads() {}

 private:
#endif
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
};

}  // namespace selene::testing
