// What control groups allow, on made-up trees of both versions; what this process may use.
#include "data/io/machine.h"

#include <sched.h>

#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;

namespace fs = std::filesystem;
using testing::Folder;

/// Writes files below a root, folders included.
void put(const Folder& root, const std::map<std::string, std::string>& files) {
  for (const auto& [name, text] : files) {
    const fs::path path = root.path / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
}

constexpr const char* kVersion2 =
    "24 1 0:22 / /proc rw - proc proc rw\n31 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
constexpr const char* kVersion1 =
    "32 31 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";

}  // namespace

TEST_CASE("machine: control groups of version 2 limit, those above included") {
  const Folder root;
  put(root, {{"proc/self/mountinfo", kVersion2},
             {"proc/self/cgroup", "0::/pod/box\n"},
             {"sys/fs/cgroup/pod/box/memory.max", "max\n"},
             {"sys/fs/cgroup/pod/box/cpu.max", "150000 100000\n"},
             {"sys/fs/cgroup/pod/memory.max", "1073741824\n"},
             {"sys/fs/cgroup/pod/cpu.max", "max 100000\n"}});
  const GroupLimits limits = group_limits(root.path.string());
  CHECK(limits.memory == 1073741824);
  CHECK(limits.cores == 1.5);
}

TEST_CASE("machine: in a container the group is the mount point") {
  const Folder root;
  put(root, {{"proc/self/mountinfo", kVersion2},
             {"proc/self/cgroup", "0::/\n"},
             {"sys/fs/cgroup/memory.max", "4096000\n"},
             {"sys/fs/cgroup/cpu.max", "50000 100000\n"}});
  const GroupLimits limits = group_limits(root.path.string());
  CHECK(limits.memory == 4096000);
  CHECK(limits.cores == 0.5);
}

TEST_CASE("machine: control groups of version 1 limit, also where only the mount point is there") {
  for (const std::string path : {"/docker/1234", "/"}) {
    const Folder root;
    put(root, {{"proc/self/mountinfo", kVersion1},
               {"proc/self/cgroup", "5:memory:" + path + "\n4:cpu,cpuacct:" + path + "\n1:name=systemd:/x\n"},
               {"sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000000\n"},
               {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n"},
               {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"}});
    const GroupLimits limits = group_limits(root.path.string());
    CHECK(limits.memory == 2000000000);
    CHECK(limits.cores == 3.0);
  }
}

TEST_CASE("machine: the usual places count where no mount is shown") {
  const Folder second, first;
  put(second, {{"sys/fs/cgroup/memory.max", "4096000\n"}, {"sys/fs/cgroup/cpu.max", "50000 100000\n"}});
  CHECK(group_limits(second.path.string()).memory == 4096000);
  CHECK(group_limits(second.path.string()).cores == 0.5);
  put(first, {{"sys/fs/cgroup/memory/memory.limit_in_bytes", "5000000\n"}});
  CHECK(group_limits(first.path.string()).memory == 5000000);
}

TEST_CASE("machine: what does not limit, or cannot be read, is no limit") {
  const Folder none, unlimited;
  CHECK(!group_limits(none.path.string()).memory);
  put(unlimited, {{"proc/self/mountinfo", kVersion1},
                  {"proc/self/cgroup", "5:memory:/a\n4:cpu,cpuacct:/a\n"},
                  {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"},
                  {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n"},
                  {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}});
  CHECK(!group_limits(unlimited.path.string()).memory);
  CHECK(!group_limits(unlimited.path.string()).cores);
}

TEST_CASE("machine: cores are those of the scheduler, memory is there") {
  cpu_set_t set;
  REQUIRE(sched_getaffinity(0, sizeof(set), &set) == 0);
  CHECK(usable_cores() >= 1);
  CHECK(usable_cores() <= CPU_COUNT(&set));
  CHECK(usable_memory().bytes > 0);
}

}  // namespace selene::testing
