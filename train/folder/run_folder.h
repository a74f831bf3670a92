// The folder of a run: which of its checkpoints is the newest, which the best. A checkpoint's own state says which
// update was the best until then; the links `last` and `best` follow that and decide nothing.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "train/folder/checkpoint_files.h"

namespace selene::train {

struct RunCheckpoints {
  std::optional<Checkpoint> newest;        // that verifies; none: there is none
  std::vector<RefusedCheckpoint> refused;  // newer ones that do not, newest first
  bool validated = false;                  // `newest` records a best one
  std::optional<Checkpoint> best;          // that one or, where it is gone or damaged or none is recorded, `newest`
  std::string lost;                        // why the recorded one could not be taken; empty otherwise
};

/// The folder of checkpoints that `path` means, a run's folder or that folder itself; empty if it is neither.
std::string checkpoint_folder(const std::string& path);

/// What a folder's checkpoints say of themselves. Nothing where the folder does not exist.
RunCheckpoints find_checkpoints(const std::string& folder);

/// The checkpoint of update `recorded`, or the newest that verifies, with the reason in `lost`.
struct BestCheckpoint {
  std::optional<Checkpoint> found;
  std::string lost;
};
BestCheckpoint best_checkpoint(const std::string& folder, int64_t recorded);

/// The file that a person means by a path, and what they should know of it, a line each. A run's folder, or that of
/// its checkpoints, means the best one, and so does `best` in that folder, `last` the newest: what the newest
/// records, not what the links say. Before the first validation the newest stands for the best one. Any other path
/// means itself. Error where a folder has no checkpoint that verifies.
struct MeantFile {
  std::string path;
  std::vector<std::string> told;
};
MeantFile meant_file(const std::string& path);

/// Makes `last` and `best` name the checkpoints of these updates; a link is removed where there is no such file. It
/// changes nothing that is right already. Returns what a person should know, a line each: where links are small
/// files, and what could not be changed, which stops no run.
std::vector<std::string> put_links_right(const std::string& folder, std::optional<int64_t> last,
                                         std::optional<int64_t> best);

/// Removes all but the `keep` newest checkpoints (0: nothing), never those of `last` and `best`. Returns what could
/// not be removed, a line each.
std::vector<std::string> remove_old(const std::string& folder, int64_t keep, int64_t last,
                                    std::optional<int64_t> best);

}  // namespace selene::train
