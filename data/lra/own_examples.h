// Examples that a person gives to a trained model: expressions, texts, pairs of texts, images.
#pragma once
#include <iosfwd>
#include <string>

#include "data/dataset.h"

namespace selene::data {

/// Reads examples of a kind from a file or stdin:
///  listops: one expression a line, whose value becomes the label; or the official TSV form.
///  text: one text a line; text after "negative TAB" or "positive TAB" has that label; no other TAB.
///  retrieval: two texts a line, a TAB between them; or the official form of five columns, whose label is taken.
///  image, pathfinder: one PNG file.
/// Without a label the example gets kNoLabel. `side`: pixels of an image's side, 0: any. Error with name and line for
/// anything else, such as a CR that ends no line.
Dataset read_own(const std::string& path, const Kind& kind, int64_t side);
/// The same from a stream of lines, for the kinds that are text; `name` stands in messages.
Dataset read_own(std::istream& in, const std::string& name, const Kind& kind);

/// What the rows of data/kinds.cpp are made of. add_*: one line to one example, Error without a place.
void add_text(std::string_view line, const Kind& kind, DatasetBuilder& data);
void add_pair(std::string_view line, const Kind& kind, DatasetBuilder& data);
void add_expression(std::string_view line, const Kind& kind, DatasetBuilder& data);
/// An example as a line: the expression; "image 32 x 32"; the printable part of its texts.
std::string expression_text(const Dataset& data, int64_t example);
std::string image_text(const Dataset& data, int64_t example);
std::string text_of_bytes(const Dataset& data, int64_t example);

}  // namespace selene::data
