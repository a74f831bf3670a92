// A library to be loaded before a program (LD_PRELOAD): the k-th call that changes or opens something below a folder
// fails, or the process is killed before it. tests/cli/faults_test.py says which.
//   FAULT_PATH   part of a path: only calls on such paths count, and on what was opened under such a path
//   FAULT_CALL   name of the call; empty: all of them
//   FAULT_FIRST, FAULT_LAST  numbers of the calls that meet the fault, from 1
//   FAULT_ERROR  errno of the fault; 0: SIGKILL
//   FAULT_SLOW   milliseconds before a program FAULT_PATH is started
//   FAULT_LOG    file that gets the name of each call that counts, a line each
// Both names of the call that opens a file are defined here.
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

std::array<std::atomic<bool>, 4096> below;  // file descriptors that were opened below the folder
std::atomic<long> calls{0};

const char* setting(const char* name) {
  const char* value = getenv(name);
  return value ? value : "";
}

template <class F>
F next(const char* name, F) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}
#define NEXT(call) next(#call, &call)

bool concerns(const char* path) { return path && *setting("FAULT_PATH") && strstr(path, setting("FAULT_PATH")); }
bool concerns(int file) { return file >= 0 && size_t(file) < below.size() && below[size_t(file)]; }

void log(const char* call) {
  if (!*setting("FAULT_LOG")) return;
  const int file = NEXT(open)(setting("FAULT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (dprintf(file, "%s\n", call) < 0) abort();
  NEXT(close)(file);
}

/// Counts a call; true if it is to fail, with errno set.
bool fault(const char* call, bool counts) {
  const char* only = setting("FAULT_CALL");
  if (!counts || (*only && strcmp(only, call) != 0)) return false;
  log(call);
  const long number = ++calls;
  if (number < atol(setting("FAULT_FIRST")) || number > atol(setting("FAULT_LAST"))) return false;
  if (!atoi(setting("FAULT_ERROR"))) raise(SIGKILL);
  errno = atoi(setting("FAULT_ERROR"));
  return true;
}

int opened(int file, bool counts) {
  if (file >= 0 && size_t(file) < below.size()) below[size_t(file)] = counts;
  return file;
}

mode_t mode_of(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; }

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = mode_of(flags, more);
  va_end(more);
  return fault("open", concerns(path)) ? -1 : opened(NEXT(open)(path, flags, mode), concerns(path));
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = mode_of(flags, more);
  va_end(more);
  return fault("open", concerns(path)) ? -1 : opened(NEXT(open64)(path, flags, mode), concerns(path));
}

ssize_t write(int file, const void* data, size_t size) {
  return fault("write", concerns(file)) ? -1 : NEXT(write)(file, data, size);
}

int fsync(int file) { return fault("fsync", concerns(file)) ? -1 : NEXT(fsync)(file); }
int flock(int file, int operation) noexcept {
  return fault("flock", concerns(file)) ? -1 : NEXT(flock)(file, operation);
}

int close(int file) {
  const bool counts = concerns(file);
  opened(file, false);
  const int result = NEXT(close)(file);
  return fault("close", counts) ? -1 : result;  // the number is free in any case
}

int rename(const char* from, const char* to) noexcept {
  return fault("rename", concerns(to)) ? -1 : NEXT(rename)(from, to);
}

int symlink(const char* target, const char* path) noexcept {
  return fault("symlink", concerns(path)) ? -1 : NEXT(symlink)(target, path);
}

int unlink(const char* path) noexcept { return fault("unlink", concerns(path)) ? -1 : NEXT(unlink)(path); }
int remove(const char* path) noexcept { return fault("unlink", concerns(path)) ? -1 : NEXT(remove)(path); }
int mkdir(const char* path, mode_t mode) noexcept {
  return fault("mkdir", concerns(path)) ? -1 : NEXT(mkdir)(path, mode);
}

int execve(const char* path, char* const* words, char* const* environment) noexcept {
  timespec left{0, concerns(path) ? atol(setting("FAULT_SLOW")) * 1'000'000 : 0};
  while (nanosleep(&left, &left) != 0) {
  }
  return NEXT(execve)(path, words, environment);
}

}  // extern "C"
#pragma GCC visibility pop
