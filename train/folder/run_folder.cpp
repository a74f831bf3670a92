#include "train/folder/run_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "data/io/durable_file.h"
#include "data/io/json.h"
#include "kernels/error.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;

/// What the checkpoint's state says of the best one; nothing where it says nothing.
std::optional<int64_t> recorded_best(const Checkpoint& checkpoint) {
  const auto text = checkpoint.file.metadata().find("state");
  if (text == checkpoint.file.metadata().end()) return std::nullopt;
  try {
    const data::Json state = data::parse_json(text->second, "state");
    if (!state.get<bool>("has_best")) return std::nullopt;
    const int64_t update = state.get<int64_t>("best_update");
    return update >= 0 ? std::optional(update) : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// Removes folder/name if it is a link of either kind.
void remove_link(const std::string& folder, const char* name) {
  if (data::link_target(folder, name).empty()) return;
  std::error_code error;
  fs::remove(fs::path(folder) / name, error);
  if (error) throw Error(fmt::format("{}/{}: cannot be removed: {}", folder, name, error.message()));
}

}  // namespace

std::string checkpoint_folder(const std::string& path) {
  std::error_code none;
  const fs::path below = fs::path(path) / "checkpoints";
  if (fs::is_directory(below, none)) return below.string();
  return fs::is_directory(path, none) && !list_checkpoints(path).empty() ? path : "";
}

BestCheckpoint best_checkpoint(const std::string& folder, int64_t recorded) {
  try {
    return {open_checkpoint(CheckpointName{recorded, (fs::path(folder) / checkpoint_name(recorded)).string()}), ""};
  } catch (const Error& error) {
    if (auto copy = copied_checkpoint(folder, "best"); copy && copy->update == recorded) return {std::move(copy), ""};
    return {newest_valid_checkpoint(folder).found, error.what()};
  }
}

RunCheckpoints find_checkpoints(const std::string& folder) {
  NewestCheckpoint newest = newest_valid_checkpoint(folder);
  RunCheckpoints all{newest.found, std::move(newest.refused), false, newest.found, ""};
  if (!all.newest) return all;
  const std::optional<int64_t> recorded = recorded_best(*all.newest);
  all.validated = recorded.has_value();
  if (!recorded || *recorded == all.newest->update) return all;
  BestCheckpoint best = best_checkpoint(folder, *recorded);
  all.best = std::move(best.found), all.lost = std::move(best.lost);
  return all;
}

MeantFile meant_file(const std::string& given) {
  std::error_code none;
  const fs::path path(given), parent = path.has_parent_path() ? path.parent_path() : ".";
  std::string folder = checkpoint_folder(given);
  const bool last = folder.empty() && path.filename() == "last";
  const bool link = last || (folder.empty() && path.filename() == "best");
  if (link) folder = parent.string();
  const RunCheckpoints all = find_checkpoints(folder);
  MeantFile meant{linked_file(given), {}};
  if (!all.newest) {
    if (!link && fs::is_directory(path, none))
      throw Error(fmt::format("{}: has no checkpoint{}, wanted a checkpoint or the folder of a run that has one",
                              given, all.refused.empty() ? " yet" : " that verifies"));
    return meant;
  }
  for (const RefusedCheckpoint& r : all.refused)
    meant.told.push_back(fmt::format("checkpoint refused: {}", r.reason));
  meant.path = last ? all.newest->file.path() : all.best->file.path();
  if (last) return meant;
  if (!all.lost.empty())
    meant.told.push_back(
        fmt::format("{}; it was the best checkpoint; {}, the newest one, takes its place", all.lost, meant.path));
  if (!all.validated)
    meant.told.push_back(
        fmt::format("{}: has no best checkpoint before the first validation; {}, the newest one, takes "
                    "its place",
                    folder, meant.path));
  return meant;
}

std::vector<std::string> put_links_right(const std::string& folder, std::optional<int64_t> last,
                                         std::optional<int64_t> best) {
  std::vector<std::string> told;
  for (const auto& [name, update] : {std::pair{"last", last}, {"best", best}}) try {
      std::error_code none;
      const std::string target = update ? checkpoint_name(*update) : "";
      if (!update || !fs::exists(fs::path(folder) / target, none)) {
        remove_link(folder, name);
      } else if (data::link_target(folder, name) != target) {
        const std::string why = data::replace_link(folder, name, target);
        const std::string line = fmt::format(
            "{}: symbolic links cannot be made here ({}); last and best are small files that name the "
            "checkpoint",
            folder, why);
        if (!why.empty() && (told.empty() || told.back() != line)) told.push_back(line);
      }
    } catch (const Error& error) {
      told.push_back(fmt::format("{}; the checkpoints' own record decides", error.what()));
    }
  return told;
}

std::vector<std::string> remove_old(const std::string& folder, int64_t keep, int64_t last,
                                    std::optional<int64_t> best) {
  std::vector<std::string> told;
  if (keep <= 0) return told;
  const std::vector<CheckpointName> all = list_checkpoints(folder);
  for (size_t i = size_t(keep); i < all.size(); ++i) {
    if (all[i].update == last || all[i].update == best) continue;
    std::error_code error;
    fs::remove(all[i].path, error);
    if (error) told.push_back(fmt::format("{}: old checkpoint cannot be removed: {}", all[i].path, error.message()));
  }
  return told;
}

}  // namespace selene::train
