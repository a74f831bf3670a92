// selene-report: the metrics, recipes and checkpoints of runs as one HTML page, or as a table for the terminal; and
// the tables of the Luna paper with our numbers beside its own.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "data/io/durable_file.h"
#include "data/io/printable.h"
#include "data/io/same_file.h"
#include "kernels/error.h"
#include "tools/programs/program.h"
#include "train/report/figure.h"
#include "train/report/lra_tables.h"
#include "train/report/recipe_compare.h"
#include "train/report/report.h"

namespace {

using namespace selene;

struct Options {
  std::vector<std::string> runs;
  std::string out, title, paper, numbers = "recipes/paper/luna.yaml";
  bool text = false;
};

/// Whole or not at all; a pipe or a device (/dev/stdout) is written to, not replaced. What is there and by its name
/// no page may be somebody's recipe or data.
void write_page(const std::string& path, const std::string& page) {
  const bool device = data::is_stream_name(path);
  const bool page_name =
      path.ends_with(".html") || path.ends_with(".htm") || path.ends_with(".svg") || path.ends_with(".md");
  if (!device && std::filesystem::is_regular_file(path) && !page_name)
    throw Error(fmt::format("{}: is there, and no name for a page (.html, .svg, .md); --out wants another", path));
  if (!device && (!std::filesystem::exists(path) || std::filesystem::is_regular_file(path)))
    return data::write_durably(path, page);
  std::ofstream out(path, std::ios::binary | std::ios::app);
  out << page << std::flush;
  if (!out) throw Error(fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
}

/// A table or the figure of the Luna paper. What is a file holds times of steps; a folder is a run.
std::string paper_text(const Options& options) {
  if (!std::filesystem::exists(options.numbers))
    throw Error(
        fmt::format("{}: is not there, wanted the paper's numbers: --numbers with recipes/paper/luna.yaml of the "
                    "sources, or their root as the current folder",
                    options.numbers));
  const train::Paper paper = train::load_paper(options.numbers);
  std::vector<train::LraRun> runs;
  std::vector<train::StepTime> times;
  for (const std::string& path : options.runs) {
    // A cell that failed has notes and no folder.
    if (options.paper == "table2" && !std::filesystem::exists(path))
      throw Error(fmt::format("{}: no such file", path));
    const bool wanted =
        options.paper == "figure1" || (options.paper == "table2") == std::filesystem::is_regular_file(path);
    if (!wanted)
      throw Error(fmt::format(
          "{}: wanted {} for {}", path,
          options.paper == "table2" ? "a file of selene-bench step --json" : "the folder of a run", options.paper));
    if (!std::filesystem::is_regular_file(path)) {
      runs.push_back(train::load_lra_run(path, paper));
    } else {
      const auto more = train::load_step_times(path);
      times.insert(times.end(), more.begin(), more.end());
    }
  }
  train::compare_recipes(runs, train::recipes_beside(options.numbers));
  if (options.paper == "table1") return train::accuracy_table(runs, paper);
  if (options.paper == "table2") return train::step_table(times, paper);
  if (options.paper == "table3") return train::pooling_table(runs, paper);
  return train::figure_svg(train::figure_of(runs, times, paper));
}

int report_paper(const Options& options) {
  const std::string text = paper_text(options);
  if (options.out.empty()) return print(text), 0;
  selene::data::need_no_input("--out", options.out, options.runs);
  write_page(options.out, text);
  if (!data::is_stream_name(options.out)) print_line(options.out);
  return 0;
}

int report(const Options& options) {
  std::vector<train::RunData> runs;
  for (const std::string& folder : options.runs) runs.push_back(train::load_run(folder));
  train::make_names_distinct(runs);
  const std::string page = train::html_report(runs, options.title);
  for (const train::RunData& run : runs)
    for (const std::string& problem : run.problems) fmt::print(stderr, "warning: {}\n", data::printable(problem));
  if (options.text) print(train::headline_table(runs));
  if (options.text && options.out.empty()) return 0;
  const std::string beside =
      runs.size() == 1 ? (std::filesystem::path(options.runs[0]) / "report.html").string() : "";
  const std::string out = !options.out.empty() ? options.out : beside.empty() ? "report.html" : beside;
  data::need_no_input("--out", out, options.runs);
  write_page(out, page);
  if (!options.text && !data::is_stream_name(out)) print_line(out);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Writes the curves and results of runs as one HTML page without scripts.\nThe page's path is printed.",
               "selene-report");
  app.add_option("RUN", options.runs,
                 "folders of runs: runs/NAME; for table2 and figure1 also files of selene-bench step --json")
      ->check(not_empty)
      ->required();
  app.add_option("--out", options.out, "the page; default RUN/report.html for one run, report.html here for several")
      ->check(selene::named_file);
  app.add_option("--title", options.title, "its title; default the run's name");
  app.add_option(
         "--paper", options.paper,
         "table1 | table2 | table3 | figure1 of the Luna paper with these runs beside it: Markdown, and SVG for "
         "the figure; printed where --out names no file")
      ->check(CLI::IsMember({"table1", "table2", "table3", "figure1"}));
  app.add_option("--numbers", options.numbers, "with --paper: the paper's numbers; recipes beside it are compared")
      ->check(selene::not_empty)
      ->capture_default_str();
  app.add_flag("--text", options.text, "print a table of results; a page is then written only with --out");
  app.footer("Example: selene-report runs/luna-16 runs/transformer --out listops.html");
  return selene::run_program(app, argc, argv,
                             [&] { return options.paper.empty() ? report(options) : report_paper(options); });
}
