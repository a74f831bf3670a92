#include "data/listops_prepare.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "data/durable_file.h"
#include "data/listops.h"
#include "kernels/error.h"

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace selene::data {
namespace {

const char* const description = "dataset.json";

/// Buffers whole lines; the file has its name once close() has returned.
class Writer {
 public:
  explicit Writer(const std::string& path) : file_(path) {}
  void write(std::string_view text) {
    buffer_ += text;
    if (buffer_.size() >= size_t(1) << 20) flush();
  }
  void close() {
    flush();
    file_.commit();
  }

 private:
  void flush() {
    file_.write(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  DurableFile file_;
  std::string buffer_;
};

/// What decides the content of the data set: two plans with the same value give the same files.
ordered_json key_of(const ListopsPlan& plan) {
  const ListopsOptions& o = plan.options;
  return {{"kind", "listops"},
          {"format", 1},
          {"options",
           {{"min_length", o.min_length},
            {"max_length", o.max_length},
            {"max_depth", o.max_depth},
            {"max_args", o.max_args},
            {"seed", o.seed}}},
          {"counts", {{"train", plan.train}, {"valid", plan.valid}, {"test", plan.test}}}};
}

void write_description(const ListopsPlan& plan, const ListopsProgress& done, const std::string& path) {
  ordered_json j = key_of(plan);
  j["draws"] = done.draws;
  j["acceptance_rate"] = double(done.accepted) / double(done.draws);
  j["duplicates"] = done.accepted - done.examples;
  j["classes"] = listops_classes;
  j["symbols"] = listops_symbol_names();
  write_durably(path, j.dump(2) + "\n");
}

ListopsProgress write_files(const ListopsPlan& plan, const fs::path& folder,
                            const std::function<void(const ListopsProgress&)>& watch) {
  const std::pair<const char*, int64_t> parts[] = {{"train", plan.train}, {"valid", plan.valid}, {"test", plan.test}};
  std::unique_ptr<Writer> file;
  int part = -1;
  int64_t left = 0;
  const auto open_next = [&] {
    if (file) file->close();
    file = std::make_unique<Writer>(listops_path(folder.string(), parts[++part].first));
    file->write("Source\tTarget\r\n");
    left = parts[part].second;
  };
  open_next();
  const auto take = [&](const ListopsTree& tree) {
    while (left == 0) open_next();
    file->write(fmt::format("{}\t{}\r\n", listops_text(tree.symbols), tree.value));
    --left;
  };
  const auto done = generate_listops(plan.options, plan.train + plan.valid + plan.test, plan.threads, take, watch);
  while (part < 2) open_next();
  file->close();
  return done;
}

/// Whether `folder` holds a data set with the plan's options. Throws Error if it holds anything that must not be
/// replaced.
bool already_there(const ListopsPlan& plan, const fs::path& folder) {
  if (!fs::exists(folder)) return false;
  if (!fs::is_directory(folder)) throw Error(fmt::format("{}: is a file, wanted a new folder", folder.string()));
  if (fs::is_empty(folder)) return false;
  std::ifstream in(folder / description);
  const ordered_json found = ordered_json::parse(in, nullptr, false);
  if (!found.is_object() || found.value("kind", ordered_json()) != "listops")
    throw Error(
        fmt::format("{}: holds files but no ListOps data set, wanted a new or empty folder", folder.string()));
  bool same = true;
  const ordered_json wanted = key_of(plan);
  for (const auto& [name, value] : wanted.items()) same = same && found.value(name, ordered_json()) == value;
  for (const char* split : {"train", "valid", "test"})
    same = same && fs::exists(listops_path(folder.string(), split));
  if (same) return true;
  if (!plan.force)
    throw Error(fmt::format("{}: holds a ListOps data set made with other options (see {}); --force replaces it",
                            folder.string(), description));
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    if (file != description && !(file.starts_with("basic_") && file.ends_with(".tsv")))
      throw Error(
          fmt::format("{}: does not belong to the data set; move it away before --force", entry.path().string()));
  }
  return false;
}

const std::string partial_mark = ".partial-";

/// Removes what killed runs for the same folder left: NAME.partial-PID without such a process.
void remove_killed_runs(const fs::path& folder) {
  const std::string start = folder.filename().string() + partial_mark;
  for (const auto& entry : fs::directory_iterator(folder.parent_path())) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(start)) continue;
    const long pid = std::atol(name.c_str() + start.size());
    if (pid > 0 && pid != getpid() && kill(pid_t(pid), 0) != 0 && errno == ESRCH) fs::remove_all(entry.path());
  }
}

/// The temporary folder; gone at the end unless it was moved to its final place.
struct Partial {
  fs::path path;
  ~Partial() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
  void move_to(const fs::path& folder) {
    sync_folder(path.string());
    const fs::path old = path.string() + "-old";
    const bool replace = fs::exists(folder);
    if (replace) fs::rename(folder, old);
    fs::rename(path, folder);
    path.clear();
    if (replace) fs::remove_all(old);
    sync_folder(folder.parent_path().string());
  }
};

Prepared prepare(const ListopsPlan& plan, const fs::path& folder,
                 const std::function<void(const ListopsProgress&)>& watch) {
  if (already_there(plan, folder)) return Prepared::already_there;
  fs::create_directories(folder.parent_path());
  remove_killed_runs(folder);
  Partial partial{folder.string() + partial_mark + std::to_string(getpid())};
  fs::remove_all(partial.path);
  fs::create_directory(partial.path);
  const ListopsProgress done = write_files(plan, partial.path, watch);
  write_description(plan, done, (partial.path / description).string());
  partial.move_to(folder);
  return Prepared::made;
}

}  // namespace

Prepared prepare_listops(const ListopsPlan& plan, const std::function<void(const ListopsProgress&)>& watch) {
  check_listops_options(plan.options);
  for (auto [name, count] : {std::pair{"train", plan.train}, {"valid", plan.valid}, {"test", plan.test}})
    if (count < 1 || count > 1'000'000'000)
      throw Error(fmt::format("listops: {} is {} examples, wanted 1 to 1000000000", name, count));
  if (plan.threads < 1 || plan.threads > 1024)
    throw Error(fmt::format("listops: threads is {}, wanted 1 to 1024", plan.threads));
  if (plan.folder.empty()) throw Error("listops: no output folder");
  try {
    fs::path folder = fs::weakly_canonical(fs::absolute(plan.folder));
    if (folder.filename().empty()) folder = folder.parent_path();
    return prepare(plan, folder, watch);
  } catch (const fs::filesystem_error& e) {
    throw Error(fmt::format("{}: {}", e.path1().empty() ? plan.folder : e.path1().string(), e.code().message()));
  }
}

}  // namespace selene::data
