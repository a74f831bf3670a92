#include "data/io/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "data/io/printable.h"

namespace selene::data {
namespace {

using Clock = std::chrono::steady_clock;

std::mutex screen;              // guards every Progress and the cursor's line
Progress* on_screen = nullptr;  // the job whose bar was drawn last

double rate(const ProgressState& s) { return s.seconds > 1e-3 ? double(s.done - s.first) / s.seconds : 0; }

std::string rate_text(double r) {
  return r >= 100 || r == 0 ? fmt::format("{:.0f}", r) : fmt::format("{:.{}f}", r, r >= 10 ? 1 : 2);
}

std::string left_text(const ProgressState& s) {
  const double r = rate(s);
  return clock_text(r > 0 ? double(s.total - s.done) / r : std::numeric_limits<double>::infinity()) + " left";
}

int percent(const ProgressState& s) { return int(std::clamp(100.0 * double(s.done) / double(s.total), 0.0, 100.0)); }

bool is_terminal() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) && term && std::string_view(term) != "dumb";
}

int terminal_width() {
  const char* columns = std::getenv("COLUMNS");  // said on purpose, or where the terminal does not know
  if (const int width = columns ? std::atoi(columns) : 0; width > 0) return width;
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// Errors are ignored: a job must not fail because nobody can watch it.
void put(const std::string& text) {
  const char* p = text.data();
  for (size_t left = text.size(); left > 0;) {
    const ssize_t n = ::write(STDERR_FILENO, p, left);
    if (n <= 0) return;
    p += n, left -= size_t(n);
  }
}

}  // namespace

std::string clock_text(double seconds) {
  if (!(seconds >= 0 && seconds < 1e15)) return "-:--";
  const int64_t s = std::llround(seconds), h = s / 3600, m = s / 60 % 60;
  return h > 0 ? fmt::format("{}:{:02}:{:02}", h, m, s % 60) : fmt::format("{}:{:02}", m, s % 60);
}

std::string progress_bar(const ProgressState& s, int width) {
  if (s.total <= 0) {
    std::string text =
        fmt::format("{}  {} {}  {}/s  {}", s.what, s.done, s.unit, rate_text(rate(s)), clock_text(s.seconds));
    if (!s.note.empty()) text += "  " + s.note;
    return text.substr(0, size_t(std::max(width, 0)));
  }
  const std::string left = fmt::format("{} {:3}% ", s.what, percent(s));
  std::string right = fmt::format("{:>{}}/{} {}  {}/s  {}", s.done, fmt::formatted_size("{}", s.total), s.total,
                                  s.unit, rate_text(rate(s)), left_text(s));
  if (!s.note.empty()) right += "  " + s.note;
  const int room = std::min(40, width - int(left.size() + right.size()) - 3);  // inside the brackets
  if (room < 5) return (left + right).substr(0, size_t(std::max(width, 0)));
  const int full = int(int64_t(room) * percent(s) / 100);
  std::string bar(size_t(full), '=');
  if (full < room) bar += '>';
  bar.resize(size_t(room), ' ');
  return fmt::format("{}[{}] {}", left, bar, right);
}

std::string progress_line(const ProgressState& s) {
  std::string text = s.total > 0
                         ? fmt::format("{}: {}/{} {} ({} %), {} {}/s", s.what, s.done, s.total, s.unit, percent(s),
                                       rate_text(rate(s)), s.unit)
                         : fmt::format("{}: {} {}, {} {}/s", s.what, s.done, s.unit, rate_text(rate(s)), s.unit);
  text += fmt::format(", {}", s.total > s.done ? left_text(s) : clock_text(s.seconds));
  return s.note.empty() ? text : fmt::format("{}, {}", text, s.note);
}

Progress::Progress(std::string what, std::string unit, int64_t total, int64_t first, double line_every)
    : line_every_(line_every), terminal_(is_terminal()), start_(Clock::now()), next_(start_) {
  state_.what = std::move(what), state_.unit = std::move(unit), state_.total = total;
  state_.first = state_.done = first;
  if (!terminal_) next_ += std::chrono::microseconds(int64_t(line_every * 1e6));
}

Progress::~Progress() {
  const std::lock_guard lock(screen);
  if (drawn_) put("\n");
  if (on_screen == this) on_screen = nullptr;
}

void Progress::set(int64_t done, std::string_view note) {
  const std::lock_guard lock(screen);
  state_.done = done;
  if (!note.empty()) state_.note = printable(note);
  tick();
}

void Progress::advance(int64_t more) {
  const std::lock_guard lock(screen);
  state_.done += more;
  tick();
}

void Progress::finish() {
  const std::lock_guard lock(screen);
  if (finished_) return;
  show(true);
  finished_ = true;
}

void Progress::tick() {
  if (!finished_ && Clock::now() >= next_) show(false);
}

void Progress::show(bool last) {
  const auto now = Clock::now();
  state_.seconds = std::chrono::duration<double>(now - start_).count();
  next_ = now + std::chrono::microseconds(terminal_ ? 100000 : int64_t(line_every_ * 1e6));
  if (terminal_) {
    // One column stays free: some terminals wrap a full line. \033[K clears what a longer line left behind.
    if (on_screen) on_screen->drawn_ = false;
    put(fmt::format("\r{}\033[K{}", progress_bar(state_, terminal_width() - 1), last ? "\n" : ""));
    drawn_ = !last;
    on_screen = last ? nullptr : this;
  } else if (line_every_ > 0) {
    put(progress_line(state_) + "\n");
  }
}

AboveProgress::AboveProgress() : lock_(screen) {
  if (!on_screen) return;
  put("\r\033[K");
  on_screen->drawn_ = false;
  on_screen = nullptr;
}

void warn(std::string_view text) {
  const AboveProgress above;
  put(fmt::format("warning: {}\n", printable(text)));
}

}  // namespace selene::data
