#include "data/lra/aan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <istream>
#include <vector>

#include "data/io/durable_file.h"
#include "data/io/lines.h"
#include "data/io/printable.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr size_t kColumns = 5;
constexpr int64_t kWatchEvery = 256;  // pairs

/// The columns of a line; Error for another number of them.
std::array<std::string_view, kColumns> split(std::string_view line) {
  std::array<std::string_view, kColumns> found;
  size_t begin = 0;
  for (size_t c = 0; c < kColumns; ++c) {
    const size_t end = line.find('\t', begin);
    if ((end == line.npos) != (c == kColumns - 1))
      throw Error(fmt::format("{} columns, wanted {}: label, id1, id2, text1, text2",
                              1 + std::count(line.begin(), line.end(), '\t'), kColumns));
    found[c] = line.substr(begin, end - begin);
    begin = end + 1;
  }
  return found;
}

int32_t label_of(std::string_view text) {
  if (text == "0.0" || text == "0") return 0;
  if (text == "1.0" || text == "1") return 1;
  throw Error(fmt::format("label '{}', wanted 0.0 or 1.0", shown_bare(text)));
}

}  // namespace

void append_aan(std::string_view line, int64_t max_bytes, DatasetBuilder& builder) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const auto column = split(line);
  const int32_t label = label_of(column[0]);
  for (size_t text : {3, 4}) {
    if (column[text].empty()) throw Error(fmt::format("text{} is empty", text - 2));
    const std::string_view kept = column[text].substr(0, size_t(max_bytes));
    builder.add_row({reinterpret_cast<const uint8_t*>(kept.data()), kept.size()});
  }
  builder.add_label(label);
}

Dataset read_aan(std::istream& in, const std::string& name, int64_t max_bytes, const Watch& watch, int64_t size) {
  if (max_bytes < 1) throw Error(fmt::format("{}: keep {} bytes of a text, wanted at least 1", name, max_bytes));
  DatasetBuilder builder;
  int64_t taken = 0;  // bytes
  const auto tell = [&](int64_t pairs) {
    if (watch) watch(taken >> 20, size >> 20, fmt::format("{} pairs", pairs));
  };
  Lines lines(in, name);
  for (std::string line; lines.next(line);) {
    if (builder.examples() % kWatchEvery == 0) tell(builder.examples());
    try {
      append_aan(line, max_bytes, builder);
    } catch (const Error& e) {
      throw Error(fmt::format("{}: {}", lines.place(), e.what()));
    }
    taken += int64_t(line.size()) + 1;
  }
  tell(builder.examples());
  if (builder.examples() == 0) throw Error(fmt::format("{}: no examples, wanted at least one line", name));
  return builder.finish(kind_named("retrieval"), name);
}

Dataset read_aan(const std::string& path, int64_t max_bytes, const Watch& watch) {
  need_regular(path, "a TSV file");
  std::vector<char> buffer(size_t(1) << 20);  // bytes; a line has tens of thousands
  std::ifstream in;
  in.rdbuf()->pubsetbuf(buffer.data(), std::streamsize(buffer.size()));  // has no effect once the file is open
  in.open(path, std::ios::binary);
  if (!in) throw Error(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  std::error_code ignored;
  const auto size = std::filesystem::file_size(path, ignored);
  return read_aan(in, path, max_bytes, watch, ignored ? 0 : int64_t(size));
}

std::string aan_path(const std::string& folder, std::string_view split) {
  if (split != "train" && split != "valid" && split != "test")
    throw Error(fmt::format("split '{}', wanted train, valid or test", split));
  return fmt::format("{}/new_aan_pairs.{}.tsv", folder, split == "valid" ? "eval" : split);
}

}  // namespace selene::data
