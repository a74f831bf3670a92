// What every program does alike: usage, version, exit status.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace selene {

/// Parses the arguments and runs the body. --version is added; where there are subcommands, one is wanted; numbers
/// are whole and written in digits alone. Before that, standard streams that are closed are opened on /dev/null, and
/// a write beyond a file size limit or to a pipe without a reader is made to fail instead of killing the program.
///
/// Returns the program's exit status: what the body returned; 0 for --help and --version; 2, with the reason, for
/// wrong usage; 1, with one line "error: ..." on stderr, for an exception and where standard output cannot be
/// written. It does not return where the body throws data::Interrupted, which ends the process by that signal, nor
/// where nobody reads standard output any more, which ends it by SIGPIPE.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body);

/// Writes text to standard output as a terminal may have it (data/io/printable.h); its line ends and TABs stay.
void print(std::string_view text);
/// The same for one line, whatever is in it.
void print_line(std::string_view text);

/// A check for a count from `least` to `most`.
inline std::function<std::string(const std::string&)> whole(int64_t least, int64_t most) {
  return [=](const std::string& text) -> std::string {
    const bool digits = !text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == text.npos;
    const int64_t value = digits ? std::stoll(text) : -1;
    if (digits && (text.size() == 1 || text[0] != '0') && value >= least && value <= most) return "";
    return "'" + text + "', wanted a whole number from " + std::to_string(least) + " to " + std::to_string(most) +
           ", without zeros in front";
  };
}

/// A check for an argument that may not be empty, as an unset variable of a shell makes it.
inline std::string not_empty(const std::string& text) { return text.empty() ? "is empty" : ""; }

/// A check for an option that names a file to write: what is wrong with the name, "" if nothing.
inline std::string named_file(const std::string& name) {
  return name.empty() || name == "-" ? "is '" + name + "', wanted a file's name" : "";
}

}  // namespace selene
