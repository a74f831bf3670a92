// Folders of prepared data that are complete or known not to be.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "data/io/checksum.h"
#include "data/io/clutter.h"
#include "data/io/durable_file.h"
#include "data/io/json.h"
#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "data/io/stop.h"
#include "data/prepared.h"
#include "kernels/error.h"

namespace fs = std::filesystem;

namespace selene::data {
namespace {

const char* const kDescription = "dataset.json";
constexpr uint64_t kLargestDescription = uint64_t(1) << 27;  // bytes
// In the folder itself: its parent may not be writable, or another file system.
const char* const kPartialName = ".selene-partial";
const char* const kReplaced = "replaced.json";  // in there: the description of the set that is being replaced

/// What tells that the files of a folder are others than before: their number, bytes and latest time. What is made
/// below it does not count.
std::string state_of(const std::string& from, const fs::path& made) {
  int64_t files = 0, bytes = 0;
  fs::file_time_type latest = fs::file_time_type::min();
  for (auto it = fs::recursive_directory_iterator(from); it != fs::recursive_directory_iterator(); ++it) {
    check_stop();
    const bool clutter = is_clutter(it->path().filename().string());
    if (it->is_directory() &&
        (clutter || fs::exists(it->path() / kDescription) || fs::weakly_canonical(it->path()) == made))
      it.disable_recursion_pending();
    if (!it->is_regular_file() || clutter) continue;
    ++files, bytes += int64_t(it->file_size()), latest = std::max(latest, it->last_write_time());
  }
  return fmt::format("{} files, {} bytes, {}", files, bytes, latest.time_since_epoch().count());
}

/// What decides the content of the data set.
Json key_of(const FolderPlan& plan, const fs::path& folder) {
  Json key{{"kind", plan.kind}, {"format", 3}, {"options", parse_json(plan.options, "options")}};
  if (fs::is_directory(plan.from)) key.set("read_from", state_of(plan.from, folder));
  return key;
}

/// Whether a file or folder of a data set is there and, if it is prepared data, as it was written.
bool is_whole(const fs::path& path) {
  check_stop();
  if (path.extension() != ".safetensors") return fs::exists(path);
  try {
    open_prepared(path.string(), path.stem().string());
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// What a description says. Error for one that prepare_folder does not write.
Description described_in(const fs::path& file) {
  Description d;
  d.json = parse_json(read_regular_file(file.string(), kLargestDescription, "a data set's facts"), file.string());
  try {
    d.kind = d.json.get<std::string>("kind");
    if (!d.json.at("options").members()) throw Error("its \"options\" are no object");
    if (!d.json.find("files")) return d;
    for (const Json& name : d.json.get<Json::List>("files")) {
      const std::string* text = name.text();
      // None may lead out of the folder.
      if (!text || text->empty() || *text == "." || *text == ".." || text->find('/') != text->npos ||
          text->find('\0') != text->npos)
        throw Error(fmt::format("its files name {}, wanted names in the same folder", shown_bare(name.dump())));
      d.files.insert(*text);
    }
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", file.string(), e.what()));
  }
  return d;
}

/// The names of the files and folders that a description lists; none where it is not there.
std::set<std::string> listed_in(const fs::path& file) {
  return fs::exists(file) ? described_in(file).files : std::set<std::string>();
}

/// What is in a folder, beside what is being made there and what operating systems leave everywhere.
std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    if (const std::string name = entry.path().filename().string(); name != kPartialName && !is_clutter(name))
      names.insert(name);
  return names;
}

/// Whether `folder` holds a data set with the plan's options. Throws Error if it holds anything that must not be
/// replaced.
bool already_there(const FolderPlan& plan, const fs::path& folder) {
  const std::set<std::string> there = names_in(folder);
  if (there.empty()) return false;
  if (!fs::exists(folder / kDescription))
    throw Error(fmt::format("{}: holds files but no {}, wanted prepared data or a new or empty folder",
                            folder.string(), kDescription));
  Description found;
  try {
    found = described_in(folder / kDescription);
  } catch (const Error& e) {
    throw Error(fmt::format("{}; what belongs to the data set is not known: remove {}, or give another folder",
                            e.what(), folder.string()));
  }
  if (found.kind != plan.kind)
    throw Error(fmt::format("{}: holds data of kind {}, wanted {} or a new folder", folder.string(),
                            shown(found.kind), plan.kind));
  const Json wanted = key_of(plan, folder);
  bool same = !plan.force;
  for (const auto& [name, value] : *wanted.members()) {
    const Json* known = found.json.find(name);
    same = same && known && *known == value;
  }
  for (const std::string& file : found.files) same = same && is_whole(folder / file);
  if (same) return true;
  const Json *format = found.json.find("format"), *now = wanted.find("format");
  if (!plan.force && format && !(*format == *now))
    throw Error(fmt::format("{}: holds a {} data set of format {}, wanted {}; --force makes it anew", folder.string(),
                            plan.kind, format->dump(), now->dump()));
  if (!plan.force)
    throw Error(fmt::format(
        "{}: holds a {} data set made with other options or from other files, or not all of it (see {}); --force "
        "replaces it",
        folder.string(), plan.kind, kDescription));
  for (const std::string& name : there)
    if (name != kDescription && !found.files.contains(name))
      throw Error(
          fmt::format("{}: does not belong to the data set; move it away before --force", (folder / name).string()));
  return false;
}

/// Gives a data set that is whole in the temporary folder its place. Killed on the way, it goes on when it is called
/// again: what has its place already is no longer in the temporary folder, and the description comes last.
void move_to_place(const fs::path& folder) {
  const fs::path partial = folder / kPartialName;
  const std::set<std::string> old = listed_in(partial / kReplaced), now = listed_in(partial / kDescription);
  for (const std::string& name : names_in(folder))
    if (old.contains(name) && !now.contains(name)) fs::remove_all(folder / name);
  for (const std::string& name : names_in(partial)) {
    if (name == kDescription || name == kReplaced) continue;
    fs::remove_all(folder / name);
    fs::rename(partial / name, folder / name);
  }
  sync_folder(folder.string());
  fs::rename(partial / kDescription, folder / kDescription);
  fs::remove_all(partial);
  sync_folder(folder.string());
}

/// Ends what a killed run has begun: a set that was whole and on its way gets its place, anything less is removed.
void end_killed_run(const fs::path& folder) {
  const fs::path partial = folder / kPartialName;
  if (fs::exists(partial / kDescription) && !fs::exists(folder / kDescription)) move_to_place(folder);
  else fs::remove_all(partial);
}

/// The folder to fill, and the temporary one in it; both are as before at the end unless keep() was called.
class Partial {
 public:
  explicit Partial(const fs::path& folder) : folder_(folder), is_new_(fs::create_directories(folder)), lock_(folder) {
    if (lock_.taken())
      throw Error(fmt::format("{}: another selene-prepare is at work in it; wait for its end", folder.string()));
    end_killed_run(folder);
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;
  ~Partial() {
    std::error_code ignored;
    if (!made_.empty()) fs::remove_all(made_, ignored);
    if (is_new_) fs::remove(folder_, ignored);  // does nothing where it is not empty
  }
  fs::path make() {
    fs::create_directory(made_ = folder_ / kPartialName);
    return made_;
  }
  void keep() { made_.clear(); }
  /// Whether the folder was made for this.
  bool is_new() const { return is_new_; }

 private:
  fs::path folder_, made_;
  bool is_new_;
  FolderLock lock_;
};

/// The folder of a plan without links and "..". Error where nothing can be made there.
fs::path place_of(const FolderPlan& plan) {
  if (plan.folder.empty()) throw Error(fmt::format("{}: no output folder", plan.kind));
  fs::path folder = fs::weakly_canonical(fs::absolute(plan.folder));
  if (folder.filename().empty()) folder = folder.parent_path();
  if (fs::is_symlink(folder))
    throw Error(
        fmt::format("{}: is a link to {}, which is not there", plan.folder, fs::read_symlink(folder).string()));
  if (fs::exists(folder) && !fs::is_directory(folder))
    throw Error(fmt::format("{}: is a file, wanted a new folder", folder.string()));
  if (plan.from.empty()) return folder;
  need_whole(plan.from);
  const fs::path from = fs::weakly_canonical(fs::absolute(plan.from));
  if (std::mismatch(folder.begin(), folder.end(), from.begin(), from.end()).first == folder.end())
    throw Error(fmt::format("{}: holds the files that are to be read ({}); give another folder for --out",
                            plan.folder, plan.from));
  return folder;
}

/// dataset.json: the key, the names of the files and folders beside it, what is in the splits, and what `write` said.
void write_description(const FolderPlan& plan, const fs::path& folder, const std::string& facts) {
  Json j = key_of(plan, folder.parent_path()), splits;
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path().filename().string());
  std::sort(files.begin(), files.end());
  j.set("files", files);
  for (const char* split : {"train", "valid", "test"}) {
    const std::string path = prepared_path(folder.string(), split);
    if (!fs::exists(path)) continue;
    const Dataset data = open_prepared(path, split);
    if (metadata_string(*data.file, "options") != plan.options)  // possible where the file system has no locks
      throw Error(fmt::format("{}: another process has written it meanwhile", path));
    splits.set(split, parse_json(facts_json(data), "facts"));
  }
  if (!splits.is_null()) j.set("splits", splits);
  j.update(parse_json(facts, "facts"));
  write_durably((folder / kDescription).string(), j.dump(2) + "\n");
}

/// What is told of the folder is told of the name that it was given by.
std::string as_given(std::string text, const FolderPlan& plan) {
  std::error_code none;
  const std::string folder = fs::weakly_canonical(fs::absolute(plan.folder, none), none).string();
  if (folder.empty()) return text;
  for (const std::string& inside : {folder + "/" + kPartialName, folder})
    for (size_t at = 0; (at = text.find(inside, at)) != text.npos; at += plan.folder.size())
      text.replace(at, inside.size(), plan.folder);
  return text;
}

}  // namespace

std::string facts_json(const Dataset& d) {
  std::vector<int64_t> counts(d.kind->class_names.size(), 0), lengths;
  const std::span<const int64_t> offsets =
      d.columns.at(d.kind->class_names.empty() ? d.columns.size() - 1 : 0).offsets;
  for (size_t r = 1; r < offsets.size(); ++r) lengths.push_back(offsets[r] - offsets[r - 1]);
  std::sort(lengths.begin(), lengths.end());
  const auto at = [&](double share) { return lengths[size_t(share * double(lengths.size() - 1))]; };
  Json facts{{"examples", d.examples()}};
  if (!counts.empty()) {
    for (const int32_t label : d.labels()) ++counts[size_t(label)];
    Json classes;
    for (size_t c = 0; c < counts.size(); ++c) classes.set(d.kind->class_names[c], counts[c]);
    facts.set("classes", classes);
  }
  facts.set("length", Json{{"min", at(0)}, {"median", at(0.5)}, {"95 %", at(0.95)}, {"max", at(1)}});
  return facts.dump();
}

Description read_description(const std::string& folder) { return described_in(fs::path(folder) / kDescription); }

void need_whole(const std::string& folder) {
  std::error_code ignored;
  if (fs::exists(fs::path(folder) / kPartialName, ignored) && !fs::exists(fs::path(folder) / kDescription, ignored))
    throw Error(
        fmt::format("{}: is not whole: selene-prepare still works on it, or was killed; in that case give its "
                    "command once more",
                    folder));
}

Prepared prepare_folder(const FolderPlan& plan, const std::function<std::string(const std::string& folder)>& write) {
  try {
    const fs::path folder = place_of(plan);
    Partial partial(folder);
    if (already_there(plan, folder)) return Prepared::already_there;
    const bool replace = fs::exists(folder / kDescription);
    const fs::path made = partial.make();
    write_description(plan, made, write(made.string()));
    if (!replace && !names_in(folder).empty())
      throw Error(
          fmt::format("{}: another process has made it meanwhile; nothing was kept of this one", folder.string()));
    partial.keep();  // from here on a killed run's set is whole, and the next one gives it its place
    if (replace) fs::rename(folder / kDescription, made / kReplaced);
    move_to_place(folder);
    if (partial.is_new()) sync_folder(folder.parent_path().string());
    return Prepared::made;
  } catch (const fs::filesystem_error& e) {
    const std::string path = e.path1().empty() ? plan.folder : e.path1().string();
    throw Error(as_given(fmt::format("{}: {}", path, e.code().message()), plan));
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    throw Error(as_given(e.what(), plan));
  }
}

}  // namespace selene::data
