// Backends that are loaded at run time: libselene_cuda.so, and in tests the same entry served by the host.
#pragma once
#include <memory>
#include <string>

#include "kernels/module_abi.h"

namespace selene {

class Backend {
 public:
  /// Opens a shared library and checks its ABI. Error with the reason: no such file, a library it needs is missing,
  /// another ABI, or what the module itself says (no driver, no device).
  explicit Backend(const std::string& path);
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  const ModuleTable* table() const { return table_; }
  DeviceInfo info() const;
  std::string describe() const;  // the device in words

 private:
  void* library_;
  const ModuleTable* table_;
};

/// --device auto | cpu | cuda | FILE.so. Null means the CPU. auto: the CUDA module where it works, else null and the
/// reason in *why. cuda, or the file of a module: the module or an Error with the reason.
std::unique_ptr<Backend> choose_device(const std::string& device, std::string* why);

}  // namespace selene
