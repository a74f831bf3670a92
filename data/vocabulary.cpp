#include "data/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "data/io/json.h"
#include "data/io/printable.h"
#include "kernels/ceil_div.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr int32_t kLunaPad = 1, kLunaEos = 2, kLunaUnknown = 3, kLunaFirst = 4;

int32_t luna_size(int64_t symbols) { return int32_t(round_up(kLunaFirst + symbols, 8) + 1); }

void set_luna(Vocabulary& v, const Dataset& train) {
  const size_t K = train.kind->symbol_names.size();
  std::vector<int64_t> count(K, 0);
  for (uint8_t s : train.symbols()) ++count[s];
  std::vector<size_t> order(K);
  std::iota(order.begin(), order.end(), size_t(0));
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return count[a] != count[b] ? count[a] > count[b] : train.kind->symbol_names[a] < train.kind->symbol_names[b];
  });
  v.pad = kLunaPad, v.eos = kLunaEos, v.unknown = kLunaUnknown;
  v.ids.assign(K, kLunaUnknown);
  int32_t next = kLunaFirst;
  for (size_t s : order)
    if (count[s] > 0) v.ids[s] = next++;
  v.size = luna_size(next - kLunaFirst);
  v.cls_id = v.size - 1;
}

void set_lra(Vocabulary& v) {
  v.cls = false;
  v.ids.resize(v.symbol_names.size());
  std::iota(v.ids.begin(), v.ids.end(), 1);
  v.unknown = int32_t(v.ids.size()) + 1;
  v.size = v.unknown + 1;
}

int32_t id_of(const Json& value, const char* what) {
  const auto number = value.integer();
  if (number && *number == int32_t(*number)) return int32_t(*number);
  throw Error(fmt::format("{} is {}, wanted an integer of 32 bits", what, shown_bare(value.dump())));
}

/// Throws Error unless the ids are what build_vocabulary could have given for some training set.
void check(const Vocabulary& v) {
  if (v.symbol_names.empty() || v.symbol_names.size() > 256)
    throw Error(fmt::format("vocabulary: {} symbols, wanted 1 to 256", v.symbol_names.size()));
  if (v.ids.size() != v.symbol_names.size())
    throw Error(fmt::format("vocabulary: {} ids for {} symbols", v.ids.size(), v.symbol_names.size()));
  Vocabulary wanted{v.frame, v.cls, v.symbol_names, v.ids};
  wanted.longest = std::max<int64_t>(v.longest, 0);
  if (v.frame == Frame::lra) {
    set_lra(wanted);
  } else {
    std::set<int32_t> used(v.ids.begin(), v.ids.end());
    used.erase(kLunaUnknown);
    const auto K = int32_t(used.size());
    if (K > 0 && (*used.begin() != kLunaFirst || *used.rbegin() != kLunaFirst + K - 1))
      throw Error("vocabulary: ids of frame luna are not 4, 5, ... without gaps");
    if (std::count(v.ids.begin(), v.ids.end(), kLunaUnknown) + K != int64_t(v.ids.size()))
      throw Error("vocabulary: two symbols have the same id");
    wanted.pad = kLunaPad, wanted.eos = kLunaEos, wanted.unknown = kLunaUnknown;
    wanted.size = luna_size(K), wanted.cls_id = wanted.size - 1;
  }
  if (v != wanted) throw Error(fmt::format("vocabulary: ids do not follow frame {}", name_of(v.frame)));
}

}  // namespace

const char* name_of(Frame frame) { return frame == Frame::luna ? "luna" : "lra"; }

Frame frame_named(std::string_view name) {
  if (name == "luna") return Frame::luna;
  if (name == "lra") return Frame::lra;
  throw Error(fmt::format("frame '{}', wanted luna or lra", name));
}

std::vector<int32_t> Vocabulary::frame_row(std::span<const int32_t> symbols, int64_t max_length) const {
  if (max_length < 1) throw Error(fmt::format("max_length is {} tokens, wanted at least 1", max_length));
  const auto n = size_t(std::min(framed_length(int64_t(symbols.size())), max_length));
  std::vector<int32_t> row;
  row.reserve(n + 1);
  if (frame == Frame::luna && cls) row.push_back(cls_id);
  for (size_t i = 0; i < symbols.size() && row.size() < n; ++i) {
    if (symbols[i] < 0 || size_t(symbols[i]) >= ids.size())
      throw Error(fmt::format("raw symbol {}, wanted one of the vocabulary's {}", symbols[i], ids.size()));
    row.push_back(ids[size_t(symbols[i])]);
  }
  if (frame == Frame::luna && row.size() < n) row.push_back(eos);
  return row;
}

int64_t Vocabulary::count_cut(const Dataset& data, int64_t max_length) const {
  int64_t cut = 0;
  for (int64_t i = 0; i < data.examples(); ++i) cut += framed_length(data.length(i)) > max_length;
  return cut;
}

std::string Vocabulary::to_json() const {
  const Json j{
      {"frame", name_of(frame)}, {"cls", cls}, {"symbols", symbol_names}, {"ids", ids},   {"pad", pad},
      {"unknown", unknown},      {"eos", eos}, {"cls_id", cls_id},        {"size", size}, {"longest", longest}};
  return j.dump();
}

Vocabulary build_vocabulary(const Dataset& train, Frame frame, bool cls) {
  Vocabulary v;
  v.frame = frame, v.cls = cls, v.symbol_names = train.kind->symbol_names;
  for (int64_t i = 0; i < train.examples(); ++i) v.longest = std::max(v.longest, train.length(i));
  if (frame == Frame::luna) set_luna(v, train);
  else set_lra(v);
  return v;
}

Vocabulary vocabulary_from_json(const std::string& text) {
  Vocabulary v;
  try {
    const Json j = parse_json(text, "JSON");
    v.frame = frame_named(j.get<std::string>("frame")), v.cls = j.get<bool>("cls");
    for (const Json& symbol : j.get<Json::List>("symbols")) {
      if (!symbol.text()) throw Error(fmt::format("a symbol is {}, wanted a text", shown_bare(symbol.dump())));
      v.symbol_names.push_back(*symbol.text());
    }
    for (const Json& id : j.get<Json::List>("ids")) v.ids.push_back(id_of(id, "an id"));
    v.pad = id_of(j.at("pad"), "pad"), v.unknown = id_of(j.at("unknown"), "unknown");
    v.eos = id_of(j.at("eos"), "eos"), v.cls_id = id_of(j.at("cls_id"), "cls_id");
    v.size = id_of(j.at("size"), "size");
    if (j.find("longest")) v.longest = j.get<int64_t>("longest");
  } catch (const Error& e) {
    throw Error(fmt::format("vocabulary: {}", e.what()));
  }
  check(v);
  return v;
}

}  // namespace selene::data
