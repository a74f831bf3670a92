// A regular file that is open for reading, and a copy of it in memory. It is never mapped: a map of a file that
// somebody cuts ends the process with SIGBUS, and one of a file that somebody writes into changes under its reader.
#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

namespace selene::data {

/// Its functions may be called from several threads.
class OpenFile {
 public:
  /// Error (path, reason) where it cannot be opened or is no regular file; pipes and devices are not waited for.
  explicit OpenFile(const std::string& path);
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile();

  /// Bytes, as they were when it was opened.
  uint64_t size() const { return size_; }
  /// Reads `count` bytes from byte `at` on. Error where it cannot be read or has become shorter.
  void read(void* to, uint64_t count, uint64_t at) const;
  /// The whole file, read on the first call; lives as long as this object. Error as read(), and where there is no
  /// memory for it.
  std::span<const uint8_t> all();
  /// Error where somebody has written into the file or cut it since, so that it differs from what all() gave. Looks
  /// at size and time first, so it costs little. A new file under the same name does no harm.
  void need_unchanged();

 private:
  [[noreturn]] void fail(const std::string& what) const;

  std::string path_;
  int file_ = -1;
  uint64_t size_ = 0;
  std::mutex mutex_;             // guards the two below
  struct timespec modified_ {};  // of the content in memory
  std::unique_ptr<uint8_t[]> content_;
};

}  // namespace selene::data
