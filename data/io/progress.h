// Progress of a long job on stderr: a bar with rate and time left on a terminal, plain lines at an interval
// elsewhere.
#pragma once
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace selene::data {

/// What is shown; the text of a line is a pure function of it.
struct ProgressState {
  std::string what;    // the job: "train"
  std::string unit;    // of the counts: "updates"
  int64_t total = 0;   // units in all; 0: not known, then neither share nor time left is shown
  int64_t first = 0;   // units that were finished before this program started (a resumed run)
  int64_t done = 0;    // units finished, `first` included
  double seconds = 0;  // since the start
  std::string note;    // shown last: "loss 1.234"
};

/// "train  42% [=====>      ] 420/1000 updates  12.3/s  0:47 left  loss 1.234", at most `width` columns. The bar
/// takes what the text leaves; in a narrow terminal first the bar goes, then the end of the text.
std::string progress_bar(const ProgressState& state, int width);
/// "train: 420/1000 updates (42 %), 12.3 updates/s, 0:47 left, loss 1.234".
std::string progress_line(const ProgressState& state);
/// "0:47", "12:05", "3:07:09" from seconds; "-:--" where it is not known (not finite or negative).
std::string clock_text(double seconds);

/// One job. Its functions may be called from several threads. It never writes to stdout and never throws.
class Progress {
 public:
  /// total: units, 0 if not known. first: units finished earlier. line_every: seconds between plain lines where
  /// stderr is not a terminal; 0: no plain lines.
  Progress(std::string what, std::string unit, int64_t total, int64_t first = 0, double line_every = 10);
  /// Without finish() (an error): ends the bar's line, so that what follows starts on a line of its own.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` units are finished, `first` included; an empty note keeps the last one. Cheap: draws 10 times a second at
  /// most.
  void set(int64_t done, std::string_view note = {});
  /// `more` further units are finished.
  void advance(int64_t more = 1);
  /// Shows the last state and ends the line. Further calls do nothing.
  void finish();

 private:
  friend class AboveProgress;
  void show(bool last);
  void tick();

  ProgressState state_;
  const double line_every_;  // s
  const bool terminal_;
  bool drawn_ = false;  // a bar stands on the cursor's line
  bool finished_ = false;
  std::chrono::steady_clock::time_point start_, next_;
};

/// While it lives, the caller may write whole lines to stderr: a bar on the screen is cleared first and comes back
/// with the next call to its Progress.
class AboveProgress {
 public:
  AboveProgress();

 private:
  std::lock_guard<std::mutex> lock_;
};

/// One line "warning: text" on stderr, above a bar, for what a library leaves out or puts right.
void warn(std::string_view text);

}  // namespace selene::data
