// Text as Unicode characters: data of kind `characters`. Characters and not bytes, so that bits per character mean
// the same in every script; what the training text lacks is one unknown symbol.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/prepared.h"

namespace selene::data {

/// The code points of UTF-8 text, without a byte order mark in front. Error, with `name` and the place, for an empty
/// text, for one that is not UTF-8, and for files of another form (compressed, UTF-16).
std::vector<int32_t> decode_text(std::string_view text, const std::string& name);

/// The different ones in ascending order: symbol 1 is the first, symbol 0 is every other character.
std::vector<int32_t> characters_of(const std::vector<std::vector<int32_t>>& texts);

/// A set with the columns `characters` i32, one row: the vocabulary; and `text`, a row of symbols for each text in
/// the narrowest type.
Dataset character_set(const std::string& name, const std::vector<int32_t>& characters,
                      const std::vector<std::vector<int32_t>>& texts);

/// For the table of kinds. check_characters: Error for symbols that the vocabulary does not have.
void check_characters(const Dataset& data);
std::string character_text(const Dataset& data, int64_t example);

struct CharactersPlan {
  std::string folder;                    // to make
  std::vector<std::string> files;        // training texts
  std::vector<std::string> valid, test;  // files of the other splits; empty: the last parts of the training texts
  double valid_share = 0.05, test_share = 0.05;  // of every training text; the test part is its end
  bool force = false;
};
/// Makes plan.folder through prepare_folder, whose errors it has. Error for shares that leave no character to a
/// split.
Prepared prepare_characters(const CharactersPlan& plan, const Watch& watch = {});

}  // namespace selene::data
