// What selene-inspect says of prepared data: counts, lengths, and examples as a person wants to see them.
#pragma once
#include <cstdint>
#include <string>

namespace selene {

struct DataView {
  int64_t examples = 4, from = 0;  // how many are shown, and the first of them
  std::string png;                 // file for a contact sheet of images; empty: images as characters
  bool json = false;
};

/// Prints a summary of a prepared file and some of its examples.
void inspect_prepared(const std::string& path, const DataView& view);
/// Prints what dataset.json of a folder says, then each prepared split in it.
void inspect_data_folder(const std::string& folder, const DataView& view);

}  // namespace selene
