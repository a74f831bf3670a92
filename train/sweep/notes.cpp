#include "train/sweep/notes.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>

#include "data/io/durable_file.h"
#include "data/io/json.h"
#include "data/io/regular_file.h"
#include "data/io/xxhash64.h"
#include "kernels/error.h"
#include "train/recipe/recipe.h"
#include "train/sweep/children.h"

namespace selene::train {
namespace {

constexpr uint64_t kLargestFacts = uint64_t(1) << 24;  // bytes of dataset.json

std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(": ") + 2));
  return "unknown processor";
}

/// The first line that a command prints.
std::string first_line(const std::string& command) {
  FILE* const pipe = popen(command.c_str(), "r");
  if (!pipe) return "";
  std::array<char, 256> line{};
  const bool any = fgets(line.data(), int(line.size()), pipe) != nullptr;
  pclose(pipe);
  const std::string text = any ? line.data() : "";
  return text.substr(0, text.find('\n'));
}

/// What the run's log says of its device.
std::string device_of(const std::string& folder) {
  std::ifstream in(folder + "/log.txt");
  std::string device;
  constexpr std::string_view before = " info device: ";
  for (std::string line; std::getline(in, line);)
    if (const size_t at = line.find(before); at != line.npos) device = line.substr(at + before.size());
  return device.substr(0, device.find(" (no backend module"));
}

/// Of dataset.json beside the cell's data; empty where there is none.
std::string digest_of_data(const Cell& cell) {
  const std::string path = parse_recipe(cell.resolved, cell.title).data.path + "/dataset.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return "";
  const std::string text = data::read_regular_file(path, kLargestFacts, "a data set's facts");
  data::XxHash64 hash;
  hash.update(text.data(), text.size());
  return hash.text();
}

}  // namespace

Place this_place(const std::string& source_folder) {
  const std::string git = shell_line({"git", "-C", source_folder, "describe", "--always", "--dirty"});
  return {fmt::format("{}, {} threads", processor(), std::thread::hardware_concurrency()),
          first_line(git + " 2>/dev/null"), fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr)))};
}

void write_notes(const Cell& cell, const SweepOptions& options, const Place& place,
                 const std::vector<std::string>& words, const std::string& status, const std::string& why) {
  const data::Json notes{{"status", status},
                         {"why", why},
                         {"task", cell.recipe},
                         {"model", cell.model},
                         {"p", cell.p},
                         {"seed", cell.seed},
                         {"scale", scale_text(options.scale)},
                         {"stand_in", cell.data.stand_in},
                         {"data", status == "done" ? digest_of_data(cell) : ""},
                         {"command", shell_line(words)},
                         {"device", device_of(cell.folder)},
                         {"machine", place.machine},
                         {"commit", place.commit},
                         {"date", place.date}};
  data::write_durably(cell.folder + ".json", notes.dump() + "\n");
}

Noted noted(const std::string& folder) {
  const std::string path = folder + ".json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  try {
    const data::Json notes = data::parse_json(data::read_regular_file(path, 1 << 20, "notes"), path);
    return {notes.get<std::string>("status"), notes.get<std::string>("why"), notes.get<std::string>("data")};
  } catch (const Error&) {
    return {};  // written anew
  }
}

bool done_before(const Cell& cell) {
  const Noted before = noted(cell.folder);
  return before.status == "done" && look_into(cell).state == CellState::done && before.data == digest_of_data(cell);
}

}  // namespace selene::train
