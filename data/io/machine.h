// What this process may use of its machine: a container or a shell often allows less than there is.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace selene::data {

/// What the control groups of a process allow, its own and those above; nothing where they don't limit.
struct GroupLimits {
  std::optional<int64_t> memory;  // bytes
  std::optional<double> cores;    // processor time per time
};
/// Versions 1 and 2, alone or together, wherever they are mounted: /proc/self/cgroup names the groups,
/// /proc/self/mountinfo the mount points. `root` stands before every path (tests). What cannot be read does not
/// limit.
GroupLimits group_limits(const std::string& root = "");

/// Threads that can run at the same time: the cores that the scheduler gives this process, at most as many as its
/// control groups pay for, at least 1.
int usable_cores();

/// Bytes of memory that this process may come to use beside what it holds already (a data set, say): the least that
/// is left of the machine's, of the control groups' and of its address space (ulimit -v); and what sets this limit,
/// for messages: "machine", "container", "address space (ulimit -v)".
struct UsableMemory {
  int64_t bytes = 0;
  const char* limit = "machine";
};
UsableMemory usable_memory();

}  // namespace selene::data
