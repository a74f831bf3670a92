// Pairs of articles from the ACL Anthology Network (Radev et al. 2013): the Retrieval task of the Long Range Arena
// (Tay et al. 2021), read from its files new_aan_pairs.{train,eval,test}.tsv.
#pragma once
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>

#include "data/dataset.h"
#include "data/prepared.h"

namespace selene::data {

/// Bytes of a text that the Long Range Arena's models see.
constexpr int64_t kAanMaxBytes = 4000;

/// Reads a file of the official form: no header, no quoting, and five columns a line with a TAB between two of
/// them: label (0.0 or 1.0), two ids, two texts. The texts stand there as Python prints byte strings (b'...' with
/// \n and \xNN) and are taken as they stand, escapes and all, as the Long Range Arena takes them. Row 0 of an
/// example is the first `max_bytes` bytes of the first text, row 1 those of the second; raw symbol = byte; class 1
/// is related. Lines are those of data/io/lines.h. `watch` (may be empty) hears of MiB, of how many, and of pairs.
/// Throws Error with file and line for another number of columns, another label and an empty text, and for a file
/// without examples.
Dataset read_aan(const std::string& path, int64_t max_bytes = kAanMaxBytes, const Watch& watch = {});
/// The same from a stream of `size` bytes (0: not known); `name` stands for the path in messages.
Dataset read_aan(std::istream& in, const std::string& name, int64_t max_bytes = kAanMaxBytes, const Watch& watch = {},
                 int64_t size = 0);
/// Adds the pair of one line, which may still end in CR. Error, without a place, for what read_aan refuses.
void append_aan(std::string_view line, int64_t max_bytes, DatasetBuilder& builder);
/// Path of one part in the folder tsv_data of the unpacked archive; split is "train", "valid" or "test".
std::string aan_path(const std::string& folder, std::string_view split);

}  // namespace selene::data
