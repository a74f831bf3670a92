#include "train/folder/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "data/io/printable.h"
#include "data/io/progress.h"
#include "kernels/error.h"

namespace selene::train {
namespace {

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

/// On a terminal, unless the user asks for none (no-color.org).
spdlog::color_mode colours() {
  const char* none = std::getenv("NO_COLOR");
  return none && *none ? spdlog::color_mode::never : spdlog::color_mode::automatic;
}

constexpr size_t kEarlyLines = 100;

struct Logger {
  std::mutex mutex;
  spdlog::logger screen{"screen", std::make_shared<spdlog::sinks::stderr_color_sink_mt>(colours())};
  std::unique_ptr<spdlog::logger> file;
  std::vector<std::pair<LogLevel, std::string>> early;  // said before a file was open: goes to its beginning
  LogLevel file_level = LogLevel::debug;
  bool file_failed = false;

  Logger() { screen.set_pattern("%H:%M:%S %^%l%$ %v"); }
};

Logger& logger() {
  static Logger instance;
  return instance;
}

}  // namespace

void set_log_levels(LogLevel screen, LogLevel file) {
  Logger& l = logger();
  const std::lock_guard lock(l.mutex);
  l.screen.set_level(level_of(screen));
  l.file_level = file;
  if (l.file) l.file->set_level(level_of(file));
}

void open_log(const std::string& path) {
  Logger& l = logger();
  const std::lock_guard lock(l.mutex);
  l.file.reset();
  l.file_failed = false;
  try {
    l.file = std::make_unique<spdlog::logger>("file", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
  } catch (const spdlog::spdlog_ex&) {
    throw Error(fmt::format("{}: cannot open the log: {}", path, std::strerror(errno)));
  }
  l.file->set_pattern("%Y-%m-%dT%H:%M:%S%z %l %v");
  l.file->set_level(level_of(l.file_level));
  l.file->flush_on(spdlog::level::trace);
  l.file->set_error_handler([&l, path](const std::string& reason) {
    if (!l.file_failed) l.screen.error("{}: cannot write the log: {}", path, reason);
    l.file_failed = true;
  });
  for (const auto& [level, line] : l.early) l.file->log(level_of(level), spdlog::string_view_t(line));
  l.early.clear();
}

void close_log() {
  Logger& l = logger();
  const std::lock_guard lock(l.mutex);
  l.file.reset();
}

void log_line(LogLevel level, std::string_view text) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  line = data::printable(line);
  Logger& l = logger();
  const std::lock_guard lock(l.mutex);
  const data::AboveProgress above;
  l.screen.log(level_of(level), spdlog::string_view_t(line));
  if (l.file) l.file->log(level_of(level), spdlog::string_view_t(line));
  else if (l.early.size() < kEarlyLines) l.early.emplace_back(level, std::move(line));
}

void log_to_file(LogLevel level, std::string_view text) {
  Logger& l = logger();
  const std::lock_guard lock(l.mutex);
  if (l.file) l.file->log(level_of(level), spdlog::string_view_t(text));
}

std::string key_values(const MetricsRow& row) {
  std::string text = fmt::format("kind={} update={}", row.kind, row.update);
  for (const Metric& m : row.values)
    text += fmt::format(" {}={:.5g}", m.name, std::isnan(m.value) ? std::abs(m.value) : m.value);  // no "-nan"
  return text;
}

}  // namespace selene::train
