// Prepared data: a folder with one file per split, and dataset.json, which says what is in it. A file is a
// safetensors file with the columns of the kind (data/dataset.h): tensors NAME and, for a ragged one, NAME.offsets
// i64[rows + 1], the wide types first, so that each is aligned in memory; and in its metadata the format, the kind,
// the split, the options that the data was made with, and a checksum of the whole file.
#pragma once
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "data/dataset.h"
#include "data/io/json.h"
#include "data/io/safetensors.h"

namespace selene::data {

/// Path of a split's file: split is "train", "valid" or "test"; Error for another name.
std::string prepared_path(const std::string& folder, std::string_view split);

/// Writes one split, complete or not at all. `options`: JSON text of what the set was made with.
void write_prepared(const std::string& folder, std::string_view split, const Dataset& data,
                    const std::string& options);
/// Reads a file into memory. Error (file, what was found, what was wanted) for another format, an unknown kind,
/// tensors that do not fit together, symbols or labels that the kind does not have, a wrong checksum, and, where
/// `split` is named, for the file of another one.
Dataset open_prepared(const std::string& path, std::string_view split = "");
/// Whether a file says that it is prepared data, of whatever version.
bool is_prepared(const SafetensorsFile& file);

/// What a person wants to know of a data set, as a JSON object: examples, examples of each class, symbols of its rows
/// (shortest, lower median, 95 of 100, longest).
std::string facts_json(const Dataset& data);

/// How many of the `available` examples a split gets: `wanted`, or all of them for 0. Error, with `source`, for more
/// than there are.
int64_t split_count(const std::string& source, std::string_view split, int64_t wanted, int64_t available);

/// Error, with the data's name, where it is of another kind; `owner` wants this one: "the recipe's data.kind".
void need_kind(const Dataset& data, const Kind& kind, const char* owner);

/// A split of a recipe's data: the prepared file or, for listops, the official TSV file. Error where neither is
/// there, or where the prepared data is of another kind.
Dataset read_split(const std::string& folder, const Kind& kind, std::string_view split);
/// Whether read_split would find a file.
bool has_split(const std::string& folder, const Kind& kind, std::string_view split);

enum class Prepared { made, already_there };

/// What decides the content of a folder of prepared data, and where it goes.
struct FolderPlan {
  std::string folder;
  std::string kind;       // of the table
  std::string options;    // JSON object: two plans with the same kind and options give the same files
  bool force = false;     // make it anew in any case, in the place of one made with other options too
  std::string from = {};  // the folder that is read, if one is
};

/// Tells how far a long job is: units done, units in all (0: not known), a note. What it throws ends the job.
using Watch = std::function<void(int64_t done, int64_t total, const std::string& note)>;

/// What a folder's dataset.json says.
struct Description {
  Json json;                    // all of it
  std::string kind;             // of the data
  std::set<std::string> files;  // beside it
};
/// Reads folder/dataset.json. Error (path, what was found, what was wanted) for what prepare_folder does not write:
/// no object, no kind or options, files that are not in the folder.
Description read_description(const std::string& folder);

/// Runs `write` on a temporary folder inside plan.folder, whose files get their place at the end, dataset.json last:
/// until then need_whole() refuses the folder, or finds the older set in it that is being replaced. plan.folder may
/// be there, empty: a mount point, a link to a folder. `write` returns a JSON object of further facts for
/// dataset.json, beside facts_json of every split. A data set with the same options is left alone (unless
/// plan.force). Throws Error for one with other options (likewise), for a folder that holds anything else, that holds
/// or is in plan.from, or in which another process is at work, and for whatever cannot be written. If `write` throws,
/// all is as before. What a killed run left there is put right first.
Prepared prepare_folder(const FolderPlan& plan, const std::function<std::string(const std::string& folder)>& write);
/// Error where selene-prepare has begun to make the data in a folder and did not come to its end.
void need_whole(const std::string& folder);

}  // namespace selene::data
