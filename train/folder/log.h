// The log of a run: lines on stderr and, once a file is open, in log.txt of the run folder. Never writes to stdout.
#pragma once
#include <string>
#include <string_view>

#include "train/folder/metrics.h"

namespace selene::train {

enum class LogLevel { debug, info, warning, error };

/// Lines below `screen` are not shown on stderr, lines below `file` do not go to the file.
void set_log_levels(LogLevel screen, LogLevel file = LogLevel::debug);

/// Appends all further lines to this file as well, each with its time, and written out at once; the first hundred
/// that were said before any file was open come first. An open file is closed first. Throws Error with path and
/// reason.
void open_log(const std::string& path);
/// Ends the file; stderr goes on.
void close_log();

/// One line (line breaks inside become spaces). Works from any thread, before open_log and beside a progress bar,
/// which it clears first. A full disk is told once on stderr and does not stop the run.
void log_line(LogLevel level, std::string_view text);
inline void log_debug(std::string_view text) { log_line(LogLevel::debug, text); }
inline void log_info(std::string_view text) { log_line(LogLevel::info, text); }
inline void log_warning(std::string_view text) { log_line(LogLevel::warning, text); }
inline void log_error(std::string_view text) { log_line(LogLevel::error, text); }

/// One line in the open file alone: why a program ends, which it says on stderr by itself.
void log_to_file(LogLevel level, std::string_view text);

/// "kind=train update=100 epoch=0.5 loss=2.302 lr=0.0001 ...": the values of a row with 5 significant digits, for
/// people; metrics.jsonl has the exact ones.
std::string key_values(const MetricsRow& row);

}  // namespace selene::train
