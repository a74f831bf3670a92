// Makes a folder of prepared ListOps data (data/prepared.h), from the generator or from the official TSV files.
#pragma once
#include <cstdint>
#include <string>

#include "data/lra/listops/generator.h"
#include "data/prepared.h"

namespace selene::data {

struct ListopsPlan {
  std::string folder;
  std::string from = {};  // folder of the official basic_train.tsv, basic_val.tsv, basic_test.tsv; empty: generate
  ListopsOptions options;
  int64_t train = 96000, valid = 2000, test = 2000;  // examples; of official files the first so many, 0: all
  int threads = 1;
  bool tsv = false;    // write the official TSV files beside the prepared ones
  bool force = false;  // make it anew in any case
};

/// Makes the data set as prepare_folder does. `watch` sees examples and draws. Error for options out of range, and
/// whatever generate_listops, read_listops and prepare_folder refuse.
Prepared prepare_listops(const ListopsPlan& plan, const Watch& watch = {});

}  // namespace selene::data
