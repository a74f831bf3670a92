#include "train/sweep/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <thread>

#include "data/io/durable_file.h"
#include "data/io/json.h"
#include "data/io/regular_file.h"
#include "data/io/stop.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "train/recipe/schema.h"
#include "train/sweep/children.h"
#include "train/sweep/notes.h"
#include "train/sweep/tables.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr uint64_t kLargestFile = uint64_t(1) << 28;  // bytes; a line has some thousand

struct Timing {
  int64_t round = 0, length = 0, batch = 0;
  std::string model;
  Strings words;
  std::string cell;      // "luna-16 1024 fp32"
  std::string resolved;  // the recipe, as to_yaml writes it
};

/// Below scale 1 a step has 16K tokens for every model alike.
std::vector<Timing> timings_of(const Grid& grid, const SweepOptions& options) {
  std::vector<Timing> all;
  for (int64_t round = 1; round <= grid.rounds; ++round)
    for (const int64_t length : grid.lengths)
      for (const Choice& model : grid.models) {
        if (!asked(options.models, model.name)) continue;
        Timing t{round, length, grid.batch, model.name, {"selene-bench", "step"}, "", ""};
        if (options.scale != 1) t.batch = std::clamp<int64_t>(16384 / length, 1, grid.batch);
        Strings files = grid.recipes[0].files, sets = grid.sets;
        append(files, model.files), append(sets, options.sets);
        append(t.words, files);
        for (const auto& [option, value] : {std::pair{"--length", length},
                                            {"--batch", t.batch},
                                            {"--steps", grid.steps},
                                            {"--threads", int64_t(std::thread::hardware_concurrency())}})
          append(t.words, {option, std::to_string(value)});
        append(t.words, {"--precision", grid.precision, "--device", options.device, "--json"});
        for (const std::string& set : sets) append(t.words, {"--set", set});
        t.cell = fmt::format("{} {} {}", model.name, length, grid.precision);
        append(sets, {"train.precision=" + grid.precision});
        t.resolved = to_yaml(compose_recipe(files, sets));
        all.push_back(t);
      }
  return all;
}

/// A line of cells.jsonl.
struct Measured {
  int64_t round = 0, batch = 0, timed_steps = 0;
  std::string scale, cell, resolved;  // no cell: it failed
};

Measured measured_of(const std::string& line, const std::string& place) {
  try {
    const data::Json j = data::parse_json(line, "JSON");
    Measured m;
    m.timed_steps = j.get<int64_t>("timed_steps"), m.scale = j.get<std::string>("scale");
    if (!j.find("cell")) return m;
    m.round = j.get<int64_t>("round"), m.batch = j.get<int64_t>("batch"), m.cell = j.get<std::string>("cell");
    if (j.find("recipe")) m.resolved = j.get<std::string>("recipe");
    return m;
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}; wanted a line of selene-sweep", place, e.what()));
  }
}

/// The whole lines of a file that need not be there: what a kill or a full disk cut off is measured again.
std::string whole_lines(const std::string& path) {
  if (!fs::exists(path)) return "";
  const std::string text = data::read_regular_file(path, kLargestFile, "lines of selene-bench step --json");
  return text.substr(0, text.rfind('\n') + 1);
}

/// What is measured. Throws Error where times of a cell that is asked for have another scale, number of steps, batch
/// or recipe: a table would mix them.
std::vector<Measured> measured_in(const std::string& path, const std::vector<Timing>& all, const Grid& grid,
                                  const SweepOptions& options) {
  std::vector<Measured> done;
  const auto refuse = [&](const std::string& what) {
    throw Error(fmt::format("{}: has times with another {}; give another --out, or move it away", path, what));
  };
  std::istringstream in(whole_lines(path));
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    const Measured m = measured_of(line, fmt::format("{}:{}", path, ++number));
    if (m.scale != scale_text(options.scale) || m.timed_steps != grid.steps) refuse("--scale or --steps");
    if (m.cell.empty()) continue;
    if (m.resolved.empty()) refuse("version, without recipes");
    done.push_back(m);
    const auto t = std::find_if(all.begin(), all.end(), [&](const Timing& timing) { return timing.cell == m.cell; });
    if (t == all.end()) continue;
    if (t->batch != m.batch) refuse(fmt::format("batch of {}: {} -> {}", m.cell, m.batch, t->batch));
    const Strings keys = changed_keys(parse_recipe(m.resolved, path), parse_recipe(t->resolved, grid.path));
    if (!keys.empty()) refuse(fmt::format("recipe of {} ({})", m.cell, join(keys, ", ")));
  }
  return done;
}

bool measured(const std::vector<Measured>& done, const Timing& t) {
  return std::any_of(done.begin(), done.end(),
                     [&](const Measured& m) { return m.cell == t.cell && m.round == t.round; });
}

/// The line of results among what the program printed.
data::Json result_in(const std::string& file) {
  std::istringstream in(whole_lines(file));
  for (std::string line; std::getline(in, line);)
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
    const std::vector<Timing> all = timings_of(grid_, options_);
    const std::vector<Measured> done = measured_in(folder_ + "/cells.jsonl", all, grid_, options_);
    int64_t ran = 0, bad = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      data::check_stop();
      if (measured(done, all[i])) continue;
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
    if (good) line.set("round", t.round), line.set("cell", t.cell), line.set("recipe", t.resolved);
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
    const std::string path = folder_ + "/cells.jsonl";
    data::write_durably(path, whole_lines(path) + line.dump() + '\n');
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
  const std::vector<Timing> all = timings_of(grid, options);
  const std::vector<Measured> done = measured_in(times_folder(options) + "/cells.jsonl", all, grid, options);
  for (const Timing& t : all)
    show(fmt::format("{}: {} {} tokens, round {}: {}", measured(done, t) ? "done" : "to run", t.model, t.length,
                     t.round, shell_line(t.words)));
}

}  // namespace selene::train
