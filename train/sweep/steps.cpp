#include "train/sweep/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "data/io/durable_file.h"
#include "data/io/json.h"
#include "data/io/regular_file.h"
#include "data/io/stop.h"
#include "kernels/error.h"
#include "train/sweep/children.h"
#include "train/sweep/notes.h"
#include "train/sweep/tables.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

struct Timing {
  int64_t round = 0, length = 0, batch = 0;
  std::string model;
  Strings words;
  std::string mark;  // that its line begins with
};

/// Below scale 1 a step has 16K tokens for every model alike.
std::vector<Timing> timings_of(const Grid& grid, const SweepOptions& options) {
  std::vector<Timing> all;
  for (int64_t round = 1; round <= grid.rounds; ++round)
    for (const int64_t length : grid.lengths)
      for (const Choice& model : grid.models) {
        const auto& asked = options.models;
        if (!asked.empty() && std::find(asked.begin(), asked.end(), model.name) == asked.end()) continue;
        Timing t{round, length, grid.batch, model.name, {"selene-bench", "step"}, ""};
        if (options.scale != 1) t.batch = std::max<int64_t>(1, 16384 / length);
        for (const Strings& files : {grid.recipes[0].files, model.files})
          t.words.insert(t.words.end(), files.begin(), files.end());
        for (const auto& [option, value] : {std::pair{"--length", length},
                                            {"--batch", t.batch},
                                            {"--steps", grid.steps},
                                            {"--threads", int64_t(std::thread::hardware_concurrency())}})
          t.words.insert(t.words.end(), {option, std::to_string(value)});
        t.words.insert(t.words.end(), {"--precision", grid.precision, "--device", options.device, "--json"});
        for (const Strings& sets : {grid.sets, options.sets})
          for (const std::string& set : sets) t.words.insert(t.words.end(), {"--set", set});
        t.mark = fmt::format("{{\"round\":{},\"cell\":\"{} {} {}\",", round, model.name, length, grid.precision);
        all.push_back(t);
      }
  return all;
}

Strings lines_of(const std::string& path) {
  Strings lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

bool measured(const Strings& lines, const Timing& t) {
  return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) { return line.starts_with(t.mark); });
}

/// The line of results among what the program printed.
data::Json result_in(const std::string& file) {
  for (const std::string& line : lines_of(file))
    if (line.starts_with("{\"model\"")) return data::parse_json(line, file);
  throw Error(file + ": has no line of results, wanted what selene-bench step --json prints");
}

class Timings {
 public:
  Timings(const Grid& grid, const SweepOptions& options, const Say& say)
      : grid_(grid),
        options_(options),
        say_(say),
        folder_(times_folder(options)),
        place_(this_place(fs::absolute(grid.path).parent_path().string())) {}

  bool run() {
    fs::create_directories(folder_);
    const data::FolderLock lock(folder_);
    if (lock.taken()) throw Error(folder_ + ": another selene-sweep works here");
    const std::string path = folder_ + "/cells.jsonl";
    const Strings lines = lines_of(path);
    const std::string settings =
        fmt::format("\"scale\":\"{}\",\"timed_steps\":{},", scale_text(options_.scale), grid_.steps);
    for (const std::string& line : lines)
      if (line.find(settings) == line.npos)
        throw Error(
            fmt::format("{}: has times with another --scale or --steps; give another --out, or move it away", path));
    const std::vector<Timing> all = timings_of(grid_, options_);
    int64_t ran = 0, bad = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      data::check_stop();
      if (measured(lines, all[i])) continue;
      const bool good = measure(all[i], fmt::format("[{}/{}] {} {} tokens, round {}", i + 1, all.size(), all[i].model,
                                                    all[i].length, all[i].round));
      ++(good ? ran : bad);
    }
    if (ran + bad == 0) say_(fmt::format("nothing to do: all {} cells were measured", all.size()));
    if (bad) say_(fmt::format("{} of {} cells failed", bad, all.size()));
    return bad == 0;
  }

 private:
  bool measure(const Timing& t, const std::string& title) {
    const auto begin = std::chrono::steady_clock::now();
    const Command command{t.words, folder_ + "/bench.out"};
    const bool good = run_alone(command) == 0;
    const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    data::Json line = data::Json::object();
    // What failed has another mark: a later call tries again.
    if (good)
      line.set("round", t.round), line.set("cell", fmt::format("{} {} {}", t.model, t.length, grid_.precision));
    else line.set("failed", t.round);
    line.set("scale", scale_text(options_.scale)), line.set("timed_steps", grid_.steps);
    line.set("machine", place_.machine), line.set("commit", place_.commit), line.set("date", place_.date);
    line.set("command", shell_line(t.words));
    std::string told;
    if (good) {
      const data::Json found = result_in(command.output);
      line.update(found);
      told = fmt::format("{:.0f} ms ({:.0f} s)", found.get<double>("step_median_ms"), took);
    } else {
      const std::string why = error_of(command.output);
      line.set("length", t.length), line.set("dtype", grid_.precision), line.set("batch", t.batch);
      line.set("why", why);
      told = "failed: " + why;
    }
    line.set("model", t.model);
    std::ofstream(folder_ + "/cells.jsonl", std::ios::app) << line.dump() << '\n' << std::flush;
    say_(title + ": " + told);
    return good;
  }

  const Grid& grid_;
  const SweepOptions& options_;
  const Say& say_;
  const std::string folder_;
  const Place place_;
};

}  // namespace

bool run_steps(const Grid& grid, const SweepOptions& options, const Say& say) {
  return Timings(grid, options, say).run();
}

void list_steps(const Grid& grid, const SweepOptions& options, const Say& show) {
  const Strings lines = lines_of(times_folder(options) + "/cells.jsonl");
  for (const Timing& t : timings_of(grid, options))
    show(fmt::format("{}: {} {} tokens, round {}: {}", measured(lines, t) ? "done" : "to run", t.model, t.length,
                     t.round, shell_line(t.words)));
}

}  // namespace selene::train
