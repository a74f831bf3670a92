// The report: axes, charts, headline numbers, reading of run folders, the page.
#include "train/report/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "data/io/safetensors.h"
#include "kernels/error.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "train/folder/checkpoint_files.h"

namespace selene::testing {
namespace {

using namespace train;
namespace fs = std::filesystem;

constexpr double kNanValue = std::numeric_limits<double>::quiet_NaN();
using Numbers = std::vector<double>;

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

/// The coordinates of a chart's series: its path elements that are no grid line and no axis.
std::vector<std::string> series_paths(const std::string& chart) {
  std::vector<std::string> paths;
  for (size_t at = chart.find("<g class=\"c"); at != std::string::npos; at = chart.find("<g class=\"c", at + 1)) {
    const size_t begin = chart.find(" d=\"", at) + 4;
    paths.push_back(chart.substr(begin, chart.find('"', begin) - begin));
  }
  return paths;
}

size_t points(const std::string& path) { return count(path, "M") + count(path, "L"); }

Plot line(const Numbers& y) {
  Plot plot{"t", false, {{"run", 0, false, false, {}, y}}};
  for (size_t i = 0; i < y.size(); ++i) plot.series[0].x.push_back(100 * double(i + 1));
  return plot;
}

/// A run with a training row every 10 updates and a validation every 20.
std::string make_run(const fs::path& folder, const std::string& recipe, double accuracy) {
  fs::create_directories(folder);
  MetricsWriter writer((folder / "metrics.jsonl").string());
  for (int u = 10; u <= 40; u += 10) {
    writer.append(MetricsRow{"train", u, {{"epoch", 0.1 * u}, {"loss", 2.0 / u}, {"lr", 1e-4}, {"wall_s", 1.0 * u}}});
    if (u % 20 == 0) writer.append(MetricsRow{"valid", u, {{"loss", 3.0 / u}, {"accuracy", accuracy + 0.001 * u}}});
  }
  std::ofstream(folder / "recipe.yaml") << recipe;
  return folder.string();
}

std::string error_of(const std::string& folder) {
  try {
    load_run(folder);
  } catch (const Error& error) {
    return error.what();
  }
  return "loaded";
}

}  // namespace

TEST_CASE("ticks are round numbers inside the range") {
  CHECK(nice_ticks(0, 5000, 5) == Numbers{0, 1000, 2000, 3000, 4000, 5000});
  CHECK(nice_ticks(0, 1, 5) == Numbers{0, 0.2, 0.4, 0.6, 0.8, 1});
  CHECK(nice_ticks(1.53, 2.31, 5) == Numbers{1.6, 1.8, 2, 2.2});
  CHECK(nice_ticks(0, 1e-4, 5) == Numbers{0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4});
  CHECK(nice_ticks(-7, 12, 4) == Numbers{-5, 0, 5, 10});
  CHECK(!std::signbit(nice_ticks(0, 1, 5)[0]));
  for (double at : {0.0, 3.0, -1e-9, 1e15, 1e300, -1e300}) {  // no width, or one below the resolution
    const Numbers ticks = nice_ticks(at, at, 5);
    CHECK((!ticks.empty() && ticks.size() <= 12));
  }
  for (double low : {-3.7, 0.0, 0.013, 812.0})
    for (double width = 1e-5; width < 1e7; width *= 1.7) {
      const Numbers ticks = nice_ticks(low, low + width, 5);
      CHECK((ticks.size() >= 2 && ticks.size() <= 7));
      CHECK((ticks.front() >= low - 1e-6 * width && ticks.back() <= low + width * (1 + 1e-6)));
      CHECK(std::is_sorted(ticks.begin(), ticks.end()));
    }
  CHECK(log_ticks(0.05, 120) == Numbers{0.1, 1, 10, 100});
  CHECK(log_ticks(1, 20) == Numbers{1, 2, 5, 10, 20});
  CHECK(log_ticks(1e-12, 1e12).size() <= 8);
}

TEST_CASE("labels of ticks") {
  CHECK(tick_label(0) == "0");
  CHECK(tick_label(0.25) == "0.25");
  CHECK(tick_label(2e-5) == "2e-5");
  CHECK(tick_label(1e-4) == "1e-4");
  CHECK(tick_label(-2.5e-7) == "-2.5e-7");
  CHECK(tick_label(1500) == "1,500");
  CHECK(tick_label(20000) == "20k");
  CHECK(tick_label(1250000) == "1.25M");
  CHECK(tick_label(3e12) == "3e12");
  CHECK(with_commas(1234567) == "1,234,567");
  CHECK(with_commas(-123) == "-123");
  CHECK(with_commas(-1234) == "-1,234");
  CHECK(with_commas(999) == "999");
}

TEST_CASE("text is escaped") {
  CHECK(escape_html("<b a=\"1\" c='2'>&amp;\x01\n\xc3\xa9") ==
        "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;\\x01\n\xc3\xa9");
}

TEST_CASE("a chart has a point for each row, in place") {
  const std::string chart = svg(line({0, 1, 2, 3, 4}));
  const auto paths = series_paths(chart);
  REQUIRE(paths.size() == 1);
  CHECK(points(paths[0]) == 5);
  CHECK(count(paths[0], "M") == 1);
  // x from 0 at 50 to update 500 at 416; y with 4 % of room above the highest and none below 0.
  CHECK(paths[0] == "M123.2 212.0L196.4 163.4L269.6 114.9L342.8 66.3L416.0 17.8");
  CHECK(count(chart, "<text class=\"y\"") == 5);
  CHECK(count(chart, "<text class=\"x\"") == 7);  // ticks from 0 to 500, and "updates"
}

TEST_CASE("values that are not finite leave a gap, and lonely points stay visible") {
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(series_paths(svg(line({1, 2, kNanValue, 3, infinity, 4, 5})))[0].find("nan") == std::string::npos);
  const std::string path = series_paths(svg(line({1, 2, kNanValue, 3, infinity, 4, 5})))[0];
  CHECK(points(path) == 5);
  CHECK(count(path, "M") == 3);
  CHECK(count(path, "h0") == 1);
  CHECK(svg(line({kNanValue, infinity, 1e305})).find("no finite values") != std::string::npos);
  CHECK(svg(line({})).find("no finite values") != std::string::npos);
  for (const Numbers& y :
       {Numbers{5}, Numbers{0, 0}, Numbers{-1e300, 1e300}, Numbers{1e-300, 1e300}, Numbers{5e-324, 1}}) {
    const std::string chart = svg(line(y));
    CHECK(points(series_paths(chart)[0]) == y.size());
    CHECK((chart.find("nan") == std::string::npos && chart.find("inf") == std::string::npos));
  }
}

TEST_CASE("long series are thinned, with their peaks and gaps") {
  Numbers y(100000, 1.0);
  y[40000] = 50, y[70000] = -50, y[90000] = kNanValue;
  const std::string path = series_paths(svg(line(y)))[0];
  CHECK(points(path) <= 2000);
  CHECK(points(path) >= 1000);
  CHECK(count(path, "M") == 2);
  CHECK(count(path, " 17.5") == 1);   // the top of the range less its room
  CHECK(count(path, " 204.5") == 1);  // the bottom
}

TEST_CASE("headline numbers") {
  const std::vector<MetricsRow> rows = {
      {"train", 10, {{"examples_per_s", 100}, {"wall_s", 50}, {"parameters", 1234}, {"epoch", 1}}},
      {"valid", 10, {{"accuracy", 0.5}, {"loss", 2}}},
      {"train", 20, {{"examples_per_s", 300}, {"wall_s", 90}}},
      {"valid", 20, {{"accuracy", 0.6}, {"loss", kNanValue}}},
      {"train", 30, {{"examples_per_s", 200}, {"wall_s", 20}}},  // resumed
      {"valid", 30, {{"accuracy", 0.6}, {"loss", 1}}},
      {"valid", 40, {{"accuracy", kNanValue}, {"loss", 1.5}}},
      {"test", 40, {{"accuracy", 0.55}, {"loss", 1.25}}},
  };
  const Headline h = headline_of(rows);
  REQUIRE(h.measures.size() == 2);
  const HeadlineMeasure &accuracy = h.measures[0], &loss = h.measures[1];
  CHECK((accuracy.name == "accuracy" && accuracy.best == 0.6 && accuracy.best_update == 20 && accuracy.test == 0.55));
  CHECK((loss.name == "loss" && loss.best == 1 && loss.best_update == 30 && loss.test == 1.25));
  CHECK(h.parameters == 1234);
  CHECK(h.updates == 40);
  CHECK(h.epochs == 1);
  CHECK(h.wall_s == 110);
  CHECK(h.examples_per_s == 200);
  CHECK(headline_of(rows, "classification", "loss").measures[0].name == "loss");
  CHECK_THROWS_AS(headline_of(rows, "knitting"), Error);
  const Headline none = headline_of({});
  CHECK((!none.measures[0].best && !none.wall_s && !none.examples_per_s && none.updates == 0));
  CHECK(duration_text(44.6) == "45 s");
  CHECK(duration_text(725) == "12 min 05 s");
  CHECK(duration_text(11220) == "3 h 07 min");
}

TEST_CASE("a run folder is read with its recipe and checkpoints") {
  const Folder folder;
  const std::string run_path = make_run(folder.path / "luna", "model:\n  dim: 64\n  list: [1, 2]\n", 0.3);
  const float weights[6] = {};
  const std::vector<data::TensorBytes> tensors = {{"w", DType::f32, {2, 2}, weights},
                                                  {"optimizer.m", DType::f32, {2}, weights}};
  write_checkpoint(run_path + "/checkpoints", 20, tensors, {});
  write_checkpoint(run_path + "/checkpoints", 40, tensors, {{"state", R"({"has_best":true,"best_update":20})"}});
  const RunData run = load_run(run_path + "/");
  CHECK(run.name == "luna");
  CHECK(run.problems.empty());
  CHECK(run.rows.size() == 6);
  CHECK(run.headline.parameters == 4);
  CHECK(run.headline.measures[0].best_update == 40);
  CHECK(run.checkpoints ==
        std::vector<std::string>{"update-00000040.safetensors (last)", "update-00000020.safetensors (best)"});
  REQUIRE(run.keys.size() == 3);
  CHECK(run.keys[0] == std::pair<std::string, std::string>("model.dim", "64"));
  CHECK(run.keys[2] == std::pair<std::string, std::string>("model.list.1", "2"));
}

TEST_CASE("the headline of a run has its task's measures and the best_metric first") {
  const Folder folder;
  const auto add = [&](const char* name, const char* recipe, const MetricsRow& valid) {
    const fs::path path = folder.path / name;
    fs::create_directories(path);
    MetricsWriter writer((path / "metrics.jsonl").string());
    for (const MetricsRow& row : {valid, MetricsRow{"test", 3, {{"perplexity", 6.5}, {"accuracy", 0.25}}}})
      writer.append(row);
    std::ofstream(path / "recipe.yaml") << recipe;
    return load_run(path.string());
  };
  const RunData model =
      add("lm", "task: language_model\ntrain: {best_metric: perplexity}\n",
          {"valid", 2, {{"loss", 2}, {"bits_per_character", 2.75}, {"perplexity", 7}, {"accuracy", 0.5}}});
  REQUIRE(model.headline.measures.size() == 4);
  CHECK((model.headline.measures[0].name == "perplexity" && model.headline.measures[0].test == 6.5));
  CHECK(find_measure(model.headline, "bits_per_character")->best == 2.75);
  const RunData better =
      add("lm2", "task: language_model\ntrain: {best_metric: perplexity}\n", {"valid", 1, {{"perplexity", 5}}});
  CHECK(count(html_report({model, better}), "<b>5.0000</b>") == 1);  // less is better
  const std::string table =
      headline_table({model, add("c", "train: {best_metric: accuracy}\n", {"valid", 1, {{"accuracy", 0.5}}})});
  CHECK(table.find("test perplexity  best valid perplexity") != table.npos);
  CHECK(count(table, "test accuracy") == 1);
  CHECK(count(table, "50.00 %") == 2);
  const RunData old = add("old", "task: knitting\n", {"valid", 1, {{"accuracy", 0.5}}});
  CHECK((old.problems.size() == 1 && old.headline.measures[0].best == 0.5));
}

TEST_CASE("bad run folders") {
  const Folder folder;
  const std::string path = folder.path.string();
  CHECK(error_of(path + "/none") == path + "/none: no such folder; wanted a run's folder");
  CHECK(error_of(path) == path + ": is not a run: has no metrics.jsonl (selene-train makes runs/NAME)");
  const std::string run_path = make_run(folder.path / "a", "a: [1\n", 0.1);
  std::ofstream(run_path + "/metrics.jsonl", std::ios::app)
      << "{]\n{\"kind\":\"train\",\"update\":50,\"loss\":\"nan\"}\n{\"ki";
  fs::create_directories(run_path + "/checkpoints");
  std::ofstream(run_path + "/checkpoints/update-00000040.safetensors") << "random bytes";
  const RunData run = load_run(run_path);
  CHECK(run.rows.size() == 7);
  REQUIRE(run.problems.size() == 5);
  CHECK(run.problems[0] == run_path + "/metrics.jsonl:7: not a JSON object");
  CHECK(run.problems[1] == run_path + "/metrics.jsonl: the last line is cut: the run was killed while it wrote");
  CHECK(run.problems[2] == run_path + "/metrics.jsonl: train loss is not finite in 1 row, first at update 50");
  CHECK(run.problems[3].find(run_path + "/recipe.yaml:2:1: ") == 0);
  CHECK(run.problems[4].find("update-00000040.safetensors") != std::string::npos);
  CHECK(html_report({run}).find("metrics.jsonl:7: not a JSON object") != std::string::npos);
}

TEST_CASE("a run without rows is reported beside others, not alone") {
  const Folder folder;
  fs::create_directories(folder.path / "empty");
  std::ofstream(folder.path / "empty" / "metrics.jsonl").flush();
  const RunData empty = load_run((folder.path / "empty").string());
  CHECK(empty.problems[0].find("has no rows yet") != std::string::npos);
  CHECK_THROWS_AS(html_report({empty}), Error);
  CHECK_THROWS_AS(html_report({empty, empty}), Error);
  const RunData full = load_run(make_run(folder.path / "full", "a: 1\n", 0.5));
  CHECK(html_report({full, empty}).find("has no rows yet") != std::string::npos);
}

TEST_CASE("the page of one run") {
  const Folder folder;
  const RunData run = load_run(make_run(folder.path / "<luna>", "description: <script>alert(1)</script>\n", 0.3));
  const std::string page = html_report({run});
  CHECK(page == html_report({run}));
  CHECK(count(page, "<h1>&lt;luna&gt;</h1>") == 1);
  CHECK(count(page, "<script") == 0);
  CHECK(count(page, "&lt;script&gt;alert(1)") == 1);
  CHECK(count(page, "http") == 0);  // nothing from elsewhere
  CHECK(count(page, "<svg") == 3);  // loss, accuracy, learning rate
  CHECK(count(page, "</svg>") == 3);
  CHECK(count(page, "prefers-color-scheme:dark") == 2);
  CHECK(count(page, "34.00 %") == 1);
  const auto plots = plots_of({run});
  REQUIRE(plots[0].series.size() == 2);
  const auto paths = series_paths(svg(plots[0]));
  CHECK(points(paths[0]) == 4);
  CHECK(points(paths[1]) == 2);
  CHECK(html_report({run}, "T & T").find("<title>T &amp; T</title>") != std::string::npos);
}

TEST_CASE("the page and the table of several runs") {
  const Folder folder;
  std::vector<RunData> runs;
  for (int i = 0; i < 12; ++i) {
    const fs::path path = folder.path / std::to_string(i) / (i < 2 ? "same" : fmt::format("r{}", i));
    const std::string recipe = fmt::format("name: r\nmodel:\n  dim: 64\n  heads: {}\n", i / 6);
    runs.push_back(load_run(make_run(path, recipe, 0.01 * i)));
  }
  runs[3].rows[0].add("perplexity", 9);
  make_names_distinct(runs);
  CHECK(runs[0].name == runs[0].path);
  CHECK(runs[2].name == "r2");
  const std::string page = html_report(runs);
  CHECK(page.find("<h1>12 runs</h1>") != std::string::npos);
  for (int i = 0; i < 12; ++i) CHECK(count(page, fmt::format(".c{}{{--c:", i)) == 2);
  CHECK(count(page, "<b>15.00 %</b>") == 1);  // the best accuracy, 0.11 + 0.04
  CHECK(page.find("<td>model.heads</td><td>0</td>") != std::string::npos);
  CHECK(page.find("<td>model.dim</td>") == std::string::npos);
  const auto plots = plots_of(runs);
  REQUIRE(plots.size() == 4);
  CHECK(plots[0].series.size() == 24);
  CHECK(plots[3].title == "perplexity");
  const std::string table = headline_table(runs);
  CHECK(count(table, "\n") == 13);
  const size_t width = table.find('\n');
  for (size_t at = 0; at < table.size(); at += width + 1) CHECK(table[at + width] == '\n');
}

}  // namespace selene::testing
