#include "data/text/characters.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "data/io/json.h"
#include "data/io/lines.h"
#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "data/io/xxhash64.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr uint64_t kLargestFile = uint64_t(1) << 31;  // bytes
constexpr int64_t kShownCharacters = 200;

/// The code point that begins at `at`, which moves past it; -1 for what is no UTF-8 (RFC 3629).
int32_t next_character(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : 0; };
  const uint8_t lead = byte(at);
  const int more = lead < 0x80 ? 0 : lead >> 5 == 6 ? 1 : lead >> 4 == 14 ? 2 : lead >> 3 == 30 ? 3 : -1;
  if (more < 0) return -1;
  int32_t point = more == 0 ? lead : lead & (0x3f >> more);
  for (int i = 1; i <= more; ++i) {
    const uint8_t b = byte(at + size_t(i));
    if (b >> 6 != 2) return -1;
    point = point << 6 | (b & 0x3f);
  }
  constexpr int32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return -1;
  at += size_t(more) + 1;
  return point;
}

void append_utf8(std::string& out, int32_t point) {
  const auto u = uint32_t(point);
  if (u < 0x80) out += char(u);
  else if (u < 0x800) out.append({char(0xc0 | u >> 6), char(0x80 | (u & 0x3f))});
  else if (u < 0x10000) out.append({char(0xe0 | u >> 12), char(0x80 | (u >> 6 & 0x3f)), char(0x80 | (u & 0x3f))});
  else
    out.append(
        {char(0xf0 | u >> 18), char(0x80 | (u >> 12 & 0x3f)), char(0x80 | (u >> 6 & 0x3f)), char(0x80 | (u & 0x3f))});
}

struct Texts {
  std::vector<std::vector<int32_t>> texts;
  std::vector<size_t> sizes;  // of the whole texts, before ends were cut off
  Json::List digests;         // of each file: what decides the content
};

Texts read_texts(const std::vector<std::string>& paths) {
  Texts read;
  for (const std::string& path : paths) {
    const std::string text = read_regular_file(path, kLargestFile, "text");
    XxHash64 hash;
    hash.update(text.data(), text.size());
    read.texts.push_back(decode_text(text, path));
    read.sizes.push_back(read.texts.back().size());
    read.digests.emplace_back(hash.text());
  }
  return read;
}

/// Takes `share` of every whole text off what is left of it. Error where a part is empty.
std::vector<std::vector<int32_t>> cut_end(Texts& from, const std::vector<std::string>& paths, double share,
                                          const char* split) {
  std::vector<std::vector<int32_t>> ends;
  for (size_t i = 0; i < from.texts.size(); ++i) {
    std::vector<int32_t>& text = from.texts[i];
    const auto count = int64_t(share * double(from.sizes[i]));
    if (count < 1 || count >= int64_t(text.size()))
      throw Error(
          fmt::format("{}: with --{}-share {} no characters are left for {}; give a longer text, or --{} FILE",
                      paths[i], split, share, count < 1 ? split : "train", split));
    ends.emplace_back(text.end() - count, text.end());
    text.resize(text.size() - size_t(count));
  }
  return ends;
}

}  // namespace

std::vector<int32_t> decode_text(std::string_view text, const std::string& name) {
  if (text.empty()) throw Error(fmt::format("{}: is empty, wanted text", name));
  if (const char* what = foreign_form(std::string(text))) throw Error(fmt::format("{}: is {}", name, what));
  std::vector<int32_t> points;
  points.reserve(text.size());
  for (size_t at = text.starts_with("\xef\xbb\xbf") ? 3 : 0; at < text.size();) {
    const int32_t point = next_character(text, at);
    if (point < 0)
      throw Error(fmt::format("{}: byte {} is not UTF-8; iconv -f LATIN1 -t UTF-8 may help", name, at + 1));
    points.push_back(point);
  }
  if (points.empty()) throw Error(fmt::format("{}: is empty, wanted text", name));
  return points;
}

std::vector<int32_t> characters_of(const std::vector<std::vector<int32_t>>& texts) {
  std::set<int32_t> all;
  for (const auto& text : texts) all.insert(text.begin(), text.end());
  return {all.begin(), all.end()};
}

Dataset character_set(const std::string& name, const std::vector<int32_t>& characters,
                      const std::vector<std::vector<int32_t>>& texts) {
  struct Memory {
    std::vector<int32_t> characters;
    std::vector<uint8_t> symbols;
    std::vector<int64_t> vocabulary, offsets{0};
  };
  const auto memory = std::make_shared<Memory>();
  memory->characters = characters, memory->vocabulary = {0, int64_t(characters.size())};
  std::vector<int32_t> symbols;
  for (const auto& text : texts) {
    for (const int32_t point : text) {
      const auto found = std::lower_bound(characters.begin(), characters.end(), point);
      const bool known = found != characters.end() && *found == point;
      symbols.push_back(known ? int32_t(found - characters.begin()) + 1 : 0);
    }
    memory->offsets.push_back(int64_t(symbols.size()));
  }
  const DType type = id_type(int64_t(characters.size()) + 1);
  memory->symbols = packed(symbols, type);
  Dataset data{name, &kind_named("characters"), {}, memory};
  data.columns = {column<int32_t>("characters", memory->characters, memory->vocabulary),
                  {"text", type, memory->symbols, memory->offsets}};
  return data;
}

void check_characters(const Dataset& data) {
  const Column &characters = data.columns.at(0), &text = data.columns.at(1);
  const auto known = characters.all<int32_t>();
  if (characters.rows() != 1 || known.empty() || !std::is_sorted(known.begin(), known.end()))
    throw Error(fmt::format("{}: its characters are no ascending list", data.name));
  if (const DType wanted = id_type(int64_t(known.size()) + 1); text.dtype != wanted)
    throw Error(fmt::format("{}: text is {}, wanted {} for {} characters", data.name, name_of(text.dtype),
                            name_of(wanted), known.size()));
  for (int64_t row = 0; row < text.rows(); ++row) {
    const int64_t length = text.offsets[size_t(row) + 1] - text.offsets[size_t(row)];
    if (length == 0) throw Error(fmt::format("{}: text {} is empty", data.name, row + 1));
    for (const int32_t symbol : text.ids(row, 0, length))
      if (symbol < 0 || symbol > int64_t(known.size()))
        throw Error(fmt::format("{}: symbol {}, wanted 0 to {}", data.name, symbol, known.size()));
  }
}

std::string character_text(const Dataset& data, int64_t example) {
  const auto characters = data.columns.at(0).all<int32_t>();
  const auto& offsets = data.columns.at(1).offsets;
  const int64_t length = offsets[size_t(example) + 1] - offsets[size_t(example)];
  std::string text;
  for (const int32_t symbol : data.columns.at(1).ids(example, 0, std::min(length, kShownCharacters)))
    append_utf8(text, symbol ? characters[size_t(symbol) - 1] : 0xfffd);
  return printable(text);
}

Prepared prepare_characters(const CharactersPlan& plan, const Watch&) {
  Texts train = read_texts(plan.files), valid = read_texts(plan.valid), test = read_texts(plan.test);
  Json options{{"files", train.digests}, {"valid", valid.digests}, {"test", test.digests}};
  if (plan.test.empty()) options.set("test_share", plan.test_share);
  if (plan.valid.empty()) options.set("valid_share", plan.valid_share);
  if (plan.test.empty()) test.texts = cut_end(train, plan.files, plan.test_share, "test");
  if (plan.valid.empty()) valid.texts = cut_end(train, plan.files, plan.valid_share, "valid");
  const std::vector<int32_t> characters = characters_of(train.texts);
  const std::string text = options.dump();
  return prepare_folder({plan.folder, "characters", text, plan.force}, [&](const std::string& folder) {
    for (const auto& [split, texts] : {std::pair{"train", &train}, {"valid", &valid}, {"test", &test}})
      write_prepared(folder, split, character_set(split, characters, texts->texts), text);
    return Json{{"characters", characters.size()}}.dump();
  });
}

}  // namespace selene::data
