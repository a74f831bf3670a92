// Images: grey values, PNG files of every kind that others write, damaged ones, contact sheets, text for a
// terminal.
#include "data/io/image.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;
using Bytes = std::vector<uint8_t>;

Bytes from_hex(std::string_view hex) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(uint8_t(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

/// PNG files of a few pixels, written by Pillow: the start that all share, then a header's data and the rest.
const std::string kStart = "89504e470d0a1a0a0000000d49484452";
const std::string kEnd = "0000000049454e44ae426082";
const Bytes kPlain = from_hex(
    kStart + "0000000200000002080000000057dd52f80000000e49444154789c63646464fac90800020e0100dc7a3f13" + kEnd);

}  // namespace

TEST_CASE("image: grey values are cut, not rounded") {
  CHECK(int(grey(0, 0, 0)) == 0);
  CHECK(int(grey(255, 255, 255)) == 255);  // 0.9999 x 255.5 = 255.47
  CHECK(int(grey(255, 0, 0)) == 76);       // 76.37
  CHECK(int(grey(0, 255, 0)) == 149);      // 149.98
  CHECK(int(grey(0, 0, 255)) == 29);       // 29.13
  CHECK(int(grey(10, 200, 30)) == 124);    // 2.9949 + 117.63 + 3.4268 = 124.05
  for (int v = 0; v < 256; ++v) CHECK(int(grey(uint8_t(v), uint8_t(v), uint8_t(v))) == int(0.9999 * v / 255 * 255.5));
  const Image colour{1, 2, 3, {255, 0, 0, 0, 255, 0}};
  const Image out = to_grey(colour);
  CHECK(out.channels == 1);
  CHECK(out.pixels == Bytes{76, 149});
  CHECK(to_grey(out).pixels == out.pixels);
  CHECK(message_of([] {
          to_grey({2, 2, 1, {1, 2, 3}});
        }) == "to_grey: image of 2 x 2 pixels, 1 channels and 3 bytes, wanted 1 or 3 channels of a byte");
}

TEST_CASE("image: PNG there and back") {
  const Folder folder;
  for (int64_t channels : {1, 3}) {
    Image image{5, 7, channels, {}};
    for (int64_t i = 0; i < 35 * channels; ++i) image.pixels.push_back(uint8_t(i * 37));
    const Bytes bytes = png_bytes(image);
    const std::string path = folder.file("a.png");
    write_text(path, text_of(bytes));
    for (const Image& back : {read_png(bytes, "a"), read_png(path)}) {
      CHECK(back.height == 5);
      CHECK(back.width == 7);
      CHECK(back.channels == channels);
      CHECK(back.pixels == image.pixels);
    }
  }
  CHECK(message_of([] { png_bytes({1, 1, 2, {1, 2}}); }).starts_with("png_bytes: image of 1 x 1 pixels, 2 channels"));
}

TEST_CASE("image: every kind of PNG gives grey or RGB of 8 bits, the values of the file") {
  struct File {
    const char* what;
    const char* header_and_data;
    Image wanted;
  };
  const File files[] = {
      {"grey",
       "0000000200000002080000000057dd52f80000000e49444154789c63646464fac90800020e0100dc7a3f13",
       {2, 2, 1, {1, 2, 250, 3}}},
      {"with gamma 1/2.2",
       "0000000200000002080000000057dd52f80000000467414d410000b18f0bfc61050000000e49444154789c63646464fac90"
       "800020e0100dc7a3f13",
       {2, 2, 1, {1, 2, 250, 3}}},
      {"1 bit",
       "00000003000000020100000000b50f5bb70000000c49444154789c6358c0e00000022400e173eb3bf2",
       {2, 3, 1, {255, 0, 255, 0, 255, 0}}},
      {"16 bits",
       "00000002000000011000000000"
       "81d9fc150000000d49444154789c631032f9ff1f0003e602452e429675",
       {1, 2, 1, {0x12, 255}}},
      {"palette",
       "000000020000000101030000"
       "00ceecedc900000006504c5445010203c8643250b4ae3f0000000a49444154789c63700000"
       "004200412937f4ef",
       {1, 2, 3, {1, 2, 3, 200, 100, 50}}},
      {"grey, alpha",
       "0000000200000001080400"
       "00005e2bb7010000000d49444154789c634861606f0000022300ec503d0ed2",
       {1, 2, 1, {100, 7}}},
      {"colour, alpha",
       "00000001000000010806000000"
       "1f15c4890000000d49444154789c63e04c3ece000002e001343a865b93",
       {1, 1, 3, {9, 99, 199}}},
      {"transparent grey value",
       "00000002000000010800000000d14920560000000274524e530007e8f7589b0000000b49444154789c634861"
       "070000d2006c96043a6e",
       {1, 2, 1, {100, 7}}},
      {"with gamma 1",
       "0000000200000002080000000057dd52f80000000467414d41000186a031e8965f0000000e4944415478da63606462f8"
       "c50c00020a01016ccbcc38",
       {2, 2, 1, {1, 2, 250, 3}}},
      {"with sRGB, chromaticities and a broken colour profile",
       "0000000200000002080000000057dd52f8000000017352474200aece1ce9000000206348524d00007a26000080840000"
       "fa00000080e8000075300000ea6000003a98000017709cba513c0000001569434350780000789ccbcb572828ca4fcbcc"
       "490500153403efccc2f8980000000e4944415478da63606462f8c50c00020a01016ccbcc38",
       {2, 2, 1, {1, 2, 250, 3}}},
      {"16 bits, of which the upper count",
       "0000000200000001100000000081d9fc150000000d4944415478da6310facff00100043a02028fc94c13",
       {1, 2, 1, {0x12, 0}}},
      {"16 bits in colour, with gamma",
       "00000001000000011002000000c0e78f9d0000000467414d410000b18f0bfc61050000000f4944415478da6360fccff4"
       "9ff93f000912030467e8f68f",
       {1, 1, 3, {1, 2, 3}}},
      {"2 bits",
       "0000000400000001020000000096e748b00000000a4944415478da63900600001d001c237c8fac",
       {1, 4, 1, {0, 85, 170, 255}}},
      {"4 bits",
       "0000000200000001040000000014b9cd570000000a4944415478da63b007000041004020e6af9e",
       {1, 2, 1, {51, 255}}},
      {"interlaced",
       "0000000200000002080000000120da626e0000000f4944415478da6360646062f8c50c00020c010151060087",
       {2, 2, 1, {1, 2, 250, 3}}},
      {"palette, transparent",
       "00000002000000010803000000c3fc8fb800000006504c5445010203c8643250b4ae3f0000000174524e530040e6d866"
       "0000000b4944415478da6360600400000400022cde48ad",
       {1, 2, 3, {1, 2, 3, 200, 100, 50}}},
  };
  for (const File& file : files) {
    CAPTURE(file.what);
    const Image image = read_png(from_hex(kStart + file.header_and_data + kEnd), file.what);
    CHECK(image.height == file.wanted.height);
    CHECK(image.width == file.wanted.width);
    CHECK(image.channels == file.wanted.channels);
    CHECK(image.pixels == file.wanted.pixels);
  }
}

TEST_CASE("image: a damaged PNG is refused with its name") {
  REQUIRE(read_png(kPlain, "plain").pixels == Bytes{1, 2, 250, 3});
  CHECK(message_of([] { read_png(std::span<const uint8_t>(), "a.png"); }) == "a.png: is empty, wanted a PNG file");
  CHECK(message_of([] { read_png("/nowhere/a.png"); }) ==
        "/nowhere/a.png: cannot be opened: No such file or directory; wanted a PNG file");
  const Bytes text{'P', '5', ' ', '2', ' ', '2', ' ', '9', '\n', 1, 2, 3, 4};
  CHECK(message_of([&] { read_png(text, "a.pgm"); }).starts_with("a.pgm: "));
  for (size_t size = 1; size < kPlain.size() - 16; ++size) {  // up to the middle of the compressed pixels
    CAPTURE(size);
    const std::string message = message_of([&] { read_png(std::span(kPlain).first(size), "cut.png"); });
    CHECK(message.starts_with("cut.png: "));
    CHECK(holds(message, "PNG file"));
  }
  const std::pair<std::string, const char*> others[] = {
      {"\xff\xd8\xff\xe0", "a JPEG image"},
      {"GIF89a", "a GIF image"},
      {std::string("RIFF\x10\0\0\0WEBPVP8 ", 16), "a WebP image"},
      {std::string("BM\x10\0\0\0\0\0\0\0\x36", 11), "a BMP image"},
      {std::string("II*\0", 4), "a TIFF image"},
      {"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; fetch the file it stands for"},
      {"<!doctype html>", "a web page; what was wanted was not downloaded"},
      {"RIFF", "of another form"},
      {"BM", "of another form"}};
  for (const auto& [bytes, what] : others) {
    const Bytes file(bytes.begin(), bytes.end());
    CHECK(message_of([&] { read_png(file, "a.png"); }) == std::string("a.png: is ") + what + ", wanted a PNG file");
  }
  Bytes flipped = kPlain;
  flipped[20] ^= 1;  // the height: the header's checksum is wrong
  CHECK(message_of([&] { read_png(flipped, "a.png"); }).starts_with("a.png: "));
  const Bytes huge = from_hex(
      kStart + "000027100000271008000000009f253dfb0000000e49444154789c63646464fac90800020e0100dc7a3f13" + kEnd);
  CHECK(message_of([&] { read_png(huge, "a.png"); }) == "a.png: 10000 x 10000 pixels, wanted 1 to 67108864");
  const auto with_header = [](const std::string& header) {  // width, height, bits, colour type
    const Bytes file =
        from_hex(kStart + header + "00000057dd52f80000000e49444154789c63646464fac90800020e0100dc7a3f13" + kEnd);
    return message_of([&] { read_png(file, "a.png"); });
  };
  CHECK(with_header("00000000000000020800") == "a.png: 0 x 2 pixels, wanted 1 to 67108864");
  CHECK(with_header("80000000000000020800") == "a.png: 2147483648 x 2 pixels, wanted 1 to 67108864");
  CHECK(with_header("00000002000000020300") == "a.png: 3 bits of colour type 0, which no PNG file has");
  CHECK(with_header("00000002000000021003") == "a.png: 16 bits of colour type 3, which no PNG file has");
  CHECK(with_header("00000002000000020805") == "a.png: 8 bits of colour type 5, which no PNG file has");
  CHECK(
      holds(with_header("00000002000000030800"), "a.png: is damaged (libpng: IHDR: CRC error), wanted a whole PNG"));
}

TEST_CASE("image: a contact sheet has its images in rows, with lines between them") {
  const Image a{1, 2, 1, {1, 2}}, b{1, 2, 1, {3, 4}}, c{1, 2, 1, {5, 6}};
  const Image sheet = contact_sheet(std::vector<Image>{a, b, c}, 2);
  CHECK(sheet.height == 3);
  CHECK(sheet.width == 5);
  CHECK(sheet.pixels == Bytes{1, 2, 128, 3, 4, 128, 128, 128, 128, 128, 5, 6, 128, 128, 128});
  CHECK(contact_sheet(std::vector<Image>{a}, 8).pixels == a.pixels);
  const Image rgb{1, 1, 3, {7, 8, 9}};
  CHECK(contact_sheet(std::vector<Image>{rgb, rgb}, 2).pixels == Bytes{7, 8, 9, 128, 128, 128, 7, 8, 9});
  CHECK(message_of([&] {
          contact_sheet(std::vector<Image>{a, rgb}, 2);
        }) == "contact_sheet: image 1 is 1 x 1 x 3, wanted 1 x 2 x 1 as the first");
  CHECK(message_of([&] { contact_sheet(std::vector<Image>{a}, 0); }) ==
        "contact_sheet: 0 columns, wanted at least 1");
  CHECK(message_of([&] { contact_sheet({}, 1); }) == "contact_sheet: no images, wanted at least one");
}

TEST_CASE("image: characters go from dark to light, two rows each") {
  const Image image{3, 4, 1, {0, 255, 0, 255, 0, 255, 255, 0, 0, 26, 255, 230}};
  CHECK(ascii_image(image) == " @==\n .@@\n");
  CHECK(message_of([] { ascii_image({1, 1, 3, {1, 2, 3}}); }) == "ascii_image: 3 channels, wanted a grey image");
}

}  // namespace selene::testing
