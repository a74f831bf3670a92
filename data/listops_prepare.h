// Makes a folder of ListOps data: basic_train.tsv, basic_val.tsv, basic_test.tsv in the official form, and
// dataset.json.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "data/listops_generator.h"

namespace selene::data {

struct ListopsPlan {
  std::string folder;
  ListopsOptions options;
  int64_t train = 96000, valid = 2000, test = 2000;  // examples
  int threads = 1;
  bool force = false;  // replace a data set made with other options
};

enum class Prepared { made, already_there };

/// Writes the data set into a temporary folder beside plan.folder, which is renamed at the end: plan.folder is
/// complete or absent. A data set with the same options is left alone; throws Error for one with other options
/// (unless force), for a folder that holds anything else, and for whatever cannot be written. `watch` as in
/// generate_listops; if it throws, the temporary folder is removed. Leftovers of killed runs for the same folder are
/// removed first.
Prepared prepare_listops(const ListopsPlan& plan, const std::function<void(const ListopsProgress&)>& watch = {});

}  // namespace selene::data
