#include "tools/program.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "data/durable_file.h"

namespace selene {

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  data::ignore_file_size_signal();
  app.set_version_flag("--version", app.get_name() + " " SELENE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    return body();
  } catch (const std::exception& e) {
    fflush(stdout);
    fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}

}  // namespace selene
