// libFuzzer target: images. Any bytes are read or refused with an Error; what was read survives being written and
// read.
#include <cstdlib>

#include "data/io/image.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace selene::data;
  try {
    const Image image = read_png({bytes, size}, "input");
    if (image.pixels.size() != size_t(image.height * image.width * image.channels)) std::abort();
    if (image.pixels.size() > 1 << 16) return 0;  // compressing a large image again takes long
    if (read_png(png_bytes(image), "again").pixels != image.pixels) std::abort();
    ascii_image(to_grey(image));
  } catch (const selene::Error&) {
  }
  return 0;
}
