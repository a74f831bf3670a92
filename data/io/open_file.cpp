#include "data/io/open_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>
#include <vector>

#include "kernels/error.h"

namespace selene::data {
namespace {

std::string reason() { return std::generic_category().message(errno); }

bool same(const struct timespec& a, const struct timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

OpenFile::OpenFile(const std::string& path) : path_(path) {
  struct stat info;
  file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  std::string problem;
  if (file_ < 0 || fstat(file_, &info) != 0) problem = reason();
  else if (!S_ISREG(info.st_mode)) problem = "it is not a regular file";
  if (problem.empty()) {
    size_ = uint64_t(info.st_size), modified_ = info.st_mtim;
    return;
  }
  if (file_ >= 0) close(file_);
  fail(problem);
}

OpenFile::~OpenFile() { close(file_); }

void OpenFile::fail(const std::string& what) const {
  throw Error(fmt::format("{}: cannot be read: {}", path_, what));
}

void OpenFile::read(void* to, uint64_t count, uint64_t at) const {
  for (auto* p = static_cast<char*>(to); count > 0;) {
    const ssize_t n = pread(file_, p, size_t(std::min<uint64_t>(count, uint64_t(1) << 30)), off_t(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(reason());
    if (n == 0) fail(fmt::format("it was cut to {} bytes, it had {}", at, size_));
    p += n, count -= uint64_t(n), at += uint64_t(n);
  }
}

std::span<const uint8_t> OpenFile::all() {
  const std::lock_guard lock(mutex_);
  if (!content_) {
    std::unique_ptr<uint8_t[]> content;
    try {
      content = std::make_unique_for_overwrite<uint8_t[]>(size_);
    } catch (const std::bad_alloc&) {
      fail(fmt::format("there is no memory for its {} MiB", size_ >> 20));
    }
    read(content.get(), size_, 0);
    content_ = std::move(content);
  }
  return {content_.get(), size_};
}

void OpenFile::need_unchanged() {
  const std::lock_guard lock(mutex_);
  struct stat now;
  // What is gone altogether is in memory all the same.
  if (fstat(file_, &now) != 0 || (uint64_t(now.st_size) == size_ && same(now.st_mtim, modified_))) return;
  bool equal = uint64_t(now.st_size) == size_;
  std::vector<uint8_t> part(size_t(1) << 20);
  for (uint64_t at = 0; equal && content_ && at < size_; at += part.size()) {
    const uint64_t count = std::min<uint64_t>(part.size(), size_ - at);
    read(part.data(), count, at);
    equal = std::memcmp(part.data(), content_.get() + at, count) == 0;
  }
  if (!equal)
    throw Error(
        fmt::format("{}: was changed while it was in use (it has {} bytes, had {}); put the old file back, or "
                    "make the data anew and start anew",
                    path_, now.st_size, size_));
  modified_ = now.st_mtim;  // written anew with the same content
}

}  // namespace selene::data
