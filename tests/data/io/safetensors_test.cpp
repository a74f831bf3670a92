// Safetensors files: round trips, and everything that is wrong with a file is said.
#include "data/io/safetensors.h"

#include <cstring>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "tests/support/catch.h"
#include "tests/support/disk.h"

namespace selene::testing {
namespace {

using data::Metadata;
using data::SafetensorsFile;
using data::TensorBytes;
using Bytes = std::vector<uint8_t>;

/// A file's bytes from its header's text and the number of bytes after it.
Bytes file_of(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  Bytes bytes(8 + header.size() + data_bytes);
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

/// What is said about such a file; empty if it is accepted.
std::string complaint(const Bytes& bytes) {
  const std::string message = message_of([&] { SafetensorsFile("f", bytes); });
  if (!message.empty()) CHECK_THAT(message, Catch::Matchers::StartsWith("f: "));
  CHECK(message.find('\n') == std::string::npos);
  return message;
}
std::string complaint(const std::string& header, size_t data_bytes) { return complaint(file_of(header, data_bytes)); }

const std::string kA = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";

}  // namespace

TEST_CASE("safetensors: round trip of every dtype, with metadata") {
  Folder folder;
  Bytes content(1000);
  for (size_t i = 0; i < content.size(); ++i) content[i] = uint8_t(i * 7 + 3);
  const DType all[] = {DType::u8, DType::f32, DType::f16, DType::bf16, DType::f64, DType::i32, DType::i64};
  std::vector<TensorBytes> tensors;
  for (DType t : all)
    tensors.push_back({std::string("layer.") + name_of(t), t, {3, 5}, content.data() + tensors.size()});
  tensors.push_back({"scalar \"\\ \xc3\xa9", DType::f64, {}, content.data() + 100});
  tensors.push_back({"empty", DType::i32, {4, 0}, nullptr});
  const Metadata metadata{{"recipe", "a: 1\nb: \"x\"\n"}, {"number", "18446744073709551617.25"}, {"", ""}};
  data::write_safetensors(folder.file("f"), tensors, metadata);

  const SafetensorsFile file(folder.file("f"));
  CHECK(file.metadata() == metadata);
  CHECK(file.header().size() % 8 == 0);
  REQUIRE(file.entries().size() == tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto& entry = file.entries()[i];
    CHECK(entry.name == tensors[i].name);
    CHECK(file.find(entry.name) == &entry);
    CHECK(entry.dtype == tensors[i].dtype);
    CHECK(entry.shape == tensors[i].shape);
    const auto bytes = file.bytes(entry);
    REQUIRE(bytes.size() == data::byte_count(tensors[i]));
    CHECK(int64_t(bytes.size()) == entry.numel() * size_of(entry.dtype));
    CHECK((bytes.empty() || std::memcmp(bytes.data(), tensors[i].data, bytes.size()) == 0));
  }
  CHECK(file.find("none") == nullptr);
  CHECK_THROWS_WITH(file.at("none"), folder.file("f") + ": has no tensor \"none\"");
}

TEST_CASE("safetensors: the written bytes are the format's") {
  Folder folder;
  const uint8_t data[] = {1, 2, 3, 4};
  const std::vector<TensorBytes> tensors{{"b", DType::f16, {1}, data}, {"a", DType::u8, {2}, data + 2}};
  data::write_safetensors(folder.file("f"), tensors, {{"k", "v"}});
  std::string header = R"({"__metadata__":{"k":"v"},"b":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
                       R"("a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  Bytes wanted = file_of(header, 4);
  std::memcpy(wanted.data() + wanted.size() - 4, data, 4);
  const std::string written = read_text(folder.file("f"));
  CHECK(Bytes(written.begin(), written.end()) == wanted);
  data::write_safetensors(folder.file("none"), {});
  CHECK(SafetensorsFile(folder.file("none")).entries().empty());
}

TEST_CASE("safetensors: entries come in the order of their bytes; a copy outlives its original") {
  const std::string b = R"("b":{"dtype":"U8","shape":[],"data_offsets":[8,9]})";
  const Bytes bytes = file_of("{" + b + "," + kA + "}   ", 9);
  auto first = std::make_unique<SafetensorsFile>("f", bytes);
  const SafetensorsFile copy = *first;
  first.reset();
  REQUIRE(copy.entries().size() == 2);
  CHECK(copy.entries()[0].name == "a");
  CHECK(copy.bytes(copy.at("b")).data() == bytes.data() + bytes.size() - 1);
}

TEST_CASE("safetensors: what is wrong with a file is said") {
  CHECK(complaint("{" + kA + "}", 8) == "");
  CHECK(complaint(Bytes{1, 2}) == "f: has 2 bytes, wanted at least the 8 of the header length");
  CHECK_THAT(complaint(Bytes(8)), containing("header length 0 does not fit a file of 8 bytes"));
  CHECK_THAT(complaint(Bytes(100, 0xff)), containing("header length 18446744073709551615 does not fit"));
  CHECK_THAT(complaint("{" + kA, 8), containing("f: header:1:"));
  CHECK_THAT(complaint("{\"\xff\":1}", 0), containing("f: header:1:"));
  CHECK_THAT(complaint(" {}", 0), containing("header is not a JSON object"));
  CHECK_THAT(complaint("[1]", 0), containing("header is not a JSON object"));
  CHECK_THAT(complaint("{\"a\":" + std::string(100000, '['), 0), containing("nested deeper"));
  CHECK_THAT(complaint("{" + kA + "," + kA + "}", 8), containing("two members \"a\", wanted names that differ"));
  CHECK_THAT(complaint(R"({"a\nb":1})", 0), containing(R"(name "a\nb" in the header has a control character)"));
  CHECK_THAT(complaint(R"({"a":1})", 0), containing("tensor \"a\": has no dtype"));
  CHECK_THAT(complaint(R"({"__metadata__":[]})", 0), containing("__metadata__ is [], wanted an object"));
  CHECK_THAT(complaint(R"({"__metadata__":{"k":1}})", 0), containing("__metadata__ \"k\" is 1, wanted a string"));
  CHECK_THAT(complaint(R"({"__metadata__":{"k":"a\u0000b"}})", 0),
             containing(R"(__metadata__ "k" is "a\u0000b", wanted text without a byte of 0)"));
  CHECK_THAT(complaint("{" + kA + "}", 7), containing("truncated: 7 bytes of tensors, wanted 8"));
  CHECK_THAT(complaint("{" + kA + "}", 9), containing("1 extra bytes after the last tensor"));
}

TEST_CASE("safetensors: what is wrong with a tensor is said") {
  const auto tensor = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return complaint("{\"w\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}", 8);
  };
  CHECK(tensor("\"F32\"", "[2]", "[0,8]") == "");
  CHECK(tensor("\"F31\"", "[2]", "[0,8]") ==
        "f: tensor \"w\": dtype is \"F31\", wanted F32, F16, BF16, F64, I32, I64, U8 or U16");
  CHECK_THAT(tensor("32", "[2]", "[0,8]"), containing("dtype is 32, wanted"));
  for (const char* shape :
       {"2", "[-2]", "[2.0]", "[\"2\"]", "[99999999999999999999]", "[9223372036854775808]", "null"})
    CHECK_THAT(tensor("\"F32\"", shape, "[0,8]"),
               containing("shape is ") && containing("wanted a list of integers >= 0"));
  CHECK_THAT(tensor("\"F32\"", "[4294967296,4294967296]", "[0,8]"), containing("is too large"));
  CHECK_THAT(tensor("\"F32\"", "[4611686018427387906]", "[0,8]"), containing("is too large"));
  for (const char* offsets : {"[8,0]", "[0]", "[0,8,8]", "[]"})
    CHECK_THAT(tensor("\"F32\"", "[2]", offsets), containing("wanted [begin, end]"));
  CHECK_THAT(tensor("\"F32\"", "[3]", "[0,8]"), containing("has 8 bytes in the file, wanted 12 for F32 [3]"));
  CHECK_THAT(tensor("\"F32\"", "[1]", "[4,8]"), containing("begins at byte 4 of the data, wanted 0"));
  CHECK_THAT(tensor("\"U8\",\"more\":1", "[8]", "[0,8]"), containing("wanted dtype, shape and data_offsets only"));
  CHECK_THAT(complaint("{" + kA + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}})", 10),
             containing("tensor \"b\" begins at byte 6 of the data, wanted 8 (no gaps, no overlaps)"));
}

TEST_CASE("safetensors: unreadable paths are said") {
  Folder folder;
  CHECK_THROWS_WITH(SafetensorsFile(folder.file("none")),
                    folder.file("none") + ": cannot be read: No such file or directory");
  CHECK_THROWS_WITH(SafetensorsFile(folder.path.string()), containing("cannot be read: it is not a regular file"));
  write_text(folder.file("empty"), "");
  CHECK_THROWS_WITH(SafetensorsFile(folder.file("empty")), containing("has 0 bytes"));
}

TEST_CASE("safetensors: a tensor that cannot be written is named") {
  const float x[4] = {};
  const auto said = [](std::vector<TensorBytes> tensors, const Metadata& metadata = {}) {
    return message_of([&] { data::safetensors_header(tensors, metadata); });
  };
  CHECK(said({{"w", DType::f32, {4}, x}}) == "");
  CHECK_THAT(said({{"w", DType::f32, {-4}, x}}), containing("\"w\" of shape [-4] has a negative"));
  CHECK_THAT(said({{"w", DType::f32, {4}, nullptr}}), containing("\"w\" of shape [4] has no data"));
  CHECK_THAT(said({{"w", DType::f32, {1}, x}, {"w", DType::f32, {1}, x}}), containing("name \"w\" is repeated"));
  CHECK_THAT(said({{"__metadata__", DType::f32, {1}, x}}), containing("not allowed"));
  CHECK_THAT(said({{"a\nb", DType::f32, {1}, x}}), containing("not allowed"));
  CHECK_THAT(said({}, {{"k", "\xff"}}), containing("not UTF-8"));
}

TEST_CASE("safetensors: random bytes are refused, random changes are survived") {
  PhiloxStream random(7, 1);
  const Bytes good = file_of("{" + kA + R"(,"__metadata__":{"k":"v"}})", 8);
  int refused = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    Bytes noise(random.below(200)), changed = good;
    for (uint8_t& b : noise) b = uint8_t(random.bits());
    if (noise.size() >= 8) std::fill(noise.begin() + 1, noise.begin() + 8, uint8_t(0));  // a plausible header length
    CHECK(complaint(noise) != "");
    changed[random.below(uint32_t(changed.size()))] = uint8_t(random.bits());
    refused += complaint(changed) != "";
  }
  CHECK(refused > 1000);
}

}  // namespace selene::testing
