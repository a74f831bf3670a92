#include "data/io/durable_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "kernels/error.h"

namespace selene::data {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kSuffix = ".selene-tmp";
constexpr size_t kCollected = 65536;  // bytes that are worth a call
constexpr size_t kLongestName = 255;  // bytes, of the file systems in use

std::string reason(int error) { return std::generic_category().message(error); }

std::string folder_of(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

/// A name that no other writer of this folder uses: hidden, with process and counter.
std::string temporary_name(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  const fs::path p(path);
  std::string name = p.filename().string();
  if (name.size() > kLongestName / 2) name = "long";  // the longer one would be refused where the name itself is not
  return (p.parent_path() / fmt::format(".{}.{}-{}{}", name, getpid(), counter++, kSuffix)).string();
}

bool is_temporary_name(const std::string& name) {
  return name.size() > kSuffix.size() && name[0] == '.' && name.ends_with(kSuffix);
}

/// Whether the process that gave a temporary name has ended, as far as this machine knows.
bool writer_is_gone(const std::string& name) {
  const std::string rest = name.substr(0, name.size() - kSuffix.size());
  const long number = std::strtol(rest.c_str() + rest.rfind('.') + 1, nullptr, 10);
  return number > 0 && kill(pid_t(number), 0) != 0 && errno == ESRCH;
}

/// True if no living process writes this file: its writer's lock went with the writer. Where there are no locks its
/// number must do.
bool is_abandoned(const fs::path& path) {
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);  // NFS locks for writers only
  if (file < 0) return errno == ELOOP;  // a symbolic link on its way to its name
  const bool locked = flock(file, LOCK_EX | LOCK_NB) == 0, unknown = !locked && errno != EWOULDBLOCK;
  close(file);
  return unknown ? writer_is_gone(path.filename().string()) : locked;
}

}  // namespace

bool is_stream_name(const std::string& path) {
  return path.starts_with("/proc/") || (path.starts_with("/dev/") && !path.starts_with("/dev/shm/"));
}

void ignore_file_size_signal() { std::signal(SIGXFSZ, SIG_IGN); }

DurableFile::DurableFile(const std::string& path) : path_(path) {
  std::error_code unknown;
  if (fs::is_symlink(path, unknown)) path_ = fs::weakly_canonical(path, unknown).string();  // the link stays a link
  // A rename would put a file in the place of a folder, of /dev/full, or of the file that a shell has open as
  // /dev/stdout.
  if (is_stream_name(path))
    throw Error(fmt::format("{}: is a device or pipe, wanted a regular file or a new name to write", path));
  need_regular(path, "a regular file or a new name to write");
  struct stat before {};
  const bool replaces = stat(path_.c_str(), &before) == 0;
  if (!replaces && errno == ENAMETOOLONG)  // the temporary name is shorter: only the rename would fail
    throw Error(fmt::format("{}: cannot be written: {}", path, reason(ENAMETOOLONG)));
  do {  // a name may be taken: by the leftover of a killed process that had our number
    temporary_ = temporary_name(path_);
    file_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (file_ < 0 && errno == EEXIST);
  if (file_ < 0) throw Error(fmt::format("{}: cannot be written: {}", path, reason(errno)));
  if (replaces) [[maybe_unused]]
    const int kept = fchmod(file_, before.st_mode & 0777);
  flock(file_, LOCK_EX | LOCK_NB);  // for remove_leftovers
}

DurableFile::~DurableFile() {
  if (file_ >= 0) close(file_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void DurableFile::fail(const std::string& what, int error) const {
  throw Error(fmt::format("{}: {} failed after {} bytes: {}", path_, what, written_, reason(error)));
}

void DurableFile::write(const void* data, size_t size) {
  if (collected_.size() + size > kCollected) {
    write_out(collected_.data(), collected_.size());
    collected_.clear();
  }
  if (size > kCollected) write_out(static_cast<const char*>(data), size);
  else collected_.append(static_cast<const char*>(data), size);
}

void DurableFile::write_out(const char* p, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(file_, p, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("writing", n < 0 ? errno : ENOSPC);
    p += n, size -= size_t(n), written_ += size_t(n);
  }
}

void DurableFile::commit() {
  if (temporary_.empty()) throw Error(path_ + ": committed twice");
  write_out(collected_.data(), collected_.size());
  if (fsync(file_) != 0) fail("making it durable", errno);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("renaming", errno);
  temporary_.clear();
  const int result = close(file_);
  file_ = -1;
  if (result != 0) fail("closing", errno);
  sync_folder(folder_of(path_));
}

void need_regular(const std::string& path, const char* wanted) {
  std::error_code ignored;
  const fs::file_status is = fs::status(path, ignored);
  if (fs::exists(is) && !fs::is_regular_file(is))
    throw Error(
        fmt::format("{}: is {}, wanted {}", path, fs::is_directory(is) ? "a folder" : "a device or pipe", wanted));
}

void write_durably(const std::string& path, std::string_view text) {
  DurableFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

std::string replace_link(const std::string& folder, const std::string& name, const std::string& target) {
  const std::string path = (fs::path(folder) / name).string();
  std::string temporary, why;
  int result;
  do {
    temporary = temporary_name(path);
    result = symlink(target.c_str(), temporary.c_str());
  } while (result != 0 && errno == EEXIST);
  if (result != 0) {
    why = reason(errno);
  } else if (rename(temporary.c_str(), path.c_str()) != 0) {
    why = reason(errno);
    unlink(temporary.c_str());
  }
  if (!why.empty()) {
    // Or the file that a link names would be overwritten; and some file systems rename over nothing.
    if (!link_target(folder, name).empty()) unlink(path.c_str());
    write_durably(path, target + "\n");
  }
  sync_folder(folder);
  return why;
}

std::string link_target(const std::string& folder, const std::string& name) {
  const fs::path path = fs::path(folder) / name;
  std::error_code error;
  if (const fs::path target = fs::read_symlink(path, error); !error) return target.string();
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) > kLongestName + 1) return "";
  std::ifstream file(path, std::ios::binary);
  std::string target(std::istreambuf_iterator<char>(file), {});
  if (target.ends_with('\n')) target.pop_back();
  return target.find_first_of(std::string_view("/\n\0", 3)) == std::string::npos ? target : "";
}

void sync_folder(const std::string& folder) {
  const int f = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (f < 0) throw Error(fmt::format("{}: folder cannot be opened: {}", folder, reason(errno)));
  const int error = fsync(f) == 0 ? 0 : errno;
  close(f);
  if (error != 0 && error != EINVAL && error != ENOSYS && error != EOPNOTSUPP)  // file systems without it
    throw Error(fmt::format("{}: folder cannot be made durable: {}", folder, reason(error)));
}

FolderLock::FolderLock(const std::string& folder)
    : folder_(folder), file_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  held_ = file_ >= 0 && flock(file_, LOCK_EX | LOCK_NB) == 0;
  taken_ = file_ >= 0 && !held_ && errno == EWOULDBLOCK;
}

std::string FolderLock::place() const {
  std::error_code unknown;
  const std::string now = fs::read_symlink(fmt::format("/proc/self/fd/{}", file_), unknown).string();
  if (unknown) return folder_;  // no /proc: nothing says that it was moved
  return now.ends_with(" (deleted)") && !fs::exists(now, unknown) ? "" : now;
}

FolderLock::~FolderLock() {
  if (file_ >= 0) close(file_);
}

std::vector<std::string> remove_leftovers(const std::string& folder) {
  std::vector<std::string> removed;
  std::error_code error;
  for (const fs::directory_entry& e : fs::directory_iterator(folder, error)) {
    const std::string name = e.path().filename().string();
    if (is_temporary_name(name) && is_abandoned(e.path()) && unlink(e.path().c_str()) == 0) removed.push_back(name);
  }
  if (error && error != std::errc::no_such_file_or_directory)
    throw Error(fmt::format("{}: folder cannot be read: {}", folder, error.message()));
  return removed;
}

}  // namespace selene::data
