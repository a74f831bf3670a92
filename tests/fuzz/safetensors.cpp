// libFuzzer on the safetensors reader and the checkpoint's verification: any bytes are a file or an Error, never
// more.
#include <cstddef>
#include <cstdint>

#include "kernels/error.h"
#include "train/folder/checkpoint_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const selene::data::SafetensorsFile file("input", {data, size});
    size_t bytes = file.header().size();
    for (const auto& entry : file.entries()) bytes += file.bytes(file.at(entry.name)).size();
    if (bytes != size) __builtin_trap();  // an accepted file belongs to its header and tensors, every byte of it
    selene::train::verify_checkpoint(file);
  } catch (const selene::Error&) {
  }
  return 0;
}
