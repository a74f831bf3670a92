#include "data/lra/own_examples.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <sstream>

#include "data/io/image.h"
#include "data/io/lines.h"
#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "data/lra/aan.h"
#include "data/lra/listops/listops.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr uint64_t kLargestFile = uint64_t(1) << 31;  // bytes

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

Dataset read_image(const std::string& path, const Kind& kind, int64_t side) {
  const Image image = to_grey(read_png(path));
  if (image.height != image.width || (side > 0 && image.height != side))
    throw Error(
        fmt::format("{}: {} x {} pixels, {}", path, image.width, image.height,
                    side > 0 ? fmt::format("the model was trained on {} x {}", side, side) : "wanted a square"));
  DatasetBuilder data;
  data.add_row(image.pixels);
  data.add_label(kNoLabel);
  return data.finish(kind, path);
}

}  // namespace

void add_text(std::string_view line, const Kind& kind, DatasetBuilder& data) {
  const size_t tab = line.find('\t');
  int32_t label = kNoLabel;
  if (tab != line.npos) {
    const auto& names = kind.class_names;
    const auto name = std::find(names.begin(), names.end(), line.substr(0, tab));
    if (name == names.end())
      throw Error(fmt::format("'{}' before a TAB, wanted {} or {}, or no TAB", shown_bare(line.substr(0, tab)),
                              names[0], names[1]));
    label = int32_t(name - names.begin());
    line.remove_prefix(tab + 1);
    if (line.empty()) throw Error("an empty text");
  }
  data.add_row(bytes_of(line));
  data.add_label(label);
}

void add_pair(std::string_view line, const Kind&, DatasetBuilder& data) {
  const auto tabs = std::count(line.begin(), line.end(), '\t');
  if (tabs == 4) return append_aan(line, std::numeric_limits<int64_t>::max(), data);
  if (tabs != 1)
    throw Error(fmt::format("{} columns, wanted 2 texts with a TAB between, or label, id, id, text, text", tabs + 1));
  const size_t tab = line.find('\t');
  for (const std::string_view text : {line.substr(0, tab), line.substr(tab + 1)}) {
    if (text.empty()) throw Error("an empty text");
    data.add_row(bytes_of(text));
  }
  data.add_label(kNoLabel);
}

void add_expression(std::string_view line, const Kind&, DatasetBuilder& data) {
  const std::vector<uint8_t> symbols = parse_listops(line);
  data.add_row(symbols);
  data.add_label(listops_value(symbols));
}

Dataset read_own(std::istream& in, const std::string& name, const Kind& kind) {
  if (kind.image) throw Error(fmt::format("{}: an example of {} is a PNG file, not lines of text", name, kind.name));
  std::string text(std::istreambuf_iterator<char>(in), {});
  const char* what = foreign_form(text);
  if (!what && kind.parse_official) what = web_page(text);  // the other kinds may be about one
  if (what) throw Error(fmt::format("{}: is {}", name, what));
  if (text.find('\n') == text.npos && text.find('\r') < text.size() - 1)
    throw Error(fmt::format("{}: its lines end in CR alone, wanted LF or CR LF", name));
  if (const size_t nul = text.find('\0'); nul != text.npos)
    throw Error(fmt::format("{}: byte {} is 0, wanted lines of text", name, nul + 1));
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);  // a byte order mark, as some editors write it
  std::istringstream all(text);
  if (kind.parse_official && text.starts_with(kind.official_start)) return kind.parse_official(all, name);
  DatasetBuilder data;
  std::string line;
  for (int64_t number = 1; std::getline(all, line); ++number) {
    while (line.ends_with('\r')) line.pop_back();  // CR CR LF: line ends that were changed to Windows' twice
    if (line.find('\r') != line.npos)
      throw Error(fmt::format("{}:{}: a CR within the line, wanted LF or CR LF between examples", name, number));
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    try {
      kind.add_line(line, kind, data);
    } catch (const Error& e) {
      throw Error(fmt::format("{}:{}: {}", name, number, e.what()));
    }
  }
  if (data.examples() == 0) throw Error(fmt::format("{}: no example in it", name));
  return data.finish(kind, name);
}

Dataset read_own(const std::string& path, const Kind& kind, int64_t side) {
  if (kind.image) return read_image(path, kind, side);
  std::istringstream lines(read_regular_file(path, kLargestFile, "examples (- is stdin)"));
  return read_own(lines, path, kind);
}

std::string expression_text(const Dataset& data, int64_t example) { return listops_text(data.row(example)); }

std::string image_text(const Dataset& data, int64_t example) {
  const int64_t side = square_side(data.length(example));
  return fmt::format("image {} x {}", side, side);
}

std::string text_of_bytes(const Dataset& data, int64_t example) {
  std::string text;
  for (int32_t t = 0; t < data.towers(); ++t) {
    if (t > 0) text += " | ";
    const auto row = data.row(example, t);
    text += printable({reinterpret_cast<const char*>(row.data()), row.size()});
  }
  return text;
}

}  // namespace selene::data
