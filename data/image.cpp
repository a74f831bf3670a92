// Grey and colour images, PNG through libpng's simplified API (libpng 1.6 manual, section V).
#include "data/image.h"

#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <cmath>

#include "data/regular_file.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr uint64_t largest_png = uint64_t(1) << 30;  // bytes
constexpr int64_t most_pixels = int64_t(1) << 26;

/// Error unless the fields of an image fit together.
void check_image(const Image& image, const char* where) {
  const bool fits = image.height > 0 && image.width > 0 && (image.channels == 1 || image.channels == 3) &&
                    int64_t(image.pixels.size()) == image.height * image.width * image.channels;
  if (!fits)
    throw Error(fmt::format("{}: image of {} x {} pixels, {} channels and {} bytes, wanted 1 or 3 channels of a byte",
                            where, image.height, image.width, image.channels, image.pixels.size()));
}

/// Frees what libpng holds for an image, on every way out.
struct PngImage : png_image {
  PngImage() : png_image() { version = PNG_IMAGE_VERSION; }
  PngImage(const PngImage&) = delete;
  PngImage& operator=(const PngImage&) = delete;
  ~PngImage() { png_image_free(this); }
};

/// Drops the last of `channels` values of every pixel.
std::vector<uint8_t> without_alpha(const std::vector<uint8_t>& pixels, size_t channels) {
  std::vector<uint8_t> kept;
  kept.reserve(pixels.size() / channels * (channels - 1));
  for (size_t i = 0; i < pixels.size(); ++i)
    if (i % channels != channels - 1) kept.push_back(pixels[i]);
  return kept;
}

}  // namespace

uint8_t grey(uint8_t r, uint8_t g, uint8_t b) {
  const float f = 0.2989f * (float(r) / 255.0f) + 0.5870f * (float(g) / 255.0f) + 0.1140f * (float(b) / 255.0f);
  return uint8_t(f * 255.5f);
}

Image to_grey(const Image& image) {
  check_image(image, "to_grey");
  if (image.channels == 1) return image;
  Image out{image.height, image.width, 1, {}};
  out.pixels.reserve(image.pixels.size() / 3);
  for (size_t i = 0; i < image.pixels.size(); i += 3)
    out.pixels.push_back(grey(image.pixels[i], image.pixels[i + 1], image.pixels[i + 2]));
  return out;
}

Image read_png(std::span<const uint8_t> bytes, const std::string& name) {
  if (bytes.empty()) throw Error(fmt::format("{}: is empty, wanted a PNG file", name));
  PngImage png;
  if (!png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()))
    throw Error(fmt::format("{}: {}, wanted a PNG file", name, png.message));
  if (int64_t(png.width) * int64_t(png.height) > most_pixels)
    throw Error(fmt::format("{}: {} x {} pixels, wanted at most {}", name, png.height, png.width, most_pixels));
  const bool colour = png.format & PNG_FORMAT_FLAG_COLOR, alpha = png.format & PNG_FORMAT_FLAG_ALPHA;
  png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // otherwise 16 bits without a gamma count as linear light
  png.format = (colour ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY) | (alpha ? PNG_FORMAT_FLAG_ALPHA : 0);
  Image image{int64_t(png.height), int64_t(png.width), colour ? 3 : 1, {}};
  image.pixels.resize(PNG_IMAGE_SIZE(png));
  if (!png_image_finish_read(&png, nullptr, image.pixels.data(), 0, nullptr))
    throw Error(fmt::format("{}: {}, wanted a whole PNG file", name, png.message));
  if (alpha) image.pixels = without_alpha(image.pixels, size_t(image.channels) + 1);
  return image;
}

Image read_png(const std::string& path) {
  const std::string bytes = read_regular_file(path, largest_png, "a PNG file");
  return read_png({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, path);
}

std::vector<uint8_t> png_bytes(const Image& image) {
  check_image(image, "png_bytes");
  PngImage png;
  png.width = png_uint_32(image.width), png.height = png_uint_32(image.height);
  png.format = image.channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  std::vector<uint8_t> bytes(PNG_IMAGE_PNG_SIZE_MAX(png));
  png_alloc_size_t size = bytes.size();
  if (!png_image_write_to_memory(&png, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr))
    throw Error(fmt::format("png_bytes: {}", png.message));
  bytes.resize(size);
  return bytes;
}

int64_t square_side(int64_t pixels) {
  auto side = int64_t(std::sqrt(double(pixels)));
  while (side * side > pixels) --side;
  while ((side + 1) * (side + 1) <= pixels) ++side;
  return side;
}

Image contact_sheet(std::span<const Image> images, int64_t columns) {
  if (images.empty()) throw Error("contact_sheet: no images, wanted at least one");
  if (columns < 1) throw Error(fmt::format("contact_sheet: {} columns, wanted at least 1", columns));
  const Image& first = images.front();
  const int64_t n = int64_t(images.size()), rows = (n + columns - 1) / columns, across = std::min(columns, n);
  Image sheet{rows * (first.height + 1) - 1, across * (first.width + 1) - 1, first.channels, {}};
  sheet.pixels.assign(size_t(sheet.height * sheet.width * sheet.channels), 128);
  for (int64_t i = 0; i < n; ++i) {
    const Image& image = images[size_t(i)];
    check_image(image, "contact_sheet");
    if (image.height != first.height || image.width != first.width || image.channels != first.channels)
      throw Error(fmt::format("contact_sheet: image {} is {} x {} x {}, wanted {} x {} x {} as the first", i,
                              image.height, image.width, image.channels, first.height, first.width, first.channels));
    const int64_t top = i / columns * (first.height + 1), left = i % columns * (first.width + 1);
    const int64_t bytes = image.width * image.channels;
    for (int64_t y = 0; y < image.height; ++y)
      std::copy_n(image.pixels.begin() + y * bytes, bytes,
                  sheet.pixels.begin() + ((top + y) * sheet.width + left) * sheet.channels);
  }
  return sheet;
}

std::string ascii_image(const Image& image) {
  check_image(image, "ascii_image");
  if (image.channels != 1) throw Error(fmt::format("ascii_image: {} channels, wanted a grey image", image.channels));
  constexpr std::string_view ramp = " .:-=+*#%@";
  std::string text;
  for (int64_t y = 0; y < image.height; y += 2) {
    const int64_t below = std::min(y + 1, image.height - 1);
    for (int64_t x = 0; x < image.width; ++x) {
      const size_t sum =
          size_t(image.pixels[size_t(y * image.width + x)]) + image.pixels[size_t(below * image.width + x)];
      text += ramp[sum * ramp.size() / 511];
    }
    text += '\n';
  }
  return text;
}

}  // namespace selene::data
