// ListOps (Nangia and Bowman 2018) in the long form of the Long Range Arena (Tay et al. 2021): expressions, their
// values, and the reader of the official TSV files.
#pragma once
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"

namespace selene::data {

/// Raw symbols: digit d is d, then the four operators and the closing bracket.
enum ListopsSymbol : uint8_t { listops_min = 10, listops_max, listops_med, listops_sm, listops_close };
constexpr int kListopsSymbolCount = 15;

/// "0" ... "9", "[MIN", "[MAX", "[MED", "[SM", "]": the text of each raw symbol, in their order.
const std::vector<std::string>& listops_symbol_names();

/// Result of one operator on digits: MIN, MAX, MED (an even count: mean of the two middle values, rounded down),
/// SM (sum modulo 10). `digits` holds at least one digit and is reordered.
int listops_apply(uint8_t symbol, std::span<uint8_t> digits);

/// Symbols of one expression, as in the official files or as a person types it: parentheses count as spaces, and no
/// space is needed before `]`. Throws Error for an empty text, an unknown token or an expression that is not well
/// formed.
std::vector<uint8_t> parse_listops(std::string_view text);
/// Value, 0 to 9, of a well-formed expression. Throws Error for anything else.
int listops_value(std::span<const uint8_t> symbols);
/// The same from text: "[MAX 2 9 [MIN 4 7 ] 0 ]" is 9.
int listops_value(std::string_view expression);
/// The official rendering with full binary parentheses: "( ( ( [MAX 2 ) 9 ) ] )". `symbols` must be well formed.
std::string listops_text(std::span<const uint8_t> symbols);

/// Reads a file of the official form: header "Source TAB Target", then one expression and its label, 0 to 9, a line;
/// blanks at the end of a line and what data/io/lines.h leaves out do not count. Throws Error with file and line for
/// what data/io/lines.h refuses, a malformed line, a wrong header, an unknown token, a label that is not the
/// expression's value, and for a file without examples.
Dataset read_listops(const std::string& path);
/// The same from a stream; `name` stands for the path in messages.
Dataset read_listops(std::istream& in, const std::string& name);
/// Path of one part of a prepared folder or of the unpacked official archive; split is "train", "valid" or "test".
std::string listops_path(const std::string& folder, std::string_view split);

}  // namespace selene::data
