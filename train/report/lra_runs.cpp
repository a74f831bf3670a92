#include "train/report/lra_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "data/io/json.h"
#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "kernels/error.h"
#include "models/registry.h"
#include "train/report/run_data.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;
using Keys = std::vector<std::pair<std::string, std::string>>;

constexpr uint64_t kLargestNotes = uint64_t(1) << 20;  // bytes
constexpr const char* kStatusNames[] = {"done", "failed", "no data", "unfinished"};

const std::string* find(const Keys& keys, const std::string& key) {
  const auto at = std::find_if(keys.begin(), keys.end(), [&](const auto& item) { return item.first == key; });
  return at == keys.end() ? nullptr : &at->second;
}

const std::string& need(const LraRun& run, const std::string& key) {
  if (const std::string* value = find(run.keys, key)) return *value;
  throw Error(fmt::format("{}/recipe.yaml: has no {}, wanted the resolved recipe of a run", run.folder, key));
}

int64_t need_integer(const LraRun& run, const std::string& key) {
  const std::string& text = need(run, key);
  int64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem == std::errc() && end == text.data() + text.size()) return value;
  throw Error(
      fmt::format("{}/recipe.yaml: {} is {}, wanted a whole number", run.folder, key, data::shown_bare(text)));
}

// Task, model, sentence vector and seed.
void take_recipe(LraRun& run, const Paper& paper) {
  if (const std::string* task = find(run.keys, "task"); task && *task != "classification")
    throw Error(fmt::format("{}: is a run of {}, wanted classification: the tables are of accuracies", run.folder,
                            data::shown_bare(*task)));
  const std::string& name = need(run, "name");
  const std::string first = name.substr(0, name.find('-'));
  const bool named = std::any_of(paper.more_tasks.begin(), paper.more_tasks.end(),
                                 [&](const PaperTask& task) { return task.key == first; });
  run.task = named ? first : need(run, "data.kind");
  run.model = attention_label(need(run, "model.attention"), [&](const std::string& key) { return need(run, key); });
  run.p = need(run, "model.pooling") == "p";
  run.seed = need_integer(run, "train.seed");
}

RunStatus status_named(const std::string& name) {
  for (size_t i = 0; i < std::size(kStatusNames); ++i)
    if (name == kStatusNames[i]) return RunStatus(i);
  throw Error(fmt::format("status is {}, wanted done, failed, no data or unfinished", data::shown(name)));
}

void take_notes(LraRun& run, const std::string& path) {
  try {
    const data::Json j =
        data::parse_json(data::read_regular_file(path, kLargestNotes, "what selene-sweep writes"), "JSON");
    run.status = status_named(j.get<std::string>("status"));
    run.task = j.get<std::string>("task"), run.model = j.get<std::string>("model"), run.p = j.get<bool>("p");
    run.seed = j.get<int64_t>("seed"), run.stand_in = j.get<bool>("stand_in");
    run.scale = j.get<std::string>("scale"), run.why = j.get<std::string>("why");
    run.command = j.get<std::string>("command"), run.device = j.get<std::string>("device");
    run.machine = j.get<std::string>("machine"), run.commit = j.get<std::string>("commit");
    run.date = j.get<std::string>("date");
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}; wanted what selene-sweep writes", path, e.what()));
  }
}

/// "" if the runs may be averaged, else what differs.
std::string difference(const LraRun& a, const LraRun& b) {
  if (a.keys.empty() || b.keys.empty()) return "";  // one has not begun
  for (const auto& [key, value] : a.keys) {
    if (is_bookkeeping(key)) continue;
    const std::string* other = find(b.keys, key);
    if (!other || *other != value)
      return fmt::format("{} is {} in {} and {} in {}", key, value, a.folder, other ? *other : "unset", b.folder);
  }
  return "";
}

void need_same(const LraRun& a, const LraRun& b) {
  if (a.seed == b.seed)
    throw Error(fmt::format("{} and {}: both are {} on {} with seed {}, wanted one run of each seed", a.folder,
                            b.folder, a.model, a.task, a.seed));
  if (const std::string what = difference(a, b); !what.empty())
    throw Error(
        fmt::format("{}; wanted equal recipes for {} on {}, or their mean says nothing", what, a.model, a.task));
}

}  // namespace

const char* name_of(RunStatus status) { return kStatusNames[size_t(status)]; }

bool is_bookkeeping(std::string_view key) {
  constexpr std::string_view keys[] = {"name",
                                       "description",
                                       "data.prefetch",
                                       "train.seed",
                                       "train.threads",
                                       "train.log_every",
                                       "train.keep",
                                       "train.checkpoint_every",
                                       "train.preempt_exit_code"};
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

LraRun load_lra_run(const std::string& folder, const Paper& paper) {
  LraRun run;
  run.folder = folder;
  while (run.folder.size() > 1 && run.folder.back() == '/') run.folder.pop_back();
  const std::string notes = run.folder + ".json";
  const bool noted = fs::exists(notes);
  if (!noted || fs::exists(run.folder + "/metrics.jsonl")) {
    const RunData data = load_run(run.folder);
    run.keys = data.keys;
    if (const HeadlineMeasure* accuracy = find_measure(data.headline, "accuracy")) run.accuracy = accuracy->test;
    if (run.keys.empty() && !noted) throw Error(data.problems.empty() ? run.folder : data.problems[0]);
    if (!run.keys.empty()) take_recipe(run, paper);
    if (run.accuracy) run.status = RunStatus::done;
  }
  if (noted) {
    const RunStatus found = run.status;
    take_notes(run, notes);
    // The folder knows best whether there is a result, but what became of a later start stands above it.
    if (run.status == RunStatus::done || (run.status == RunStatus::unfinished && run.why.empty())) run.status = found;
  }
  if (run.status != RunStatus::done) run.accuracy.reset();
  return run;
}

int64_t LraCell::count(RunStatus status) const {
  return std::count_if(runs.begin(), runs.end(), [&](const LraRun* r) { return r->status == status; });
}

LraCell cell_of(const std::vector<LraRun>& runs, const std::string& task, const std::string& model, bool p) {
  LraCell cell;
  for (const LraRun& run : runs) {
    if (run.task != task || run.model != model || run.p != p) continue;
    for (const LraRun* other : cell.runs) need_same(*other, run);
    cell.runs.push_back(&run);
    cell.stand_in = cell.stand_in || run.stand_in;
    cell.other_recipe = cell.other_recipe || !run.differences.empty();
    if (run.accuracy) ++cell.seeds, cell.mean += *run.accuracy;
  }
  if (!cell.seeds) return cell;
  cell.mean /= double(cell.seeds);
  double squares = 0;
  for (const LraRun* run : cell.runs)
    if (run->accuracy) squares += (*run->accuracy - cell.mean) * (*run->accuracy - cell.mean);
  if (cell.seeds > 1) cell.deviation = std::sqrt(squares / double(cell.seeds - 1));
  return cell;
}

}  // namespace selene::train
