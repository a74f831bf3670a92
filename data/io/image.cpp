// Grey and colour images. PNG files are read with libpng (libpng 1.6 manual, section III) and written with its
// simplified API (section V).
#include "data/io/image.h"

#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "data/io/lines.h"
#include "data/io/regular_file.h"
#include "kernels/ceil_div.h"
#include "kernels/error.h"

namespace selene::data {

using namespace std::string_view_literals;

namespace {

constexpr uint64_t kLargestPng = uint64_t(1) << 30;  // bytes
constexpr uint64_t kMostPixels = uint64_t(1) << 26;

/// Error unless the fields of an image fit together.
void check_image(const Image& image, const char* where) {
  const bool fits = image.height > 0 && image.width > 0 && (image.channels == 1 || image.channels == 3) &&
                    int64_t(image.pixels.size()) == image.height * image.width * image.channels;
  if (!fits)
    throw Error(fmt::format("{}: image of {} x {} pixels, {} channels and {} bytes, wanted 1 or 3 channels of a byte",
                            where, image.height, image.width, image.channels, image.pixels.size()));
}

/// Frees what libpng holds for an image to be written, on every way out.
struct PngImage : png_image {
  PngImage() : png_image() { version = PNG_IMAGE_VERSION; }
  PngImage(const PngImage&) = delete;
  PngImage& operator=(const PngImage&) = delete;
  ~PngImage() { png_image_free(this); }
};

/// What libpng's callbacks know: the bytes that are left, and what went wrong.
struct PngSource {
  std::span<const uint8_t> left;
  char problem[120] = "is damaged";
};

void take_bytes(png_structp png, png_bytep out, size_t size) {
  auto* source = static_cast<PngSource*>(png_get_io_ptr(png));
  if (size > source->left.size()) {
    std::snprintf(source->problem, sizeof source->problem, "ends too early");
    png_longjmp(png, 1);
  }
  std::copy_n(source->left.begin(), size, out);
  source->left = source->left.subspan(size);
}

[[noreturn]] void png_failed(png_structp png, png_const_charp what) {
  auto* source = static_cast<PngSource*>(png_get_error_ptr(png));
  std::snprintf(source->problem, sizeof source->problem, "is damaged (libpng: %s)", what);
  png_longjmp(png, 1);
}

/// What a file is that begins like this and is no PNG file; null if that is not known.
const char* other_form(std::string_view start) {
  if (start.starts_with("\xff\xd8\xff"sv)) return "a JPEG image";
  if (start.starts_with("GIF8"sv)) return "a GIF image";
  if (start.starts_with("RIFF"sv) && start.size() > 12 && start.substr(8, 4) == "WEBP"sv) return "a WebP image";
  if (start.starts_with("BM"sv) && start.size() > 10 && start.substr(6, 4) == "\0\0\0\0"sv) return "a BMP image";
  if (start.starts_with("II*\0"sv) || start.starts_with("MM\0*"sv)) return "a TIFF image";
  const char* form = foreign_form(start);
  return form ? form : web_page(start);
}

/// Error for a header that says what no PNG file may say, or more than is read; what else is wrong libpng tells.
void check_header(std::span<const uint8_t> bytes, const std::string& name) {
  if (bytes.size() < 26 || std::memcmp(&bytes[12], "IHDR", 4) != 0) return;
  const auto number = [&](size_t at) {
    return uint64_t(bytes[at]) << 24 | uint64_t(bytes[at + 1]) << 16 | uint64_t(bytes[at + 2]) << 8 | bytes[at + 3];
  };
  const uint64_t width = number(16), height = number(20), depth = bytes[24], colour = bytes[25];
  if (width * height == 0 || width * height > kMostPixels)
    throw Error(fmt::format("{}: {} x {} pixels, wanted 1 to {}", name, width, height, kMostPixels));
  const bool small = depth == 1 || depth == 2 || depth == 4;
  const bool known = colour == 0 || colour == 2 || colour == 3 || colour == 4 || colour == 6;
  const bool fits = depth == 8 || (depth == 16 && colour != 3) || (small && (colour == 0 || colour == 3));
  if (!known || !fits)
    throw Error(fmt::format("{}: {} bits of colour type {}, which no PNG file has", name, depth, colour));
}

/// A PNG file being read. libpng leaves its functions by a long jump to where setjmp was called, so the functions
/// that call it have no objects of their own, and nothing in them is thrown.
class PngReader {
 public:
  explicit PngReader(std::span<const uint8_t> bytes) : source_{bytes} {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source_, png_failed, [](png_structp, png_const_charp) {});
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  const char* problem() const { return source_.problem; }
  int64_t height() { return png_get_image_height(png_, info_); }
  int64_t width() { return png_get_image_width(png_, info_); }
  int64_t channels() { return png_get_channels(png_, info_); }

  /// The header, and what turns every form into grey or RGB of 8 bits. Sample values stay as they stand in the file:
  /// chunks that say how they are to look (gamma, colour profiles, transparency) are not read.
  bool begin() {
    if (!info_ || setjmp(png_jmpbuf(png_))) return false;
    png_set_read_fn(png_, &source_, take_bytes);
    png_set_user_limits(png_, kMostPixels, kMostPixels);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_read_info(png_, info_);
    if (png_get_color_type(png_, info_) == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
    if (png_get_bit_depth(png_, info_) < 8) png_set_expand_gray_1_2_4_to_8(png_);
    png_set_strip_16(png_);
    png_set_strip_alpha(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }
  bool read(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

 private:
  PngSource source_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

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
  if (png_sig_cmp(bytes.data(), 0, std::min<size_t>(bytes.size(), 8)) != 0) {
    const char* form = other_form({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    throw Error(fmt::format("{}: is {}, wanted a PNG file", name, form ? form : "of another form"));
  }
  check_header(bytes, name);
  PngReader png(bytes);
  if (!png.begin()) throw Error(fmt::format("{}: {}, wanted a whole PNG file", name, png.problem()));
  Image image{png.height(), png.width(), png.channels(), {}};
  image.pixels.resize(size_t(image.height * image.width * image.channels));
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < image.height; ++y) rows.push_back(image.pixels.data() + y * image.width * image.channels);
  if (!png.read(rows.data())) throw Error(fmt::format("{}: {}, wanted a whole PNG file", name, png.problem()));
  check_image(image, "read_png");
  return image;
}

Image read_png(const std::string& path) {
  const std::string bytes = read_regular_file(path, kLargestPng, "a PNG file");
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
  const int64_t n = int64_t(images.size()), rows = ceil_div(n, columns), across = std::min(columns, n);
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
