// From raw symbols to the ids that a model sees: the frames of Luna's release (spec: Ma et al. 2021, fairseq's
// dictionary) and of the Long Range Arena.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"

namespace selene::data {

enum class Frame { luna, lra };
/// "luna" or "lra".
const char* name_of(Frame frame);
/// Throws Error for any other name.
Frame frame_named(std::string_view name);

/// What a model knows of its training set: which id each raw symbol has, and the longest row. A plain value; goes
/// into checkpoints as JSON.
///  luna: 0 <s>, 1 padding, 2 </s>, 3 unknown, then the K symbols of the training set by falling frequency (ties
///        alphabetical), unused ids up to a multiple of 8, last <CLS>: size = 8 ceil((4 + K) / 8) + 1. An example is
///        <CLS> (unless cls is false), its symbols, </s>, then cut to max_length.
///  lra:  0 padding, 1 + raw symbol, last unknown: size = symbols + 2. An example is its symbols, cut to max_length.
struct Vocabulary {
  Frame frame = Frame::luna;
  bool cls = true;                        // luna: put <CLS> in front
  std::vector<std::string> symbol_names;  // [symbols] text of each raw symbol
  std::vector<int32_t> ids;               // [symbols] id of each raw symbol
  int32_t pad = 0;
  int32_t unknown = 0;
  int32_t eos = -1;     // -1: this frame has none
  int32_t cls_id = -1;  // -1: this frame has none
  int32_t size = 0;     // rows of the embedding table
  int64_t longest = 0;  // symbols of the training set's longest row: an image's pixels; 0: not known

  bool operator==(const Vocabulary&) const = default;
  /// Tokens of a row of `length` symbols before it is cut: CLS and EOS included.
  int64_t framed_length(int64_t length) const { return length + (frame == Frame::luna ? 1 + cls : 0); }
  /// The ids of one row, at most max_length (>= 1) of them. Throws Error for a symbol that is not in symbol_names.
  std::vector<int32_t> frame_row(std::span<const int32_t> symbols, int64_t max_length) const;
  /// Examples of which at least one row is longer than max_length tokens, so that frame_row cuts it.
  int64_t count_cut(const Dataset& data, int64_t max_length) const;
  std::string to_json() const;
};

/// The vocabulary of a training set, whose symbols are known to be of its kind.
Vocabulary build_vocabulary(const Dataset& train, Frame frame, bool cls = true);
/// Inverse of to_json. Throws Error, beginning with "vocabulary:", for a text that no vocabulary gives.
Vocabulary vocabulary_from_json(const std::string& text);

}  // namespace selene::data
