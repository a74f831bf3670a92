// selene-report: the metrics, recipes and checkpoints of runs as one HTML page, or as a table for the terminal.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "data/durable_file.h"
#include "kernels/error.h"
#include "tools/program.h"
#include "train/report.h"

namespace {

using namespace selene;

struct Options {
  std::vector<std::string> runs;
  std::string out, title;
  bool text = false;
};

/// Whole or not at all; a pipe or a device (/dev/stdout) is written to, not replaced.
void write_page(const std::string& path, const std::string& page) {
  if (!std::filesystem::exists(path) || std::filesystem::is_regular_file(path))
    return data::write_durably(path, page);
  std::ofstream out(path, std::ios::binary);
  out << page << std::flush;
  if (!out) throw Error(fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
}

int report(const Options& options) {
  std::vector<train::RunData> runs;
  for (const std::string& folder : options.runs) runs.push_back(train::load_run(folder));
  train::make_names_distinct(runs);
  const std::string page = train::html_report(runs, options.title);
  for (const train::RunData& run : runs)
    for (const std::string& problem : run.problems) fmt::print(stderr, "warning: {}\n", problem);
  if (options.text) fmt::print("{}", train::headline_table(runs));
  if (options.text && options.out.empty()) return 0;
  const std::string beside =
      runs.size() == 1 ? (std::filesystem::path(options.runs[0]) / "report.html").string() : "";
  const std::string out = !options.out.empty() ? options.out : beside.empty() ? "report.html" : beside;
  write_page(out, page);
  if (!options.text) fmt::print("{}\n", out);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Writes the curves and results of runs as one HTML page without scripts.\nThe page's path is printed.",
               "selene-report");
  app.add_option("RUN", options.runs, "folders of runs: runs/NAME")->required();
  app.add_option("--out", options.out, "the page; default RUN/report.html for one run, report.html here for several");
  app.add_option("--title", options.title, "its title; default the run's name");
  app.add_flag("--text", options.text, "print a table of results; a page is then written only with --out");
  app.footer("Example: selene-report runs/luna-16 runs/transformer --out listops.html");
  return selene::run_program(app, argc, argv, [&] { return report(options); });
}
