// Files that are complete or absent, whatever happens while they are written: a temporary name in the same folder,
// write, fsync, rename, fsync of the folder. Every failure is an Error with the path and the system's reason.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace selene::data {

/// Without this, a write beyond RLIMIT_FSIZE kills the process instead of failing. Programs call it first thing in
/// main.
void ignore_file_size_signal();

/// Whether a name is that of a device or of an open stream: /dev/null, /dev/stdout, /proc/self/fd/1.
bool is_stream_name(const std::string& path);

/// One file being written. Nothing is seen under `path` before commit(); an object destroyed without commit() leaves
/// no trace, and what was under `path` before stays as it was. While it lives, its temporary file is locked (flock).
class DurableFile {
 public:
  /// Creates the temporary file beside `path`, with the rights of the file that it replaces. Error where the folder
  /// is missing or not writable, and for a name that is too long for it.
  explicit DurableFile(const std::string& path);
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;
  ~DurableFile();

  /// Appends `size` bytes; few are collected first. Error on a full disk, a file size limit or any other short write.
  void write(const void* data, size_t size);
  /// Makes the content durable and gives it its name, replacing an older file of that name.
  void commit();

 private:
  [[noreturn]] void fail(const std::string& what, int error) const;
  void write_out(const char* data, size_t size);

  std::string path_, temporary_;  // temporary_ is empty once the file has its name
  std::string collected_;         // not yet written
  int file_ = -1;
  size_t written_ = 0;  // bytes
};

/// Error where `path` is there and no file, such as a folder or a pipe, which would wait for its writer. `wanted`: "a
/// TSV file".
void need_regular(const std::string& path, const char* wanted);

/// The whole of `text` under `path`, complete or not at all.
void write_durably(const std::string& path, std::string_view text);

/// Makes folder/name point to `target`, a name in the same folder: a symbolic link or, where none can be made (exFAT,
/// many network shares), a small file with that name in it. Replaces an older one; returns why it is no link, empty
/// if it is one. Error where neither can be made, such as over a folder.
std::string replace_link(const std::string& folder, const std::string& name, const std::string& target);

/// What folder/name points to, in one way or the other; empty if it does not.
std::string link_target(const std::string& folder, const std::string& name);

/// Makes creations, renames and removals in `folder` durable.
void sync_folder(const std::string& folder);

/// Keeps other processes from working in a folder as long as the object lives.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();
  /// This object has the lock; another process has it. Where the file system has no locks, neither is so.
  bool held() const { return held_; }
  bool taken() const { return taken_; }
  /// Where the folder is now: somebody may have renamed it. Empty if it was removed; where the system does not tell,
  /// the path that it was opened by.
  std::string place() const;

 private:
  std::string folder_;
  int file_ = -1;
  bool held_ = false, taken_ = false;
};

/// Removes the temporary files that killed processes left in `folder`, and only those: a file that is still being
/// written is locked by its writer and stays. Returns their names; none where the folder does not exist.
std::vector<std::string> remove_leftovers(const std::string& folder);

}  // namespace selene::data
