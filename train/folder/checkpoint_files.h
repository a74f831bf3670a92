// Checkpoints on disk: one safetensors file each, complete or absent, verified by a checksum. Knows names, shapes and
// bytes only; what the tensors and the metadata mean is the trainer's business.
//
// Format 2: a safetensors file whose __metadata__ has `format_version` ("2"), `update` (decimal), `checksum` and the
// caller's own strings. The checksum is data/io/checksum.h's.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/io/safetensors.h"

namespace selene::train {

/// A checkpoint that was found whole.
struct Checkpoint {
  data::SafetensorsFile file;
  int64_t update = 0;

  /// The caller's string of that name. Error if the file has none.
  const std::string& metadata(const std::string& key) const;
};

/// "update-00005000.safetensors"
std::string checkpoint_name(int64_t update);

/// Writes folder/update-XXXXXXXX.safetensors, durably, and returns its path. The folder is created if it is missing.
/// The tensors must not change during the call. Error (path, reason) on a full disk, an unwritable folder, metadata
/// with one of the format's own keys; an older file of that name is then untouched.
std::string write_checkpoint(const std::string& folder, int64_t update, std::span<const data::TensorBytes> tensors,
                             const data::Metadata& metadata);

/// The file that a path means: where links are small files (data/io/durable_file.h), the one that `path` names.
std::string linked_file(const std::string& path);

/// Opens and verifies a checkpoint (or a link to one, of either kind). Error: not a safetensors file, no checkpoint
/// of ours, other format version, wrong checksum.
Checkpoint open_checkpoint(const std::string& path);

/// True if the file says that it is a checkpoint of ours, of whatever version: has `format_version`, or a `checksum`
/// and is no prepared data.
bool is_checkpoint(const data::SafetensorsFile& file);

/// Checks version and checksum; returns the update. Errors as open_checkpoint.
int64_t verify_checkpoint(const data::SafetensorsFile& file);

struct CheckpointName {
  int64_t update = 0;
  std::string path;
};

/// open_checkpoint of a listed file. Error also where it holds another update than its name says.
Checkpoint open_checkpoint(const CheckpointName& name);

/// The files of a folder that are named like checkpoints, newest (largest update) first. None if there is no such
/// folder.
std::vector<CheckpointName> list_checkpoints(const std::string& folder);

struct RefusedCheckpoint {
  std::string path, reason;
};

struct NewestCheckpoint {
  std::optional<Checkpoint> found;         // none: there is no checkpoint, or none that verifies
  std::vector<RefusedCheckpoint> refused;  // newer ones that did not verify, newest first
};

/// The checkpoint that stands under the name of a link itself, as copies have it that follow links and leave out the
/// rest; none where that is a link or no whole checkpoint.
std::optional<Checkpoint> copied_checkpoint(const std::string& folder, const char* name);

/// Tries the folder's checkpoints from newest to oldest and takes the first that verifies; without any, `last`
/// itself.
NewestCheckpoint newest_valid_checkpoint(const std::string& folder);

}  // namespace selene::train
