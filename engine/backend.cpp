#include "engine/backend.h"

#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/program_path.h"
#include "kernels/error.h"
#include "kernels/operations.h"

namespace selene {
namespace {

constexpr const char* kCudaModule = "libselene_cuda.so";

// Beside the program, in ../lib, or wherever the loader looks.
std::string find_module() {
  std::error_code error;
  // Where there is no /proc the loader's own places are left.
  const std::filesystem::path folder = std::filesystem::path(program_path()).parent_path();
  for (const char* place : {"", "../lib", "../kernels/cuda"}) {
    const std::filesystem::path path = folder / place / kCudaModule;
    if (!folder.empty() && std::filesystem::exists(path, error)) return path;
  }
  return kCudaModule;
}

// dlopen() waits at a pipe and crashes on half a library: the section table is what a truncated file has lost.
void need_whole_library(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return;  // a name that the loader looks for, or its message
  if (!std::filesystem::is_regular_file(path, error))
    throw Error(fmt::format("no backend module: {}: is not a file", path));
  Elf64_Ehdr header{};
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(&header), sizeof(header));
  const bool elf = memcmp(header.e_ident, ELFMAG, SELFMAG) == 0;
  const uint64_t end = header.e_shoff + uint64_t(header.e_shnum) * header.e_shentsize;
  if (elf && std::filesystem::file_size(path, error) < end)
    throw Error(fmt::format("no backend module: {}: {} bytes, wanted {}: it is cut off", path,
                            std::filesystem::file_size(path, error), end));
}

// It stays mapped to the end of the process: CUDA's libraries run code of theirs at exit.
void* open_library(const std::string& path) {
  need_whole_library(path);
  return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

}  // namespace

Backend::Backend(const std::string& path) : library_(open_library(path)), table_(nullptr) {
  if (!library_) throw Error(fmt::format("no backend module: {}", dlerror()));
  const char* why = "it gave no reason";
  if (auto entry = reinterpret_cast<ModuleEntry>(dlsym(library_, kModuleEntry))) table_ = entry(&why);
  else why = "it has no entry selene_module";
  std::string failure;
  if (!table_) failure = fmt::format("backend module {}: {}", path, why);
  else if (table_->abi != abi_hash())
    failure =
        fmt::format("backend module {}: built for ABI {:016x}, this program has {:016x}; build both from one source",
                    path, table_->abi, abi_hash());
  if (failure.empty()) return;
  dlclose(library_);
  throw Error(failure);
}

Backend::~Backend() { dlclose(library_); }

DeviceInfo Backend::info() const {
  DeviceInfo info{};
  if (const char* failure = table_->device_info(&info)) throw Error(failure);
  return info;
}

std::string Backend::describe() const {
  const DeviceInfo d = info();
  return fmt::format("{} ({} multiprocessors, compute capability {}.{}, {:.0f} of {:.0f} MiB free; {})", d.name,
                     d.multiprocessors, d.major, d.minor, double(d.free) / (1 << 20), double(d.memory) / (1 << 20),
                     d.software);
}

std::unique_ptr<Backend> choose_device(const std::string& device, std::string* why) {
  if (device == "cpu") return nullptr;
  if (device.ends_with(".so")) return std::make_unique<Backend>(std::filesystem::absolute(device).string());
  if (device != "cuda" && device != "auto")
    throw Error(fmt::format("device is '{}', wanted auto, cpu, cuda or the file of a module (*.so)", device));
  try {
    return std::make_unique<Backend>(find_module());
  } catch (const Error& e) {
    if (device == "cuda") throw;
    *why = e.what();
    return nullptr;
  }
}

}  // namespace selene
