#include "train/folder/metrics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include "data/io/durable_file.h"
#include "data/io/json.h"
#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "kernels/error.h"

namespace selene::train {
namespace {

constexpr size_t kMostNames = 100;                    // each gets a curve; a run has some fifteen
constexpr int64_t kMostProblems = 20;                 // that are said one by one
constexpr uint64_t kLargestFile = uint64_t(1) << 32;  // bytes; some ten million rows

Error failed(const std::string& path, const char* what) {
  return Error(fmt::format("{}: cannot {}: {}", path, what, std::strerror(errno)));
}

std::string number(double value) {
  if (std::isnan(value)) return "\"nan\"";
  if (std::isinf(value)) return value > 0 ? "\"inf\"" : "\"-inf\"";
  if (value == 0 && std::signbit(value)) return "-0.0";  // "-0" would be read as an integer, which has no sign
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

double number_of(const data::Json& value, const std::string& name) {
  if (const auto number = value.number()) return *number;
  const std::string* text = value.text();
  if (text && *text == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (text && *text == "inf") return std::numeric_limits<double>::infinity();
  if (text && *text == "-inf") return -std::numeric_limits<double>::infinity();
  throw Error(fmt::format("{} is {}, not a number", data::shown(name), data::shown_bare(value.dump())));
}

/// All bytes go out or Error is thrown; interrupted and partial writes are continued.
void write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw failed(path, "write");
    bytes.remove_prefix(size_t(n));
  }
}

std::string read_text(const std::string& path) {
  return data::read_regular_file(path, kLargestFile, "lines of metrics");
}

/// Calls line(number from 1, text without its end, whether it had an end) for each line that is not empty.
template <class F>
void for_lines(std::string_view text, const F& line) {
  for (int64_t n = 1; !text.empty(); ++n) {
    const size_t end = text.find('\n');
    const bool ended = end != std::string_view::npos;
    const std::string_view content = text.substr(0, end);
    text.remove_prefix(ended ? end + 1 : text.size());
    if (!content.empty()) line(n, content, ended);
  }
}

}  // namespace

MetricsRow& MetricsRow::add(std::string_view name, double value) {
  values.push_back({std::string(name), value});
  return *this;
}

std::optional<double> MetricsRow::find(std::string_view name) const {
  for (const Metric& m : values)
    if (m.name == name) return m.value;
  return std::nullopt;
}

bool is_time(std::string_view name) { return name.size() > 2 && name.substr(name.size() - 2) == "_s"; }

std::string to_json(const MetricsRow& row, Times times) {
  std::string text = fmt::format("{{\"kind\":{},\"update\":{}", data::quoted_json(row.kind), row.update);
  for (bool time : {false, true}) {
    if (time && times == Times::drop) break;
    for (const Metric& m : row.values)
      if (is_time(m.name) == time) text += fmt::format(",{}:{}", data::quoted_json(m.name), number(m.value));
  }
  return text + '}';
}

MetricsRow parse_row(std::string_view line) {
  data::Json object;
  try {
    object = data::parse_json(line, "");
  } catch (const Error&) {
    throw Error("not a JSON object");
  }
  if (!object.members()) throw Error("not a JSON object");
  const data::Json *kind = object.find("kind"), *update = object.find("update");
  if (!kind || !kind->text()) throw Error("no \"kind\" with a text");
  if (!update || update->integer().value_or(-1) < 0) throw Error("no \"update\" with a count");
  MetricsRow row{*kind->text(), *update->integer(), {}};
  for (const auto& [name, value] : *object.members())
    if (&value != kind && &value != update) row.add(name, number_of(value, name));
  return row;
}

MetricsFile read_metrics(const std::string& path) {
  MetricsFile file;
  std::set<std::string> names;
  int64_t bad = 0;
  for_lines(read_text(path), [&](int64_t n, std::string_view line, bool ended) {
    try {
      MetricsRow row = parse_row(line);
      for (const Metric& m : row.values)
        if (names.size() < kMostNames) names.insert(m.name);
        else if (!names.count(m.name)) throw Error(fmt::format("has metrics beyond the first {}", kMostNames));
      file.rows.push_back(std::move(row));
    } catch (const Error& error) {
      if (ended && ++bad <= kMostProblems) file.problems.push_back(fmt::format("{}:{}: {}", path, n, error.what()));
      file.cut = file.cut || !ended;
    }
  });
  if (bad > kMostProblems)
    file.problems.push_back(fmt::format("{}: {} more lines that cannot be used", path, bad - kMostProblems));
  return file;
}

int64_t truncate_after(const std::string& path, int64_t update, bool validation_due) {
  constexpr int64_t everything = std::numeric_limits<int64_t>::max();
  if (!std::filesystem::is_regular_file(path)) return 0;
  const std::string text = read_text(path);
  std::string kept;
  int64_t dropped = 0;
  for_lines(text, [&](int64_t, std::string_view line, bool) {
    bool keep = false;
    try {
      const MetricsRow row = parse_row(line);
      keep = row.update <= update && (row.kind != "test" || update == everything) &&
             !(validation_due && row.kind == "valid" && row.update == update);
    } catch (const Error&) {
    }
    if (keep) kept.append(line) += '\n';
    dropped += !keep;
  });
  if (kept != text) data::write_durably(path, kept);
  return dropped;
}

MetricsWriter::MetricsWriter(const std::string& path) : path_(path) {
  truncate_after(path);
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) throw failed(path, "open for writing");
}

MetricsWriter::~MetricsWriter() { ::close(fd_); }

void MetricsWriter::append(const MetricsRow& row) { write_all(fd_, to_json(row) + '\n', path_); }

void MetricsWriter::sync() {
  if (::fsync(fd_) != 0) throw failed(path_, "write");
}

}  // namespace selene::train
