#include "data/io/machine.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <vector>

namespace selene::data {
namespace {

// Address space that oneDNN's code (some 150 pieces of 256 KiB) and a thread's stack take.
constexpr int64_t kCodeAndStacks = int64_t(48) << 20;

/// One of this process's groups: the controllers that it is known by ("" in version 2), and its path.
struct Group {
  std::string controllers, path;
};

bool in_list(const std::string& list, const std::string& name) {
  return ("," + list + ",").find("," + name + ",") != std::string::npos;
}

std::vector<Group> groups(const std::string& root) {
  std::vector<Group> found;
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // 4:memory:/user.slice
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second != line.npos) found.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return found;
}

/// Where the hierarchy of a controller is mounted, "" for that of version 2; empty if it is not.
std::string mount_point(const std::string& root, const std::string& controller) {
  std::ifstream in(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {  // 31 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw
    const size_t dash = line.find(" - ");
    if (dash == line.npos) continue;
    std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
    std::string skip, point, type, device, options;
    before >> skip >> skip >> skip >> skip >> point;
    after >> type >> device >> options;
    if (controller.empty() ? type == "cgroup2" : type == "cgroup" && in_list(options, controller)) return point;
  }
  return "";
}

/// Calls see(folder) for the group of a controller and those above it. Inside a container the group's path may be
/// that of the host; then only the mount point itself is there.
template <class See>
void each_folder(const std::string& root, const std::string& controller, const See& see) {
  see(root + "/sys/fs/cgroup/" + controller + "/");
  const std::string mount = mount_point(root, controller);
  if (mount.empty()) return;
  for (const Group& group : groups(root)) {
    if (controller.empty() ? !group.controllers.empty() : !in_list(group.controllers, controller)) continue;
    for (std::string path = group.path; path.size() > 1; path.resize(std::min(path.rfind('/'), path.size())))
      see(root + mount + path + "/");
  }
  see(root + mount + "/");
}

/// The first numbers of a file; none for "max" and what cannot be read.
std::vector<double> numbers(const std::string& path) {
  std::vector<double> found;
  std::ifstream in(path);
  for (double value; in >> value;) found.push_back(value);
  return found;
}

template <class T>
void lower(std::optional<T>& limit, double value) {
  if (value > 0 && value < 9e18 && (!limit || T(value) < *limit)) limit = T(value);
}

}  // namespace

GroupLimits group_limits(const std::string& root) {
  GroupLimits limits;
  const auto memory = [&](const std::string& file) {
    if (const auto n = numbers(file); !n.empty()) lower(limits.memory, n[0]);
  };
  each_folder(root, "", [&](const std::string& folder) {
    memory(folder + "memory.max");
    if (const auto n = numbers(folder + "cpu.max"); n.size() == 2 && n[1] > 0) lower(limits.cores, n[0] / n[1]);
  });
  each_folder(root, "memory", [&](const std::string& folder) { memory(folder + "memory.limit_in_bytes"); });
  each_folder(root, "cpu", [&](const std::string& folder) {
    const auto quota = numbers(folder + "cpu.cfs_quota_us"), period = numbers(folder + "cpu.cfs_period_us");
    if (!quota.empty() && !period.empty() && period[0] > 0) lower(limits.cores, quota[0] / period[0]);
  });
  return limits;
}

int usable_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : int(sysconf(_SC_NPROCESSORS_ONLN));
  if (const auto paid = group_limits().cores) cores = std::min(cores, int(std::ceil(*paid)));
  return std::max(cores, 1);
}

UsableMemory usable_memory() {
  const int64_t page = sysconf(_SC_PAGESIZE);
  auto used = numbers("/proc/self/statm");  // pages: address space, resident
  used.resize(2);
  const auto resident = int64_t(used[1]) * page;
  UsableMemory memory{int64_t(sysconf(_SC_PHYS_PAGES)) * page - resident};
  const auto at_most = [&](int64_t bytes, const char* limit) {
    if (bytes < memory.bytes) memory = {std::max<int64_t>(bytes, 0), limit};
  };
  if (const auto most = group_limits().memory) at_most(*most - resident, "container");
  rlimit space{};
  if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
    at_most(int64_t(double(space.rlim_cur) - used[0] * double(page)) - kCodeAndStacks, "address space (ulimit -v)");
  }
  return memory;
}

}  // namespace selene::data
