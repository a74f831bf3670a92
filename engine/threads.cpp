#include "engine/threads.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "engine/program_path.h"

namespace selene {

void calm_threads(char** argv) {
  if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
  std::error_code none;
  const std::string own = program_path(), started = std::filesystem::read_symlink("/proc/self/exe", none).string();
  if (own.empty() || own != started) return;  // the loader or emulator that was started would be started again
  setenv("GOMP_SPINCOUNT", "2000", 1);
  execv(own.c_str(), argv);  // comes back only where that fails: then the default stays
  unsetenv("GOMP_SPINCOUNT");
}

}  // namespace selene
