// Folders of prepared data that are complete or absent.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/durable_file.h"
#include "data/prepared.h"
#include "data/regular_file.h"
#include "kernels/error.h"

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace selene::data {
namespace {

const char* const description = "dataset.json";
const std::string partial_mark = ".partial-";

/// What decides the content of the data set.
ordered_json key_of(const FolderPlan& plan) {
  return {{"kind", plan.kind}, {"format", 2}, {"options", ordered_json::parse(plan.options)}};
}

/// Whether a file or folder of a data set is there and, if it is prepared data, as it was written.
bool is_whole(const fs::path& path) {
  if (path.extension() != ".safetensors") return fs::exists(path);
  try {
    open_prepared(path.string(), path.stem().string());
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Whether `folder` holds a data set with the plan's options. Throws Error if it holds anything that must not be
/// replaced.
bool already_there(const FolderPlan& plan, const fs::path& folder) {
  if (!fs::exists(folder)) return false;
  if (!fs::is_directory(folder)) throw Error(fmt::format("{}: is a file, wanted a new folder", folder.string()));
  if (fs::is_empty(folder)) return false;
  const std::string facts = (folder / description).string();
  const std::string text =
      fs::exists(facts) ? read_regular_file(facts, largest_description, "a data set's facts") : "";
  const ordered_json found = ordered_json::parse(text, nullptr, false);
  if (!found.is_object() || !found.contains("kind") || !found.contains("options"))
    throw Error(fmt::format("{}: holds files but no valid {}, wanted prepared data or a new or empty folder",
                            folder.string(), description));
  if (found["kind"] != plan.kind)
    throw Error(fmt::format("{}: holds data of kind {}, wanted {} or a new folder", folder.string(),
                            found["kind"].dump(), plan.kind));
  bool same = !plan.force;
  const ordered_json wanted = key_of(plan);
  for (const auto& [name, value] : wanted.items()) same = same && found.value(name, ordered_json()) == value;
  const ordered_json files = found.value("files", ordered_json::array());
  for (const ordered_json& file : files) same = same && is_whole(folder / file.get<std::string>());
  if (same) return true;
  if (!plan.force)
    throw Error(
        fmt::format("{}: holds a {} data set made with other options, or not all of it (see {}); --force replaces it",
                    folder.string(), plan.kind, description));
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    if (file != description && std::find(files.begin(), files.end(), file) == files.end())
      throw Error(
          fmt::format("{}: does not belong to the data set; move it away before --force", entry.path().string()));
  }
  return false;
}

/// Removes what killed runs for the same folder left: NAME.partial-PID that no process holds.
void remove_killed_runs(const fs::path& folder) {
  const std::string start = folder.filename().string() + partial_mark;
  for (const auto& entry : fs::directory_iterator(folder.parent_path()))
    if (entry.path().filename().string().starts_with(start) && FolderLock(entry.path()).held())
      fs::remove_all(entry.path());
}

fs::path made(const fs::path& folder) {
  fs::create_directory(folder);
  return folder;
}

/// The temporary folder; gone at the end unless it was moved to its final place.
struct Partial {
  explicit Partial(const fs::path& folder) : path(made(folder)), lock(path) {}
  fs::path path;
  FolderLock lock;
  ~Partial() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
  /// replace: there was a data set that this one takes the place of.
  void move_to(const fs::path& folder, bool replace) {
    sync_folder(path.string());
    const fs::path old = path.string() + "-old";
    if (!replace && fs::exists(folder) && !fs::is_empty(folder))
      throw Error(
          fmt::format("{}: another process has made it meanwhile; nothing was kept of this one", folder.string()));
    if (replace) fs::rename(folder, old);
    fs::rename(path, folder);
    path.clear();
    if (replace) fs::remove_all(old);
    sync_folder(folder.parent_path().string());
  }
};

/// dataset.json: the key, the names of the files and folders beside it, what is in the splits, and what `write` said.
void write_description(const FolderPlan& plan, const fs::path& folder, const std::string& facts) {
  ordered_json j = key_of(plan);
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path().filename().string());
  std::sort(files.begin(), files.end());
  j["files"] = files;
  for (const char* split : {"train", "valid", "test"})
    if (const std::string path = prepared_path(folder.string(), split); fs::exists(path))
      j["splits"][split] = ordered_json::parse(facts_json(open_prepared(path, split)));
  j.update(ordered_json::parse(facts));
  write_durably((folder / description).string(), j.dump(2) + "\n");
}

}  // namespace

std::string facts_json(const Dataset& d) {
  std::vector<int64_t> counts(d.kind->class_names.size(), 0), lengths;
  for (const int32_t label : d.labels) ++counts[size_t(label)];
  for (size_t r = 1; r < d.offsets.size(); ++r) lengths.push_back(d.offsets[r] - d.offsets[r - 1]);
  std::sort(lengths.begin(), lengths.end());
  const auto at = [&](double share) { return lengths[size_t(share * double(lengths.size() - 1))]; };
  ordered_json classes;
  for (size_t c = 0; c < counts.size(); ++c) classes[d.kind->class_names[c]] = counts[c];
  return ordered_json{{"examples", d.examples()},
                      {"classes", classes},
                      {"length", {{"min", at(0)}, {"median", at(0.5)}, {"95 %", at(0.95)}, {"max", at(1)}}}}
      .dump();
}

Prepared prepare_folder(const FolderPlan& plan, const std::function<std::string(const std::string& folder)>& write) {
  if (plan.folder.empty()) throw Error(fmt::format("{}: no output folder", plan.kind));
  try {
    fs::path folder = fs::weakly_canonical(fs::absolute(plan.folder));
    if (folder.filename().empty()) folder = folder.parent_path();
    if (already_there(plan, folder)) return Prepared::already_there;
    const bool replace = fs::exists(folder) && !fs::is_empty(folder);
    fs::create_directories(folder.parent_path());
    remove_killed_runs(folder);
    Partial partial(folder.string() + partial_mark + std::to_string(getpid()));
    write_description(plan, partial.path, write(partial.path.string()));
    partial.move_to(folder, replace);
    return Prepared::made;
  } catch (const fs::filesystem_error& e) {
    throw Error(fmt::format("{}: {}", e.path1().empty() ? plan.folder : e.path1().string(), e.code().message()));
  }
}

}  // namespace selene::data
