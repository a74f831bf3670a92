#include "train/report/run_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "data/io/safetensors.h"
#include "kernels/error.h"
#include "train/folder/run_folder.h"
#include "train/recipe/recipe.h"
#include "train/report/plot.h"
#include "train/tasks/measures.h"

namespace selene::train {
namespace {

namespace fs = std::filesystem;

std::string name_of(const std::string& folder) {
  fs::path path = fs::absolute(folder).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();  // "runs/luna/"
  return path.filename().empty() ? folder : path.filename().string();
}

void read_recipe(RunData& run) {
  const std::string path = (fs::path(run.path) / "recipe.yaml").string();
  try {
    run.recipe = data::read_regular_file(path, kLargestRecipe, "a recipe");
    run.keys = recipe_values(run.recipe, path);
  } catch (const Error& error) {
    run.problems.emplace_back(error.what());
  }
}

/// Elements of all tensors but the optimiser's, from the header alone.
double parameters_of(const data::SafetensorsFile& file) {
  double count = 0;
  for (const data::TensorEntry& e : file.entries())
    if (!e.name.starts_with("optimizer.")) count += double(e.numel());
  return count;
}

void read_checkpoints(RunData& run) {
  const fs::path folder = fs::path(run.path) / "checkpoints";
  const RunCheckpoints all = find_checkpoints(folder.string());
  if (!all.lost.empty()) run.problems.push_back(all.lost + "; it was the best checkpoint");
  for (const CheckpointName& c : list_checkpoints(folder.string())) {
    const fs::path file = fs::path(c.path).filename();
    std::string marks;
    if (all.newest && c.path == all.newest->file.path()) marks = "last";
    if (all.validated && c.path == all.best->file.path()) marks += marks.empty() ? "best" : ", best";
    run.checkpoints.push_back(marks.empty() ? file.string() : fmt::format("{} ({})", file.string(), marks));
    if (run.headline.parameters) continue;
    try {
      run.headline.parameters = parameters_of(data::SafetensorsFile(c.path));
    } catch (const Error& error) {
      run.problems.emplace_back(error.what());
    }
  }
}

/// One line per metric that was NaN or infinite: a diverged run should not look like a short one.
void report_not_finite(RunData& run, const std::string& path) {
  struct Seen {
    std::string name;
    int64_t first = 0, count = 0;
  };
  std::vector<Seen> seen;
  for (const MetricsRow& row : run.rows)
    for (const Metric& m : row.values) {
      if (std::isfinite(m.value)) continue;
      const std::string name = fmt::format("{} {}", row.kind, m.name);
      auto at = std::find_if(seen.begin(), seen.end(), [&](const Seen& s) { return s.name == name; });
      if (at == seen.end()) at = seen.insert(at, Seen{name, row.update});
      ++at->count;
    }
  for (const Seen& s : seen)
    run.problems.push_back(fmt::format("{}: {} is not finite in {} row{}, first at update {}", path, s.name, s.count,
                                       s.count == 1 ? "" : "s", with_commas(s.first)));
}

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::optional<double> finite(std::optional<double> v) { return v && std::isfinite(*v) ? v : std::nullopt; }

void take_validation(HeadlineMeasure& m, const MetricsRow& row) {
  const auto value = finite(row.find(m.name));
  if (!value || (m.best && (m.higher_is_better ? *value <= *m.best : *value >= *m.best))) return;
  m.best = value, m.best_update = row.update;
}

/// What a run says of itself decides what its headline is; a recipe of another version says nothing.
Headline headline_of(RunData& run) {
  const auto value = [&](const char* name, const std::string& usual) {
    const auto found =
        std::find_if(run.keys.begin(), run.keys.end(), [&](const auto& key) { return key.first == name; });
    return found == run.keys.end() ? usual : found->second;
  };
  const Recipe usual;
  try {
    return headline_of(run.rows, value("task", usual.task), value("train.best_metric", usual.train.best_metric));
  } catch (const Error& error) {
    run.problems.push_back(fmt::format("{}/recipe.yaml: {}", run.path, error.what()));
    return headline_of(run.rows);
  }
}

std::string count_text(std::optional<double> v) { return v && *v < 9e18 ? with_commas(std::llround(*v)) : "-"; }

}  // namespace

Headline headline_of(const std::vector<MetricsRow>& rows, std::string_view task, std::string_view best_metric) {
  Headline h;
  for (const Measure& m : measures_of(task))
    if (m.name == best_metric || (m.told & in_headline)) {
      const auto place = m.name == best_metric ? h.measures.begin() : h.measures.end();
      h.measures.insert(place, {std::string(m.name), std::string(m.unit), m.higher_is_better});
    }
  std::vector<double> speeds;
  double before = 0, wall = -1;  // seconds of the run's earlier parts; of this part
  for (const MetricsRow& row : rows) {
    h.updates = std::max(h.updates, row.update);
    if (const auto epoch = finite(row.find("epoch"))) h.epochs = epoch;
    if (const auto count = finite(row.find("parameters"))) h.parameters = count;
    if (const auto seconds = finite(row.find("wall_s"))) {
      if (*seconds < wall) before += wall;
      wall = *seconds;
      h.wall_s = before + wall;
    }
    for (HeadlineMeasure& m : h.measures)
      if (row.kind == "valid") take_validation(m, row);
      else if (row.kind == "test") m.test = finite(row.find(m.name));
    if (row.kind != "train") continue;
    if (const auto speed = finite(row.find("examples_per_s"))) speeds.push_back(*speed);
  }
  h.examples_per_s = median(speeds);
  return h;
}

RunData load_run(const std::string& folder) {
  if (!fs::is_directory(folder)) throw Error(fmt::format("{}: no such folder; wanted a run's folder", folder));
  const std::string metrics = (fs::path(folder) / "metrics.jsonl").string();
  if (!fs::exists(metrics) || fs::is_directory(metrics))
    throw Error(fmt::format("{}: is not a run: has no metrics.jsonl (selene-train makes runs/NAME)", folder));
  RunData run;
  run.name = data::printable(name_of(folder));
  run.path = folder;
  MetricsFile file = read_metrics(metrics);
  run.rows = std::move(file.rows);
  run.problems = std::move(file.problems);
  if (file.cut)
    run.problems.push_back(fmt::format("{}: the last line is cut: the run was killed while it wrote", metrics));
  if (run.rows.empty()) run.problems.push_back(fmt::format("{}: has no rows yet", metrics));
  report_not_finite(run, metrics);
  read_recipe(run);
  run.headline = headline_of(run);
  read_checkpoints(run);
  return run;
}

void make_names_distinct(std::vector<RunData>& runs) {
  std::vector<bool> repeated(runs.size());
  for (size_t i = 0; i < runs.size(); ++i)
    for (size_t k = 0; k < runs.size(); ++k)
      if (i != k && runs[i].name == runs[k].name) repeated[i] = true;
  for (size_t i = 0; i < runs.size(); ++i)
    if (repeated[i]) runs[i].name = runs[i].path;
}

const HeadlineMeasure* find_measure(const Headline& headline, std::string_view name) {
  for (const HeadlineMeasure& m : headline.measures)
    if (m.name == name) return &m;
  return nullptr;
}

std::string measure_text(const HeadlineMeasure& measure, std::optional<double> value) {
  if (!value) return "-";
  return measure.unit == "fraction" ? fmt::format("{:.2f} %", 100 * *value) : fmt::format("{:.4f}", *value);
}

std::vector<HeadlineColumn> headline_columns(const std::vector<RunData>& runs) {
  using Number = std::optional<double>;
  std::vector<HeadlineColumn> columns;
  const auto add_measure = [&](const char* title, const HeadlineMeasure& m, Number HeadlineMeasure::*number) {
    const auto value = [name = m.name, number](const RunData& r) {
      const HeadlineMeasure* found = find_measure(r.headline, name);
      return found ? found->*number : std::nullopt;
    };
    columns.push_back({fmt::format("{} {}", title, m.name),
                       [=](const RunData& r) { return measure_text(m, value(r)); },
                       [=, higher = m.higher_is_better](const RunData& r) -> Number {
                         const Number v = value(r);
                         return v && !higher ? -*v : v;
                       }});
  };
  std::set<std::string> seen;
  for (const RunData& run : runs)
    for (const HeadlineMeasure& m : run.headline.measures)
      if (seen.insert(m.name).second)
        add_measure("test", m, &HeadlineMeasure::test), add_measure("best valid", m, &HeadlineMeasure::best);
  const std::vector<HeadlineColumn> others = {
      {"at update",
       [](const RunData& r) {
         const auto& all = r.headline.measures;
         const auto first = std::find_if(all.begin(), all.end(), [](const HeadlineMeasure& m) { return m.best; });
         return first == all.end() ? "-" : with_commas(first->best_update);
       },
       nullptr},
      {"parameters", [](const RunData& r) { return count_text(r.headline.parameters); }, nullptr},
      {"updates", [](const RunData& r) { return with_commas(r.headline.updates); }, nullptr},
      {"epochs",
       [](const RunData& r) {
         return r.headline.epochs ? fmt::format("{:.1f}", *r.headline.epochs) : std::string("-");
       },
       nullptr},
      {"time", [](const RunData& r) { return r.headline.wall_s ? duration_text(*r.headline.wall_s) : "-"; }, nullptr},
      {"examples/s", [](const RunData& r) { return count_text(r.headline.examples_per_s); },
       [](const RunData& r) -> Number { return r.headline.examples_per_s; }}};
  columns.insert(columns.end(), others.begin(), others.end());
  return columns;
}

std::string headline_table(const std::vector<RunData>& runs) {
  std::vector<std::vector<std::string>> lines(runs.size() + 1);
  lines[0].push_back("run");
  for (size_t i = 0; i < runs.size(); ++i) lines[i + 1].push_back(runs[i].name);
  for (const HeadlineColumn& column : headline_columns(runs)) {
    lines[0].push_back(column.title);
    for (size_t i = 0; i < runs.size(); ++i) lines[i + 1].push_back(column.text(runs[i]));
  }
  std::string text;
  for (const auto& line : lines) {
    for (size_t c = 0; c < line.size(); ++c) {
      size_t width = 0;
      for (const auto& other : lines) width = std::max(width, other[c].size());
      text += c == 0 ? fmt::format("{:<{}}", line[c], width) : fmt::format("  {:>{}}", line[c], width);
    }
    text += '\n';
  }
  return text;
}

std::string duration_text(double seconds) {
  if (!(seconds >= 0 && seconds < 1e15)) return "-";
  const int64_t s = std::llround(seconds);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
}

}  // namespace selene::train
