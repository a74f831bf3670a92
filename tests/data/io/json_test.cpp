// JSON texts: what is read, what is refused and where, and that what is written is always JSON.
#include <chrono>
#include <nlohmann/json.hpp>

#include "data/io/json.h"
#include "kernels/error.h"
#include "tests/support/catch.h"

namespace selene::testing {
namespace {

using data::Json;
using data::parse_json;

std::string problem(std::string_view text) {
  try {
    parse_json(text, "f.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

double seconds_of(const std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  problem(text);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

}  // namespace

TEST_CASE("json: values and the order of members come back") {
  const std::string text =
      R"({"z":null,"a":[true,false,-3,18446744073709551615,0.1,1e+300],"m":{"text":"\"\\\n\tgröße","empty":[[],{}]}})";
  const Json j = parse_json(text, "t");
  CHECK(j.dump() == text);
  CHECK(parse_json(j.dump(2), "t") == j);
  CHECK(j.dump() == nlohmann::ordered_json::parse(text).dump());
  CHECK(j.dump(2) == nlohmann::ordered_json::parse(text).dump(2));
  CHECK(j.at("a").list()->size() == 6);
  CHECK(Json{{"n", 1}, {"list", std::vector<int>{1, 2}}, {"o", Json{{"t", "x"}}}}.dump() ==
        R"({"n":1,"list":[1,2],"o":{"t":"x"}})");
}

TEST_CASE("json: members are of the type that is asked for, or an error says what they are") {
  const Json j = parse_json(R"({"i": 3, "r": 3.7, "t": "x", "b": true, "huge": 18446744073709551615})", "t");
  CHECK(j.get<int64_t>("i") == 3);
  CHECK(j.get<double>("i") == 3.0);
  CHECK(j.get<double>("r") == 3.7);
  CHECK(j.get<std::string>("t") == "x");
  CHECK(j.get<bool>("b"));
  CHECK_THROWS_WITH(j.get<int64_t>("r"), "\"r\" is 3.7, wanted an integer of 64 bits");
  CHECK_THROWS_WITH(j.get<int64_t>("huge"), "\"huge\" is 18446744073709551615, wanted an integer of 64 bits");
  CHECK_THROWS_WITH(j.get<bool>("i"), "\"i\" is 3, wanted true or false");
  CHECK_THROWS_WITH(j.get<double>("t"), "\"t\" is \"x\", wanted a number");
  CHECK_THROWS_WITH(j.get<std::string>("none\x1b"), "has no \"none\\x1b\"");
  CHECK_THROWS_WITH(parse_json("[1]", "t").get<bool>("b"), "is [1], wanted an object with \"b\"");
}

TEST_CASE("json: what is no JSON is refused with its place") {
  CHECK(problem("") == "f.json:1:1: the text ends within a value, wanted JSON");
  CHECK(problem("{\"a\": 1,\n  \"b\": nul}") == "f.json:2:11: \"nul}\", wanted JSON");
  CHECK(problem("{\"a\": \"x") == "f.json:1:8: the text ends within a value, wanted JSON");
  CHECK(problem("[1, 2").starts_with("f.json:1:"));
  CHECK(problem("[1 2]") == "f.json:1:5: \"2]\", wanted JSON");
  CHECK(problem("{\"a\":1}x").starts_with("f.json:1:8: \"x\""));
  for (const char* bad : {"[01]", "[+1]", "[1.]", "[0x10]", "[NaN]", "[1e999]", "[\"\xff\"]", "[\"\x1b\"]", "{1:2}",
                          "{\"a\" 1}", "[\"\\ud800\"]", "\"\\q\"", "[1,]", "{\"a\":1,}", "// x", "'a'"}) {
    INFO(bad);
    const std::string said = problem(bad);
    CHECK(said.starts_with("f.json:1:"));
    CHECK(said.find("exception") == std::string::npos);
    CHECK(said.find('\x1b') == std::string::npos);
  }
  CHECK(problem("{\"a\": 1, \"a\": 2}") ==
        "f.json:1:16: the object that ends here has two members \"a\", wanted names that differ");
}

TEST_CASE("json: nesting is bounded, and refused without following it") {
  CHECK(problem(repeated("[", 32) + repeated("]", 32)).empty());
  for (const int levels : {33, 1'000'000}) {
    CHECK(problem(repeated("[", levels)) == "f.json:1:33: nested deeper than 32 levels, wanted less");
    CHECK(problem(repeated("{\"a\":", levels)).ends_with(": nested deeper than 32 levels, wanted less"));
  }
}

TEST_CASE("json: time grows with the text and no faster") {
  std::string keys = "{", objects = "{";
  for (int i = 0; i < 300'000; ++i) {
    keys += "\"key" + std::to_string(i) + "\":1,";
    objects += "\"tensor" + std::to_string(i) + "\":{\"shape\":[1,2]},";
  }
  keys.back() = objects.back() = '}';
  CHECK(seconds_of(keys) < 20);  // a tenth of a second; sanitizers and busy machines need more
  CHECK(seconds_of(objects) < 20);
}

TEST_CASE("json: any text becomes valid JSON that is safe to show") {
  std::string all;
  for (int c = 1; c < 256; ++c) all += char(c);
  const std::string text = Json{{all, all}}.dump();
  for (const unsigned char c : text) CHECK((c >= 0x20 && c < 0x7f));
  CHECK(nlohmann::json::parse(text).size() == 1);
  CHECK(Json("caf\xe9").dump() == "\"caf\\\\xe9\"");
  CHECK(Json("\xc2\x9b\xe2\x80\xae\xf3\xa0\x80\x81").dump() == "\"\\u009b\\u202e\\udb40\\udc01\"");
  CHECK(*parse_json(Json("\xf3\xa0\x80\x81").dump(), "t").text() == "\xf3\xa0\x80\x81");
}

}  // namespace selene::testing
