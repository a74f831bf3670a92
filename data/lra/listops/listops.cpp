#include "data/lra/listops/listops.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <istream>

#include "data/io/durable_file.h"
#include "data/io/lines.h"
#include "data/io/printable.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

bool is_operator(uint8_t s) { return s >= listops_min && s <= listops_sm; }
constexpr auto kSpaces = [] {
  std::array<bool, 256> table{};
  for (char c : {' ', '(', ')', '\t', '\r', '\n'}) table[uint8_t(c)] = true;
  return table;
}();
bool is_space(char c) { return kSpaces[uint8_t(c)]; }

uint8_t symbol_of(std::string_view token) {
  if (token.size() == 1 && token[0] >= '0' && token[0] <= '9') return uint8_t(token[0] - '0');
  const auto& names = listops_symbol_names();
  for (uint8_t s = listops_min; s < kListopsSymbolCount; ++s)
    if (token == names[s]) return s;
  throw Error(fmt::format("unknown token '{}', wanted a digit, [MIN, [MAX, [MED, [SM or ]", shown_bare(token)));
}

/// Throws Error unless the symbols are exactly one expression in which every operator has an argument.
void check_structure(std::span<const uint8_t> symbols) {
  if (symbols.empty()) throw Error("empty expression");
  int64_t open = 0;
  for (size_t i = 0; i < symbols.size(); ++i) {
    const uint8_t s = symbols[i];
    if (i > 0 && open == 0) throw Error(fmt::format("token {} stands after the end of the expression", i + 1));
    if (is_operator(s)) ++open;
    if (s != listops_close) continue;
    if (open == 0) throw Error(fmt::format("token {} is a ] without an operator", i + 1));
    if (is_operator(symbols[i - 1]))
      throw Error(fmt::format("token {}: {} has no arguments", i, listops_symbol_names()[symbols[i - 1]]));
    --open;
  }
  if (open > 0)
    throw Error(fmt::format("{} without its ]", open == 1 ? "an operator" : fmt::format("{} operators", open)));
}

int32_t label_of(std::string_view text) {
  const bool number =
      !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (text.size() == 1 && number) return text[0] - '0';
  throw Error(number ? fmt::format("label {} is out of range, wanted 0 to 9", shown_bare(text))
                     : fmt::format("label '{}', wanted a number from 0 to 9", shown_bare(text)));
}

void append_line(std::string_view line, DatasetBuilder& data) {
  if (line.empty()) throw Error("empty line, wanted an expression, a TAB and a label");
  const size_t tab = line.find('\t');
  if (tab == line.npos || line.find('\t', tab + 1) != line.npos)
    throw Error(fmt::format("{} columns, wanted 2: an expression, a TAB and a label",
                            1 + std::count(line.begin(), line.end(), '\t')));
  const int32_t label = label_of(line.substr(tab + 1));
  const std::vector<uint8_t> symbols = parse_listops(line.substr(0, tab));
  if (const int value = listops_value(symbols); value != label)
    throw Error(fmt::format("label {}, but the value of the expression is {}", label, value));
  data.add_row(symbols);
  data.add_label(label);
}

}  // namespace

const std::vector<std::string>& listops_symbol_names() {
  static const std::vector<std::string> names{"0", "1", "2",    "3",    "4",    "5",   "6", "7",
                                              "8", "9", "[MIN", "[MAX", "[MED", "[SM", "]"};
  return names;
}

int listops_apply(uint8_t symbol, std::span<uint8_t> digits) {
  if (symbol == listops_min) return *std::min_element(digits.begin(), digits.end());
  if (symbol == listops_max) return *std::max_element(digits.begin(), digits.end());
  if (symbol == listops_med) {
    std::sort(digits.begin(), digits.end());
    const size_t n = digits.size();
    return (digits[(n - 1) / 2] + digits[n / 2]) / 2;
  }
  int sum = 0;
  for (uint8_t d : digits) sum = (sum + d) % 10;
  return sum;
}

std::vector<uint8_t> parse_listops(std::string_view text) {
  std::vector<uint8_t> symbols;
  for (size_t i = 0; i < text.size();) {
    if (is_space(text[i])) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    if (text[i] != ']')
      while (end < text.size() && !is_space(text[end]) && text[end] != ']') ++end;
    symbols.push_back(symbol_of(text.substr(i, end - i)));
    i = end;
  }
  check_structure(symbols);
  return symbols;
}

int listops_value(std::span<const uint8_t> symbols) {
  for (uint8_t s : symbols)
    if (s >= kListopsSymbolCount) throw Error(fmt::format("symbol {}, wanted 0 to {}", s, kListopsSymbolCount - 1));
  check_structure(symbols);
  std::vector<uint8_t> values;                   // digits, and results of the operators already closed
  std::vector<std::pair<uint8_t, size_t>> open;  // operator, number of values before its arguments
  for (uint8_t s : symbols) {
    if (is_operator(s)) {
      open.emplace_back(s, values.size());
    } else if (s == listops_close) {
      const auto [op, first] = open.back();
      const int value = listops_apply(op, std::span(values).subspan(first));
      values.resize(first);
      values.push_back(uint8_t(value));
      open.pop_back();
    } else {
      values.push_back(s);
    }
  }
  return values.front();
}

int listops_value(std::string_view expression) { return listops_value(parse_listops(expression)); }

std::string listops_text(std::span<const uint8_t> symbols) {
  // An operator with k arguments and its bracket is k + 1 nested pairs, all of which open before the operator's name.
  std::vector<int64_t> pairs(symbols.size(), 0);
  std::vector<size_t> open;
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (!open.empty()) ++pairs[open.back()];
    if (is_operator(symbols[i])) open.push_back(i);
    if (symbols[i] == listops_close) open.pop_back();
  }
  const auto& names = listops_symbol_names();
  std::string text;
  int64_t depth = 0;
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (i > 0) text += ' ';
    for (int64_t k = 0; k < pairs[i]; ++k) text += "( ";
    text += names[symbols[i]];
    if (is_operator(symbols[i])) {
      ++depth;
      continue;
    }
    if (symbols[i] == listops_close) text += " )", --depth;  // the pair of the bracket itself
    if (depth > 0) text += " )";                             // the pair of this argument in the operator around it
  }
  return text;
}

Dataset read_listops(std::istream& in, const std::string& name) {
  DatasetBuilder data;
  Lines lines(in, name);
  bool header = false;
  for (std::string line; lines.next(line);) {
    while (line.ends_with(' ')) line.pop_back();
    try {
      if (header) append_line(line, data);
      else if (line != "Source\tTarget")
        throw Error(fmt::format("header '{}', wanted 'Source', a TAB and 'Target'", shown_bare(line)));
    } catch (const Error& e) {
      throw Error(fmt::format("{}: {}", lines.place(), e.what()));
    }
    header = true;
  }
  if (data.examples() == 0) throw Error(fmt::format("{}: no examples, wanted a header and at least one line", name));
  return data.finish(kind_named("listops"), name);
}

Dataset read_listops(const std::string& path) {
  need_regular(path, "a TSV file");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  std::vector<char> buffer(size_t(1) << 20);  // bytes; the files have lines of several thousand characters
  in.rdbuf()->pubsetbuf(buffer.data(), std::streamsize(buffer.size()));
  return read_listops(in, path);
}

std::string listops_path(const std::string& folder, std::string_view split) {
  if (split != "train" && split != "valid" && split != "test")
    throw Error(fmt::format("split '{}', wanted train, valid or test", split));
  return fmt::format("{}/basic_{}.tsv", folder, split == "valid" ? "val" : split);
}

}  // namespace selene::data
