#include "train/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace selene::train {
namespace {

// Distinguishable for most kinds of colour vision, on white and on black; further runs get hues a golden angle apart.
struct Colour {
  const char *light, *dark;
};
constexpr Colour kColours[] = {{"#2563eb", "#74a9ff"}, {"#d9480f", "#ff9d5c"}, {"#2b8a3e", "#69db7c"},
                               {"#9c36b5", "#da77f2"}, {"#0b7285", "#66d9e8"}, {"#a61e4d", "#f783ac"},
                               {"#8f6a00", "#ffd43b"}, {"#5c5f66", "#adb5bd"}};

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#5b6570;--line:#d8dde3;--card:#f5f7f9;--warn:#9a5b00}
@media (prefers-color-scheme:dark){
:root{--bg:#14171a;--fg:#e6e9ec;--soft:#9aa5b1;--line:#343b43;--card:#1e2328;--warn:#ffc078}
}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:72rem;
  background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .75rem;overflow-wrap:anywhere}
h3{font-size:1rem;margin:0}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.6rem;margin:0}
.cards div{background:var(--card);border-radius:.5rem;padding:.6rem .8rem}
.cards dt{color:var(--soft);font-size:.82rem}
.cards dd{margin:0;font-size:1.2rem;font-weight:600;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr));gap:1.2rem}
figure{margin:0;min-width:0}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem .9rem;margin:.1rem 0 .2rem;padding:0;
  font-size:.85rem;color:var(--soft)}
.legend i{display:inline-block;width:1.3em;border-top:3px solid var(--c);margin-right:.4em;vertical-align:middle}
.legend .faint i{border-top-width:2px;opacity:.5}
svg{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
svg path{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
svg .faint path{stroke-width:1.2;opacity:.5}
svg circle{fill:var(--c)}
svg .grid{stroke:var(--line);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
svg text{fill:var(--soft)}
svg .x{text-anchor:middle}
svg .y{text-anchor:end}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .8rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left;padding-left:0}
td b{color:var(--fg)}
.dot{display:inline-block;width:.75em;height:.75em;border-radius:50%;background:var(--c);margin-right:.45em}
.problems{color:var(--warn);padding-left:1.2rem;overflow-wrap:anywhere}
details{margin:.8rem 0}
summary{cursor:pointer}
pre{background:var(--card);border-radius:.5rem;padding:.8rem;overflow-x:auto;font-size:.85rem;line-height:1.4}
footer{margin-top:2.5rem;color:var(--soft);font-size:.82rem}
)";

std::string colours_css(size_t runs) {
  std::string light, dark;
  for (size_t i = 0; i < runs; ++i) {
    const bool named = i < std::size(kColours);
    const int hue = int(std::fmod(137.508 * double(i), 360));
    light += fmt::format(".c{}{{--c:{}}}", i, named ? kColours[i].light : fmt::format("hsl({} 70% 38%)", hue));
    dark += fmt::format(".c{}{{--c:{}}}", i, named ? kColours[i].dark : fmt::format("hsl({} 75% 68%)", hue));
  }
  return fmt::format("{}\n@media (prefers-color-scheme:dark){{{}}}\n", light, dark);
}

Series series_of(const RunData& run, size_t colour, const std::string& kind, const std::string& metric) {
  Series s;
  s.colour = colour;
  for (const MetricsRow& row : run.rows)
    if (row.kind == kind)
      if (const auto value = row.find(metric)) s.x.push_back(double(row.update)), s.y.push_back(*value);
  return s;
}

Plot plot_of(const std::vector<RunData>& runs, const std::string& metric, const std::string& title) {
  Plot plot{title, metric == "accuracy", {}};
  bool validated = false;
  for (size_t i = 0; i < runs.size(); ++i)
    for (const char* kind : {"train", "valid"}) {
      Series s = series_of(runs[i], i, kind, metric);
      if (s.x.empty()) continue;
      const bool valid = std::string_view(kind) == "valid";
      s.label = runs.size() == 1 ? kind : fmt::format("{} {}", runs[i].name, kind);
      validated = validated || valid;
      s.dots = valid && s.x.size() <= 100;
      s.faint = !valid;
      plot.series.push_back(std::move(s));
    }
  if (!validated)
    for (Series& s : plot.series) s.faint = false;
  return plot;
}

std::string cards(const RunData& run) {
  std::string text = "<dl class=\"cards\">";
  for (const HeadlineColumn& column : headline_columns({run}))
    if (const std::string value = column.text(run); value != "-")
      text += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", column.title, value);
  return text + "</dl>\n";
}

/// The runs whose value is the best of a column, to be set in bold; none if only one run has a value.
std::vector<bool> best_of(const HeadlineColumn& column, const std::vector<RunData>& runs) {
  std::vector<bool> best(runs.size());
  if (!column.rank) return best;
  std::optional<double> top;
  size_t values = 0;
  for (const RunData& run : runs) {
    const auto rank = column.rank(run);
    values += rank.has_value();
    if (rank > top) top = rank;
  }
  for (size_t i = 0; i < runs.size(); ++i) best[i] = values > 1 && top && column.rank(runs[i]) == top;
  return best;
}

std::string comparison(const std::vector<RunData>& runs) {
  std::string text = "<h2>Results</h2>\n<div class=\"wide\"><table><tr><th>run</th>";
  std::vector<std::vector<bool>> best;
  const std::vector<HeadlineColumn> columns = headline_columns(runs);
  for (const HeadlineColumn& column : columns) {
    text += fmt::format("<th>{}</th>", column.title);
    best.push_back(best_of(column, runs));
  }
  text += "</tr>\n";
  for (size_t i = 0; i < runs.size(); ++i) {
    text += fmt::format("<tr class=\"c{}\"><td><span class=\"dot\"></span>{}</td>", i, escape_html(runs[i].name));
    for (size_t c = 0; c < best.size(); ++c) {
      const std::string value = columns[c].text(runs[i]);
      text += best[c][i] ? fmt::format("<td><b>{}</b></td>", value) : fmt::format("<td>{}</td>", value);
    }
    text += "</tr>\n";
  }
  return text + "</table></div>\n";
}

/// Value of a recipe key, or "-" where the run does not have it.
std::string value_of(const RunData& run, const std::string& key) {
  for (const auto& [k, v] : run.keys)
    if (k == key) return v;
  return "-";
}

/// A table of the recipe keys in which the runs differ; the name is one of them by nature and is left out.
std::string differences(const std::vector<RunData>& runs) {
  std::vector<std::string> keys;
  for (const RunData& run : runs)
    for (const auto& item : run.keys) {
      const std::string &key = item.first, &value = item.second;
      if (key == "name" || key == "description" || std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
      const auto same = [&](const RunData& other) { return other.keys.empty() || value_of(other, key) == value; };
      if (!std::all_of(runs.begin(), runs.end(), same)) keys.push_back(key);
    }
  if (keys.empty()) return "";
  std::string text = "<h2>Where the recipes differ</h2>\n<div class=\"wide\"><table><tr><th>key</th>";
  for (size_t i = 0; i < runs.size(); ++i)
    text += fmt::format("<th class=\"c{}\"><span class=\"dot\"></span>{}</th>", i, escape_html(runs[i].name));
  text += "</tr>\n";
  for (const std::string& key : keys) {
    text += fmt::format("<tr><td>{}</td>", escape_html(key));
    for (const RunData& run : runs) text += fmt::format("<td>{}</td>", escape_html(value_of(run, key)));
    text += "</tr>\n";
  }
  return text + "</table></div>\n";
}

std::string charts(const std::vector<RunData>& runs) {
  std::string text = "<h2>Curves</h2>\n<div class=\"charts\">\n";
  for (const Plot& plot : plots_of(runs)) {
    text += fmt::format("<figure><figcaption><h3>{}</h3><ul class=\"legend\">", escape_html(plot.title));
    for (const Series& s : plot.series)
      text +=
          fmt::format("<li class=\"c{}{}\"><i></i>{}</li>", s.colour, s.faint ? " faint" : "", escape_html(s.label));
    text += fmt::format("</ul></figcaption>\n{}</figure>\n", svg(plot));
  }
  return text + "</div>\n";
}

std::string details(const RunData& run) {
  std::string text;
  if (!run.problems.empty()) {
    text += "<ul class=\"problems\">";
    for (const std::string& problem : run.problems) text += fmt::format("<li>{}</li>", escape_html(problem));
    text += "</ul>\n";
  }
  if (!run.recipe.empty())
    text += fmt::format("<details><summary>Recipe</summary><pre>{}</pre></details>\n", escape_html(run.recipe));
  if (!run.checkpoints.empty()) {
    text += fmt::format("<details><summary>Checkpoints ({})</summary><pre>", run.checkpoints.size());
    for (const std::string& c : run.checkpoints) text += escape_html(c) + '\n';
    text += "</pre></details>\n";
  }
  return text;
}

}  // namespace

std::vector<Plot> plots_of(const std::vector<RunData>& runs) {
  std::vector<std::pair<std::string, std::string>> metrics = {{"loss", "Loss"},
                                                              {"accuracy", "Accuracy"},
                                                              {"lr", "Learning rate"},
                                                              {"grad_norm", "Gradient norm"},
                                                              {"examples_per_s", "Examples per second"}};
  std::vector<std::string> seen = {"epoch", "parameters", "wall_s", "tokens_per_s"};  // no curves
  for (const auto& [name, title] : metrics) seen.push_back(name);
  for (const RunData& run : runs)
    for (const MetricsRow& row : run.rows)
      for (const Metric& m : row.values)
        if (row.kind != "test" && std::find(seen.begin(), seen.end(), m.name) == seen.end()) {
          seen.push_back(m.name);
          metrics.emplace_back(m.name, m.name);
        }
  std::vector<Plot> plots;
  for (const auto& [name, title] : metrics)
    if (Plot plot = plot_of(runs, name, title); !plot.series.empty()) plots.push_back(std::move(plot));
  return plots;
}

std::string html_report(const std::vector<RunData>& runs, const std::string& title) {
  if (std::all_of(runs.begin(), runs.end(), [](const RunData& r) { return r.rows.empty(); }))
    throw Error(runs.size() == 1 ? runs[0].problems[0] + ": nothing to report"
                                 : std::string("none of the runs has a row in its metrics.jsonl: nothing to report"));
  const std::string head = !title.empty()     ? title
                           : runs.size() == 1 ? runs[0].name
                                              : fmt::format("{} runs", runs.size());
  std::string text = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n"
      "<style>{1}{2}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
      escape_html(head), kStyle, colours_css(runs.size()));
  if (runs.size() == 1) {
    text += cards(runs[0]) + charts(runs) + details(runs[0]);
  } else {
    text += comparison(runs) + charts(runs) + differences(runs);
    for (const RunData& run : runs)
      text += fmt::format("<h2>{}</h2>\n{}{}", escape_html(run.name), cards(run), details(run));
  }
  return text + "<footer>Written by selene-report " SELENE_VERSION ".</footer>\n</body>\n</html>\n";
}

}  // namespace selene::train
