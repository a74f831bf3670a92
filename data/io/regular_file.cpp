#include "data/io/regular_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr size_t kStep = size_t(1) << 20;  // bytes; beyond what the system said, as files grow

struct Descriptor {
  int file;
  ~Descriptor() {
    if (file >= 0) close(file);
  }
};

Error failed(const std::string& path, const char* what, const char* wanted) {
  const std::string reason = std::generic_category().message(errno);
  return Error(fmt::format("{}: cannot be {}: {}; wanted {}", path, what, reason, wanted));
}

void need_at_most(const std::string& path, uint64_t size, uint64_t largest, const char* wanted) {
  if (size > largest)
    throw Error(fmt::format("{}: has {} bytes, wanted {} of at most {}", path, size, wanted, largest));
}

}  // namespace

std::string read_regular_file(const std::string& path, uint64_t largest, const char* wanted) {
  // Without O_NONBLOCK the open itself would wait for a pipe's writer.
  const Descriptor d{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat facts;
  if (d.file < 0 || fstat(d.file, &facts) != 0) throw failed(path, "opened", wanted);
  if (!S_ISREG(facts.st_mode))
    throw Error(
        fmt::format("{}: is {}, wanted {}", path, S_ISDIR(facts.st_mode) ? "a folder" : "a device or pipe", wanted));
  need_at_most(path, uint64_t(facts.st_size), largest, wanted);
  std::string text(size_t(facts.st_size) + 1, '\0');  // one more, so that the end is seen at once
  size_t size = 0;
  for (;;) {
    const ssize_t n = read(d.file, text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw failed(path, "read", wanted);
    size += size_t(n);
    need_at_most(path, size, largest, wanted);
    if (n == 0) break;
    if (size == text.size()) text.resize(size + kStep);
  }
  text.resize(size);
  return text;
}

}  // namespace selene::data
