// The Large Movie Review Dataset (Maas et al. 2011, aclImdb_v1) as bytes: the Text task of the Long Range Arena
// (Tay et al. 2021).
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "data/dataset.h"
#include "data/prepared.h"

namespace selene::data {

struct Imdb {
  Dataset reviews;      // kind "text", one row a review; raw symbol = byte
  int64_t skipped = 0;  // files without text
};

/// Reads {part}/neg and {part}/pos of the unpacked archive's folder aclImdb; part is "train" or "test", anything
/// else there (unsup, urls_*.txt) is not looked at. Order: neg before pos, in each by the number in the file's
/// name. A review is the bytes of ID_RATING.txt without ASCII white space at both ends, as TensorFlow Datasets
/// gives it to the Long Range Arena; <br /> and whatever is not ASCII stay. Class 0 is neg, 1 pos. Files without
/// text are skipped and counted. `watch` (may be empty) hears of reviews. Error for a missing or empty folder, a
/// name of another form, and a rating that contradicts its folder (neg has 1 to 4, pos 7 to 10).
Imdb read_imdb(const std::string& folder, std::string_view part, const Watch& watch = {});

}  // namespace selene::data
