// Grey and colour images of 8 bits, and PNG files of them.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace selene::data {

struct Image {
  int64_t height = 0, width = 0;
  int64_t channels = 1;         // 1 grey, 3 red green blue
  std::vector<uint8_t> pixels;  // [height, width, channels] row-major
};

/// TensorFlow's rgb_to_grayscale on 8-bit values, as LRA's Image task is made: in fp32
/// f = 0.2989 (r/255) + 0.5870 (g/255) + 0.1140 (b/255), result trunc(f x 255.5).
uint8_t grey(uint8_t r, uint8_t g, uint8_t b);
/// Every pixel through grey(); an image of one channel stays as it is.
Image to_grey(const Image& image);

/// Reads a PNG file: 8-bit grey or RGB. Values are those that stand in the file, as Pillow, OpenCV and TensorFlow
/// read them: gamma, colour profiles and transparency are not applied, alpha is dropped, of 16 bits the upper 8
/// count, 1 to 4 bits are spread over 0 to 255, a palette's colours are looked up. Error with the file's name for
/// anything else, which it names where it knows it (a JPEG image, a Git LFS pointer), and for more than 2^26 pixels.
Image read_png(const std::string& path);
/// The same from bytes; `name` stands in messages.
Image read_png(std::span<const uint8_t> bytes, const std::string& name);
/// The bytes of a PNG file.
std::vector<uint8_t> png_bytes(const Image& image);

/// Pixels of a side of the largest square image of at most so many pixels.
int64_t square_side(int64_t pixels);

/// Images of one size in a grid with a border of one pixel of value 128 between them, `columns` a row: something to
/// look at.
Image contact_sheet(std::span<const Image> images, int64_t columns);
/// A grey image as lines of characters, dark to light, for a terminal; each character is 1 x 2 pixels.
std::string ascii_image(const Image& image);

}  // namespace selene::data
