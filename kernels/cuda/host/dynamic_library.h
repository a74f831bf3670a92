// A shared library opened at first use, so that a module that can use it also loads where it is missing.
#pragma once
#include <dlfcn.h>

#include <string>

#include "kernels/error.h"

namespace selene::cuda {

/// Stays open to the end of the process.
class DynamicLibrary {
 public:
  /// Error if the file can't be opened; `what` names the library in words.
  DynamicLibrary(const char* what, const char* file) : what_(what), handle_(dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) throw Error(what_ + " can't be loaded: " + dlerror());
  }
  /// The function of that name; F is its type in the library's header.
  template <class F>
  F* find(const char* name) const {
    void* symbol = dlsym(handle_, name);
    if (!symbol) throw Error(what_ + ": this version of the library has no " + name);
    return reinterpret_cast<F*>(symbol);
  }

 private:
  std::string what_;
  void* handle_;
};

}  // namespace selene::cuda
