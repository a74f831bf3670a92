#include "tools/program.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <new>
#include <string>

#include "data/durable_file.h"

namespace selene {

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  data::ignore_file_size_signal();
  app.set_version_flag("--version", app.get_name() + " " SELENE_VERSION);
  try {
    app.parse(argc, argv);
    // CLI11's own check comes before an unknown word is named.
    if (!app.get_subcommands(nullptr).empty() && app.get_subcommands().empty())
      throw CLI::RequiredError("A subcommand");
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  std::string problem;
  try {
    const int status = body();
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    problem = "standard output cannot be written";
  } catch (const std::filesystem::filesystem_error& e) {
    problem = e.path1().string() + ": " + e.code().message();
  } catch (const std::bad_alloc&) {
    problem = "out of memory";
  } catch (const std::exception& e) {
    problem = e.what();
  }
  fflush(stdout);
  fprintf(stderr, "error: %s\n", problem.c_str());
  return 1;
}

}  // namespace selene
