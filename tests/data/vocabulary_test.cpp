// Framing: ids, order, cutting, and the JSON form that goes into checkpoints.
#include "data/vocabulary.h"

#include <nlohmann/json.hpp>
#include <numeric>

#include "data/lra/listops/listops.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;
using Ids = std::vector<int32_t>;

Dataset make(const std::vector<std::string>& expressions) {
  DatasetBuilder d;
  for (const auto& text : expressions) {
    const auto symbols = parse_listops(text);
    d.add_row(symbols);
    d.add_label(listops_value(symbols));
  }
  return d.finish(kind_named("listops"), "made");
}

// 7 six times; 3, [MAX, ] twice; [SM and 1 once.
const Dataset kTrain = make({"[MAX 7 7 3 [SM 7 1 ] ]", "7", "7", "[MAX 7 3 ]"});
Ids raw(const char* text) {
  const auto symbols = parse_listops(text);
  return {symbols.begin(), symbols.end()};
}
int id(const Vocabulary& v, const char* symbol) { return v.frame_row(raw(symbol), 1000)[v.cls]; }

}  // namespace

TEST_CASE("vocabulary: luna's dictionary") {
  const Vocabulary v = build_vocabulary(kTrain, Frame::luna);
  // Frequencies: 7 six, ] three, 3 and [MAX two, 1 and [SM one; ties by text, where digits come before [.
  CHECK(v.ids == Ids{3, 8, 3, 6, 3, 3, 3, 4, 3, 3, 3, 7, 3, 9, 5});
  CHECK(v.size == 17);  // 4 + 6 = 10, up to 16, and CLS
  CHECK(v.cls_id == 16);
  CHECK(v.pad == 1);
  CHECK(v.eos == 2);
  CHECK(v.unknown == 3);
  CHECK(v.frame_row(raw("[MAX 7 9 ]"), 100) == Ids{16, 7, 4, 3, 5, 2});
  CHECK(id(v, "0") == 3);
  CHECK(build_vocabulary(make({"[MIN [MAX 0 1 ] [MED 2 3 ] [SM 4 5 6 7 8 9 ] ]"}), Frame::luna).size == 25);
}

TEST_CASE("vocabulary: 256 symbols give Luna's 265") {
  std::vector<uint8_t> all(256);
  std::iota(all.begin(), all.end(), uint8_t(0));
  DatasetBuilder builder;
  builder.add_row(all);
  builder.add_label(0);
  const Dataset d = builder.finish(kind_named("text"), "made");
  CHECK(build_vocabulary(d, Frame::luna).size == 265);
  CHECK(build_vocabulary(d, Frame::lra).size == 258);
}

TEST_CASE("vocabulary: luna frames are cut to max_length, tail first") {
  const Ids symbols = raw("[MAX 7 3 ]");
  const Vocabulary v = build_vocabulary(kTrain, Frame::luna), bare = build_vocabulary(kTrain, Frame::luna, false);
  CHECK(v.framed_length(4) == 6);
  CHECK(v.frame_row(symbols, 6) == Ids{16, 7, 4, 6, 5, 2});
  CHECK(v.frame_row(symbols, 5) == Ids{16, 7, 4, 6, 5});  // only </s> is lost
  CHECK(v.frame_row(symbols, 4) == Ids{16, 7, 4, 6});
  CHECK(v.frame_row(symbols, 1) == Ids{16});
  CHECK(bare.framed_length(4) == 5);
  CHECK(bare.frame_row(symbols, 5) == Ids{7, 4, 6, 5, 2});
  CHECK(bare.frame_row(symbols, 4) == Ids{7, 4, 6, 5});
  CHECK(message_of([&] { v.frame_row(symbols, 0); }) == "max_length is 0 tokens, wanted at least 1");
  const int32_t wrong[] = {15};
  CHECK(message_of([&] { v.frame_row(wrong, 9); }) == "raw symbol 15, wanted one of the vocabulary's 15");
}

TEST_CASE("vocabulary: the lra frame is the plain form") {
  const Vocabulary v = build_vocabulary(kTrain, Frame::lra);
  CHECK(v.size == 17);
  CHECK(v.pad == 0);
  CHECK(v.unknown == 16);
  CHECK(v.eos == -1);
  CHECK(v.cls_id == -1);
  CHECK(v.frame_row(raw("[MIN [MAX [MED [SM 0 9 ] 1 ] 2 ] 3 ]"), 100) ==
        Ids{11, 12, 13, 14, 1, 10, 15, 2, 15, 3, 15, 4, 15});
  CHECK(v.frame_row(raw("[MAX 7 3 ]"), 3) == Ids{12, 8, 4});
}

TEST_CASE("vocabulary: examples that are cut are counted") {
  const Vocabulary luna = build_vocabulary(kTrain, Frame::luna), lra = build_vocabulary(kTrain, Frame::lra);
  CHECK(luna.count_cut(kTrain, 11) == 0);  // the longest has 9 symbols, CLS and EOS
  CHECK(luna.count_cut(kTrain, 10) == 1);
  CHECK(luna.count_cut(kTrain, 5) == 2);
  CHECK(luna.count_cut(kTrain, 2) == 4);
  CHECK(lra.count_cut(kTrain, 9) == 0);
  CHECK(lra.count_cut(kTrain, 8) == 1);
  const Kind two{"pairs", kTrain.kind->symbol_names, kTrain.kind->class_names, 2, false};
  Dataset pairs = kTrain;
  pairs.kind = &two, pairs.columns[1] = pairs.columns[1].first(2);
  CHECK(lra.count_cut(pairs, 3) == 2);
  CHECK(lra.count_cut(pairs, 4) == 1);
}

TEST_CASE("vocabulary: JSON there and back") {
  for (const Frame frame : {Frame::luna, Frame::lra})
    for (const bool cls : {true, false}) {
      const Vocabulary v = build_vocabulary(kTrain, frame, cls);
      CHECK(vocabulary_from_json(v.to_json()) == v);
    }
  CHECK(frame_named("lra") == Frame::lra);
  CHECK(message_of([] { frame_named("bert"); }) == "frame 'bert', wanted luna or lra");
}

TEST_CASE("vocabulary: JSON that no vocabulary gives is refused") {
  const auto good = nlohmann::json::parse(build_vocabulary(kTrain, Frame::luna).to_json());
  const auto message = [&](const char* key, const nlohmann::json& value) {
    auto j = good;
    j[key] = value;
    return message_of([&] { vocabulary_from_json(j.dump()); });
  };
  CHECK(message("size", 17) == "");
  CHECK(message("size", 18) == "vocabulary: ids do not follow frame luna");
  CHECK(message("pad", 0) == "vocabulary: ids do not follow frame luna");
  CHECK(message("frame", "lra") == "vocabulary: ids do not follow frame lra");
  CHECK(message("frame", "x") == "vocabulary: frame 'x', wanted luna or lra");
  CHECK(message("ids", {4, 5}) == "vocabulary: 2 ids for 15 symbols");
  CHECK(message("ids", {3, 8, 3, 6, 3, 3, 3, 4, 3, 3, 3, 7, 3, 9, 10}) ==
        "vocabulary: ids of frame luna are not 4, 5, ... without gaps");
  CHECK(message("ids", {3, 8, 3, 6, 3, 3, 3, 4, 3, 3, 3, 7, 3, 9, 9}) ==
        "vocabulary: ids of frame luna are not 4, 5, ... without gaps");
  CHECK(message("ids", {3, 8, 3, 6, 3, 3, 3, 4, 3, 3, 3, 7, 5, 9, 9}) == "vocabulary: two symbols have the same id");
  CHECK(message("symbols", nlohmann::json::array()) == "vocabulary: 0 symbols, wanted 1 to 256");
  CHECK(message("ids", "x").substr(0, 12) == "vocabulary: ");
  CHECK(message_of([] { vocabulary_from_json("{"); }).substr(0, 12) == "vocabulary: ");
  CHECK(message_of([] { vocabulary_from_json("{}"); }).substr(0, 12) == "vocabulary: ");
}

}  // namespace selene::testing
