#include "tools/programs/program.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>
#include <sstream>
#include <string>
#include <system_error>

#include "data/io/durable_file.h"
#include "data/io/machine.h"
#include "data/io/printable.h"
#include "data/io/stop.h"

namespace selene {
namespace {

// A descriptor that is closed would be the next file's, and the log or the results would go into that.
void open_standard_streams() {
  for (const int number : {0, 1, 2})
    if (fcntl(number, F_GETFD) < 0 && open("/dev/null", O_RDWR) != number) _exit(1);
}

bool reader_is_gone(int descriptor) {
  pollfd pipe{descriptor, POLLOUT, 0};
  return poll(&pipe, 1, 0) > 0 && (pipe.revents & POLLERR);
}

std::string out_of_memory() {
  const data::UsableMemory memory = data::usable_memory();
  return "out of memory: the " + std::string(memory.limit) + " has " + std::to_string(memory.bytes >> 20) +
         " MiB left";
}

// What an exception says to a person; a library's own text is no message.
std::string problem_of(const std::exception& thrown) {
  if (const auto* e = dynamic_cast<const std::filesystem::filesystem_error*>(&thrown))
    return e->path1().string() + ": " + e->code().message();
  if (dynamic_cast<const std::bad_alloc*>(&thrown) || dynamic_cast<const std::length_error*>(&thrown))
    return out_of_memory();
  if (const auto* e = dynamic_cast<const std::system_error*>(&thrown);
      e && e->code() == std::errc::resource_unavailable_try_again)
    return "a thread cannot be started: " + e->code().message() + " (ulimit -u or -v, or the container's limit)";
  if (dynamic_cast<const Error*>(&thrown)) return thrown.what();
  return std::string("a defect of this program, please report it: ") + thrown.what();
}

int run_body(const std::function<int()>& body) {
  std::string problem;
  int stopped_by = 0, status = 1;
  try {
    status = body();
  } catch (const data::Interrupted& e) {
    problem = e.what(), stopped_by = data::stop_signal();
  } catch (const std::exception& e) {
    problem = problem_of(e);
  }
  if (fflush(stdout) != 0 || ferror(stdout)) {
    problem = std::string("standard output cannot be written: ") + strerror(errno);
    if (reader_is_gone(STDOUT_FILENO)) stopped_by = SIGPIPE, problem.clear();  // like any program in a pipe
  }
  if (!problem.empty()) status = 1, fprintf(stderr, "error: %s\n", data::printable(problem).c_str());
  if (stopped_by) data::end_by_signal(stopped_by);
  return status;
}

// The library reads 010 as 8, 0x10 as 16, and numbers beyond 64 bits as others.
void check_numbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options())
    for (const char* number : {"INT", "UINT", "N"})
      if (option->get_type_name() == number || option->get_type_name().starts_with(std::string(number) + ":"))
        option->check(whole(0, 999'999'999'999'999'999));
  for (CLI::App* command : app.get_subcommands({})) check_numbers(*command);
}

}  // namespace

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  open_standard_streams();
  data::ignore_file_size_signal();
  signal(SIGPIPE, SIG_IGN);  // a run goes on when nobody reads its log any more
  app.set_version_flag("--version", app.get_name() + " " SELENE_VERSION);
  check_numbers(app);
  try {
    app.parse(argc, argv);
    // CLI11's own check comes before an unknown word is named.
    if (!app.get_subcommands(nullptr).empty() && app.get_subcommands().empty())
      throw CLI::RequiredError("A subcommand");
  } catch (const CLI::ParseError& e) {
    std::ostringstream out, errors;  // they quote the arguments
    const bool wrong = app.exit(e, out, errors) != 0;
    print(out.str());
    fputs(data::printable(errors.str(), "\n").c_str(), stderr);
    return wrong ? 2 : run_body([] { return 0; });
  }
  return run_body(body);
}

void print(std::string_view text) {
  const std::string shown = data::printable(text, "\n\t");
  fwrite(shown.data(), 1, shown.size(), stdout);
}

void print_line(std::string_view text) { print(data::printable(text) + "\n"); }

}  // namespace selene
