// The paper's numbers, and run folders and step times beside them: Tables 1 to 3 and Figure 1.
#include "train/report/paper.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "kernels/error.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "train/folder/metrics.h"
#include "train/report/figure.h"
#include "train/report/lra_runs.h"
#include "train/report/lra_tables.h"
#include "train/report/step_times.h"

namespace selene::testing {
namespace {

using namespace train;
namespace fs = std::filesystem;

const Paper kNumbers = load_paper(std::string(SELENE_SOURCE_ROOT) + "/recipes/paper/luna.yaml");
const std::vector<std::string> kFive = {"listops", "text", "retrieval", "image", "pathfinder"};

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

/// Every part stands in the text.
void check_holds(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    INFO("wanted: " << part);
    CHECK(holds(text, part));
  }
}

/// The recipe of a run, as far as the tables look at it.
std::string recipe_of(const std::string& task, const std::string& model, int seed,
                      const std::string& pooling = "cls") {
  const bool luna = model.starts_with("luna-");
  return fmt::format(
      "name: {}-{}\nmodel:\n  attention: {}\n  luna: {{projection_length: {}}}\n  pooling: {}\ndata:\n  kind: {}\n  "
      "max_length: 1026\n"
      "train:\n  updates: 20\n  seed: {}\n",
      task, model,
      luna                     ? "luna"
      : model == "transformer" ? "full"
                               : model,
      luna ? model.substr(5) : "16", pooling, task == "pathx" ? "pathfinder" : task, seed);
}

/// A run folder with a test accuracy; none for a negative one.
std::string make_run(const fs::path& folder, const std::string& recipe, double accuracy) {
  fs::create_directories(folder);
  MetricsWriter writer((folder / "metrics.jsonl").string());
  writer.append(MetricsRow{"train", 20, {{"loss", 1.0}}});
  if (accuracy >= 0) writer.append(MetricsRow{"test", 20, {{"loss", 1.0}, {"accuracy", accuracy}}});
  write_text((folder / "recipe.yaml").string(), recipe);
  return folder.string();
}

LraRun load(const std::string& folder) { return load_lra_run(folder, kNumbers); }

std::string notes_of(const std::string& task, const std::string& model, int seed, const std::string& status,
                     const std::string& more = "") {
  return fmt::format(
      R"({{"status":"{}","task":"{}","model":"{}","p":false,"seed":{},"scale":"0.001","stand_in":false,"why":"",)"
      R"("command":"selene-train {}/{}.yaml --set train.seed={}","device":"CPU, 2 threads","machine":"a machine",)"
      R"("commit":"abc1234","date":"2026-11-2{}"{}}})",
      status, task, model, seed, task, model, seed, seed, more);
}

std::string step_line(const std::string& model, int length, double ms, double mib, int batch = 4,
                      const std::string& device = "cpu") {
  return fmt::format(
      R"({{"model":"{}","length":{},"dtype":"fp32","step_ms":{},"step_median_ms":{},"slab_mib":{},"rss_mib":{},)"
      R"("batch":{},"device":"{}"}})"
      "\n",
      model, length, 0.9 * ms, ms, mib, mib + 50, batch, device);
}

}  // namespace

TEST_CASE("the paper's averages are those of its numbers") {
  REQUIRE(kNumbers.models.size() == 15);
  for (const PaperModel& m : kNumbers.models) {
    INFO(m.title);
    CHECK(std::abs(kNumbers.average(m, kFive) - m.average) <= (m.title == "Sinkhorn Trans." ? 0.095 : 0.006));
    CHECK(std::isfinite(m.speed[0]) == (m.title != "Sparse Trans." && m.title != "Longformer"));
    for (size_t n = 0; n < 4; ++n) CHECK(std::isfinite(m.speed[n]) == std::isfinite(m.memory[n]));
  }
  CHECK(kNumbers.accuracy("transformer", "listops", false) == 37.11);
  CHECK(kNumbers.accuracy("luna-256", "pathfinder", false) == 78.55);
  CHECK(kNumbers.accuracy("luna-16", "retrieval", true) == 80.22);
  CHECK(std::isnan(kNumbers.accuracy("luna-16", "image", true)));
  CHECK(std::isnan(kNumbers.accuracy("luna-64", "image", false)));
  CHECK(std::isnan(kNumbers.accuracy("luna-16", "pathx", false)));
  CHECK(std::isnan(kNumbers.accuracy("", "text", false)));
  CHECK(std::isnan(kNumbers.average(*kNumbers.model("luna-16"), {})));
  CHECK(kNumbers.model("luna-16")->average == 61.46);
  CHECK(kNumbers.model("") == nullptr);
}

TEST_CASE("a file of a paper's numbers that does not fit together") {
  const Folder folder;
  const std::string path = folder.file("p.yaml");
  const auto message = [&](const std::string& text) {
    write_text(path, text);
    return message_of([&] { load_paper(path); });
  };
  const std::string good = "tasks: {a: A, b: B}\nlengths: [1, 2]\nmodels:\n";
  CHECK(message(good + "  - {model: m, title: M, accuracy: [1]}\n") ==
        path + ":4:36: models.accuracy has 1 numbers, wanted 2");
  CHECK(message(good + "  - {model: m, title: M, speed: [1, x]}\n") ==
        path + ":4:37: models.speed is \"x\", wanted a number");
  CHECK(message(good + "  - {model: m}\n") == path + ":4:5: has no models.title, wanted it with a value");
  CHECK(message(good + "  - {title: M, colour: red}\n") ==
        path + ":4:16: unknown key models.colour, wanted model, title, accuracy, average, speed, memory, accuracy_p");
  CHECK(message("tasks: {a: A, a: B}\nmodels: []\n") == path + ":1:15: tasks.a is given twice, first in line 1");
  CHECK(message("tasks: {a: A}\nmodels: {}\n") == path + ":2:9: models is no list, wanted a row for each model");
  CHECK(message("a: 1\n") == path + ":1:1: has no tasks, wanted it with a value");
  CHECK(message("") == path + ":1:1: the file of a paper's numbers is empty, wanted keys and values");
}

TEST_CASE("a run says by its recipe which cell it is") {
  const Folder folder;
  const LraRun run = load(make_run(folder.path / "a", recipe_of("pathx", "luna-128", 3, "p"), 0.25) + "/");
  CHECK(run.task == "pathx");  // by its name, not by its length
  std::string other = recipe_of("pathx", "luna-128", 3);
  other.replace(other.find("pathx"), 5, "wide");
  CHECK(load(make_run(folder.path / "d", other, 0.25)).task == "pathfinder");
  CHECK(run.model == "luna-128");
  CHECK((run.p && run.seed == 3 && run.status == RunStatus::done));
  CHECK(run.accuracy == 0.25);
  CHECK(load(make_run(folder.path / "b", recipe_of("text", "transformer", 1), -1)).status == RunStatus::unfinished);
  make_run(folder.path / "c", "name: x\nmodel:\n  attention: luna\n", 0.5);
  CHECK(message_of([&] { load(folder.file("c")); }) ==
        folder.file("c") + "/recipe.yaml: has no data.kind, wanted the resolved recipe of a run");
  CHECK(holds(message_of([&] { load(folder.file("none")); }), "no such folder"));
}

TEST_CASE("what lies beside a run folder tells what the folder can't") {
  const Folder folder;
  write_text(folder.file("a.json"), notes_of("text", "luna-16", 1, "no data"));
  const LraRun none = load(folder.file("a"));
  CHECK((none.status == RunStatus::no_data && none.task == "text" && !none.accuracy));
  make_run(folder.path / "b", recipe_of("text", "luna-16", 2), 0.5);
  write_text(folder.file("b.json"), notes_of("text", "luna-16", 2, "unfinished"));
  CHECK(load(folder.file("b")).accuracy == 0.5);  // came to its end after all
  std::string later = notes_of("text", "luna-16", 2, "unfinished");
  later.replace(later.find(R"("why":"")"), 8, R"("why":"was interrupted")");
  write_text(folder.file("b.json"), later);
  CHECK(load(folder.file("b")).status == RunStatus::unfinished);
  write_text(folder.file("b.json"), notes_of("text", "luna-16", 2, "no data"));
  CHECK(load(folder.file("b")).status == RunStatus::no_data);
  write_text(folder.file("b.json"), notes_of("text", "luna-16", 2, "failed"));
  CHECK(load(folder.file("b")).status == RunStatus::failed);
  make_run(folder.path / "c", recipe_of("text", "luna-16", 3), -1);
  write_text(folder.file("c.json"), notes_of("text", "luna-16", 3, "done"));
  CHECK(load(folder.file("c")).status == RunStatus::unfinished);  // done, it says, but has no result
  for (const char* bad : {"", "{", "[1]", R"({"status":"fine"})", R"({"status":"done","task":1})"}) {
    write_text(folder.file("b.json"), bad);
    CHECK(message_of([&] { load(folder.file("b")); }).starts_with(folder.file("b.json") + ": "));
  }
}

TEST_CASE("mean and deviation over seeds, and what can't be averaged") {
  const Folder folder;
  std::vector<LraRun> runs;
  for (int seed = 1; seed <= 3; ++seed)
    runs.push_back(load(
        make_run(folder.path / std::to_string(seed), recipe_of("listops", "luna-16", seed), 0.34 + 0.02 * seed)));
  const LraCell cell = cell_of(runs, "listops", "luna-16", false);
  CHECK(cell.seeds == 3);
  CHECK(std::abs(cell.mean - 0.38) < 1e-12);
  CHECK(std::abs(cell.deviation - 0.02) < 1e-12);
  CHECK(cell_of(runs, "listops", "luna-16", true).runs.empty());
  CHECK(holds(accuracy_table(runs, kNumbers), "| Luna-16 | 37.43 / 38.00 ± 2.00 (3 seeds) | 65.74 / – |"));
  runs.push_back(load(make_run(folder.path / "4", recipe_of("listops", "luna-16", 2), 0.5)));
  CHECK(message_of([&] { accuracy_table(runs, kNumbers); }) ==
        folder.file("2") + " and " + folder.file("4") +
            ": both are luna-16 on listops with seed 2, wanted one run of each seed");
  runs[3].seed = 4;
  runs[3].keys[5].second = "2000";
  REQUIRE(runs[3].keys[5].first == "data.max_length");
  CHECK(message_of([&] { accuracy_table(runs, kNumbers); }) ==
        "data.max_length is 1026 in " + folder.file("1") + " and 2000 in " + folder.file("4") +
            "; wanted equal recipes for luna-16 on listops, or their mean says nothing");
}

TEST_CASE("Table 1") {
  const Folder folder;
  std::vector<LraRun> runs;
  const auto add = [&](const std::string& task, const std::string& model, int seed, double accuracy) {
    const fs::path path = folder.path / (task + model + std::to_string(seed));
    write_text(path.string() + ".json", notes_of(task, model, seed, accuracy < 0 ? "failed" : "done"));
    runs.push_back(load(make_run(path, recipe_of(task, model, seed), accuracy)));
  };
  for (const std::string& task : kFive) add(task, "luna-128", 1, 0.5);
  add("text", "luna-128", 2, -1);
  add("listops", "transformer", 1, -1);
  add("listops", "luna-64", 1, 0.125);
  add("text", "efficient", 1, 0.25);
  runs[3].stand_in = true;  // the image task
  const std::string table = accuracy_table(runs, kNumbers);
  check_holds(table,
              {"| Luna-128 | 38.01 / 50.00 (1 seed) | 65.74 / 50.00 (1 seed, 1 failed) | 79.55 / 50.00 (1 seed) | "
               "47.47 / 50.00\\* (1 seed) | 78.89 / 50.00 (1 seed) | 61.93 / 50.00\\* |\n",
               "| Transformer | 37.11 / failed | 65.21 / – |", "| luna-64 | – / 12.50 (1 seed) | – / – |",
               "| efficient | – / – | – / 25.00 (1 seed) |", "\n* ListOps, Transformer, seed 1: failed\n",
               "Scale 0.001:", "synthetic stand-in",
               "Measured on a machine, device CPU, 2 threads, commit abc1234, 2026-11-21.\n"});
  CHECK(count(table, "\nselene-train ") == runs.size());
  CHECK(!holds(table, "Path-X"));
  CHECK(table == accuracy_table(runs, kNumbers));
  add("pathx", "luna-16", 1, 0.5);
  runs.back().scale = "1";
  CHECK(holds(accuracy_table(runs, kNumbers), "| Pathfinder | Path-X | average of five |"));
  CHECK(holds(accuracy_table({}, kNumbers),
              "| Luna-16 | 37.43 / – | 65.74 / – | 79.38 / – | 46.39 / – | 78.36 / – | 61.46 / – |"));
}

TEST_CASE("Table 3") {
  const Folder folder;
  std::vector<LraRun> runs;
  for (const char* task : {"listops", "text", "retrieval"})
    for (const char* pooling : {"cls", "p"})
      runs.push_back(load(make_run(folder.path / (std::string(task) + pooling),
                                   recipe_of(task, "luna-16", 1, pooling), pooling[0] == 'p' ? 0.6 : 0.5)));
  const std::string table = pooling_table(runs, kNumbers);
  check_holds(table,
              {"| Luna-16 | [CLS] | 37.43 / 50.00 (1 seed) | 65.74 / 50.00 (1 seed) | 79.38 / 50.00 (1 seed) | "
               "60.85 / 50.00 |\n",
               "| Luna-16 | P | 38.06 / 60.00 (1 seed) | 65.81 / 60.00 (1 seed) | 80.22 / 60.00 (1 seed) | "
               "61.36 / 60.00 |\n",
               "| Luna-256 | P | 38.36 / – | 66.07 / – | 80.25 / – | 61.56 / – |\n"});
  CHECK(holds(accuracy_table(runs, kNumbers), "| Luna-16 | 37.43 / 50.00 (1 seed) |"));  // without the runs with P
}

TEST_CASE("Table 2") {
  const Folder folder;
  const std::string path = folder.file("cells.jsonl");
  write_text(path, step_line("luna-16", 1024, 50, 44) + step_line("transformer", 1024, 100, 100) +
                       step_line("luna-16", 1024, 60, 44) + step_line("transformer", 1024, 110, 100) +
                       step_line("luna-16", 1024, 40, 44) + step_line("transformer", 1024, 900, 100) +
                       step_line("luna-16", 4096, 50, 44) +
                       R"({"model":"transformer","length":4096,"dtype":"fp32","batch":4,"why":"no room"})"
                       "\n" +
                       step_line("luna-16", 1024, 5, 44, 32, "a GPU"));
  const auto groups = group_by_device(load_step_times(path), kNumbers);
  REQUIRE(groups.size() == 2);
  const StepTimes& cpu = groups[0];
  CHECK(cpu.models == std::vector<std::string>{"transformer", "luna-16"});
  CHECK(cpu.lengths == std::vector<int64_t>{1024, 4096});
  CHECK(cpu.at("transformer", 1024).median_ms == 110);
  CHECK(cpu.at("transformer", 1024).best_ms == 90);
  CHECK(cpu.speed("luna-16", 1024) == 110.0 / 50);
  CHECK(cpu.memory("luna-16", 1024) == 0.44);
  CHECK(!cpu.speed("luna-16", 4096));
  const std::string table = step_table(load_step_times(path), kNumbers);
  check_holds(table, {"| model | speed at 1024 | speed at 4096 | memory at 1024 | memory at 4096 |",
                      "| Transformer | 1.0 / 1.00 | 1.0 / failed | 1.00 / 1.00 | 1.00 / failed |",
                      "| Luna-16 | 1.2 / 2.20 | 5.5 / – | 0.44 / 0.44 | 0.10 / – |",
                      "| Luna-16 | 1024 | 4 | 3 | 50.0 | 36.0 | 20 | 2.50 | 44.0 | 94.0 |",
                      "* Transformer at 4096 failed: no room", "## a GPU, fp32"});
}

TEST_CASE("bad step times") {
  const Folder folder;
  const std::string path = folder.file("cells.jsonl");
  CHECK(holds(message_of([&] { load_step_times(path); }), "cells.jsonl: cannot be opened: No such file"));
  write_text(path, "");
  CHECK(holds(message_of([&] { load_step_times(path); }), "cells.jsonl: is empty"));
  const std::string good = step_line("luna-16", 1024, 5, 44);
  for (const std::string& bad : {std::string("{\n"), std::string("[]\n"), step_line("luna-16", 1024, 0, 44),
                                 step_line("luna-16", 1024, -1, 44), std::string("{\"model\":\"luna-16\"}\n")}) {
    write_text(path, good + bad);
    CHECK(message_of([&] { load_step_times(path); }).starts_with(path + ":2: "));
  }
  write_text(path, good + step_line("transformer", 1024, 5, 44, 8));
  CHECK(holds(message_of([&] { step_table(load_step_times(path), kNumbers); }), "batches of 8 and 4, wanted one"));
}

TEST_CASE("Figure 1") {
  const Folder folder;
  std::vector<LraRun> runs;
  const auto add = [&](const std::string& task, const std::string& model, double accuracy) {
    runs.push_back(load(make_run(folder.path / (task + model), recipe_of(task, model, 1), accuracy)));
  };
  for (const char* model : {"transformer", "luna-16", "luna-128"}) add("text", model, 0.6);
  for (const char* model : {"transformer", "luna-16"}) add("listops", model, 0.3);
  const std::string path = folder.file("cells.jsonl");
  write_text(path, step_line("luna-16", 1024, 50, 40) + step_line("transformer", 1024, 100, 100) +
                       step_line("luna-16", 2048, 100, 30) + step_line("transformer", 2048, 300, 100));
  const Figure f = figure_of(runs, load_step_times(path), kNumbers);
  CHECK(f.tasks == std::vector<std::string>{"text"});  // luna-128 has no listops
  CHECK(f.length == 2048);
  REQUIRE(f.points.size() == 2 + 13);
  CHECK(f.points[1].label == "Luna-16, ours");
  CHECK((f.points[1].ours && f.points[1].speed == 3 && f.points[1].memory == 0.3 && f.points[1].accuracy == 60));
  CHECK(f.points.back().label == "Luna-256");
  CHECK((f.points.back().speed == 1.7 && f.points.back().memory == 0.33 && f.points.back().accuracy == 65.78));
  CHECK(std::any_of(f.problems.begin(), f.problems.end(),
                    [](const std::string& p) { return holds(p, "luna-128: no times at 2048 tokens"); }));
  const std::string svg = figure_svg(f);
  CHECK(count(svg, "<title>") == f.points.size());
  CHECK(count(svg, "fill-opacity=\"0.55\"") == 2 + 1);  // and the legend's
  for (const char* bad : {"\"nan", "\"inf", "\"-inf", " nan"}) CHECK(!holds(svg, bad));
  CHECK(svg == figure_svg(f));
  const Figure none = figure_of({}, {}, kNumbers);
  CHECK((none.length == 4096 && none.tasks == kFive && none.points.size() == 13));
  CHECK(!holds(figure_svg(none), "\"nan"));
}

TEST_CASE("labels of the figure do not cover each other") {
  const std::string svg = figure_svg(figure_of({}, {}, kNumbers));
  struct Label {
    double x, y, width;
  };
  std::vector<Label> labels;
  for (size_t at = svg.find("<text class=\"mid\" x=\""); at != std::string::npos;
       at = svg.find("<text class=\"mid\" x=\"", at + 1)) {
    Label l{};
    if (std::sscanf(svg.c_str() + at, "<text class=\"mid\" x=\"%lf\" y=\"%lf\" style", &l.x, &l.y) != 2) continue;
    const size_t begin = svg.find('>', at) + 1, end = svg.find('<', begin);
    if (!holds(svg.substr(at, begin - at), "style")) continue;  // of an axis
    l.width = 6.2 * double(end - begin);
    labels.push_back(l);
  }
  REQUIRE(labels.size() == 13);
  for (size_t i = 0; i < labels.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const Label &a = labels[i], &b = labels[j];
      CHECK((std::abs(a.y - b.y) >= 12 || std::abs(a.x - b.x) >= (a.width + b.width) / 2));
    }
}

}  // namespace selene::testing
