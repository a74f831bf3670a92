// metrics.jsonl, the log and the progress lines.
#include "train/folder/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "data/io/progress.h"
#include "kernels/error.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "train/folder/log.h"

namespace selene::testing {
namespace {

using namespace train;
namespace fs = std::filesystem;

constexpr double kNanValue = std::numeric_limits<double>::quiet_NaN(),
                 kInfinity = std::numeric_limits<double>::infinity();

/// Equal bits, NaN included.
void check_same(const MetricsRow& a, const MetricsRow& b) {
  CHECK(a.kind == b.kind);
  CHECK(a.update == b.update);
  REQUIRE(a.values.size() == b.values.size());
  for (size_t i = 0; i < a.values.size(); ++i) {
    CHECK(a.values[i].name == b.values[i].name);
    const double x = a.values[i].value, y = b.values[i].value;
    CHECK(((x == y && std::signbit(x) == std::signbit(y)) || (std::isnan(x) && std::isnan(y))));
  }
}

MetricsRow row(const std::string& kind, int64_t update, double loss) {
  return MetricsRow{kind, update, {}}.add("loss", loss);
}

template <class F>
void check_refused(const F& action, const std::string& reason) {
  std::string text = "nothing was thrown";
  try {
    action();
  } catch (const Error& error) {
    text = error.what();
  }
  INFO(text);
  CHECK(text.find(reason) != std::string::npos);
}

/// What `action` writes to stderr, which is a file and no terminal here.
template <class F>
std::string stderr_of(const Folder& folder, const F& action) {
  const std::string path = folder.file("stderr");
  const int old = ::dup(STDERR_FILENO), fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
  ::dup2(fd, STDERR_FILENO);
  action();
  ::dup2(old, STDERR_FILENO);
  ::close(fd), ::close(old);
  return read_text(path);
}

}  // namespace

TEST_CASE("a metrics row is written in order with its times last, and reads back to the same doubles") {
  MetricsRow r{"train", 100, {}};
  r.add("wall_s", 12.5)
      .add("epoch", 0.1)
      .add("loss", 1.0 / 3)
      .add("lr", 1e-7)
      .add("examples_per_s", 310)
      .add("big", 1e300);
  r.add("tiny", 5e-324).add("minus_zero", -0.0);
  const std::string text = to_json(r);
  CHECK(text ==
        R"({"kind":"train","update":100,"epoch":0.1,"loss":0.3333333333333333,"lr":1e-07,"big":1e+300,"tiny":5e-324,)"
        R"("minus_zero":-0.0,"wall_s":12.5,"examples_per_s":310})");
  const MetricsRow back = parse_row(text);
  CHECK(to_json(back) == text);
  CHECK(back.find("loss").value() == 1.0 / 3);
  CHECK(back.find("wall_s").value() == 12.5);
  CHECK(!back.find("accuracy"));
  CHECK(to_json(MetricsRow{"valid", 3, {{"wall_s", 1}, {"loss", 2}}}, Times::drop) ==
        R"({"kind":"valid","update":3,"loss":2})");
}

TEST_CASE("values that JSON lacks survive as strings") {
  const MetricsRow r{"valid", 7, {{"loss", kNanValue}, {"a", kInfinity}, {"b", -kInfinity}, {"quo\"te\n", 1}}};
  CHECK(to_json(r) == R"({"kind":"valid","update":7,"loss":"nan","a":"inf","b":"-inf","quo\"te\n":1})");
  check_same(parse_row(to_json(r)), r);
}

TEST_CASE("what is no metrics row is refused with a reason") {
  const auto reason = [](const std::string& line) -> std::string {
    try {
      parse_row(line);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  CHECK(reason("") == "not a JSON object");
  CHECK(reason("[1,2]") == "not a JSON object");
  CHECK(reason(R"({"kind":"train","update":1,"loss":)") == "not a JSON object");
  CHECK(reason(R"({"update":1})") == "no \"kind\" with a text");
  CHECK(reason(R"({"kind":"train"})") == "no \"update\" with a count");
  CHECK(reason(R"({"kind":"train","update":-1})") == "no \"update\" with a count");
  CHECK(reason(R"({"kind":"train","update":1.5})") == "no \"update\" with a count");
  CHECK(reason(R"({"kind":"train","update":18446744073709551615})") == "no \"update\" with a count");
  CHECK(reason(R"({"kind":"train","update":1,"loss":"many"})") == "\"loss\" is \"many\", not a number");
  CHECK(reason(R"({"kind":"train","update":1,"loss":[]})") == "\"loss\" is [], not a number");
}

TEST_CASE("rows are appended, and a corrupt line costs only itself") {
  const Folder folder;
  const std::string path = folder.file("metrics.jsonl");
  {
    MetricsWriter writer(path);
    for (int i = 1; i <= 3; ++i) writer.append(row("train", i, 0.1 * i));
    writer.sync();
  }
  write_text(path, read_text(path) + "garbage\n" + to_json(row("valid", 3, 0.5)) + "\n");
  const MetricsFile file = read_metrics(path);
  REQUIRE(file.rows.size() == 4);
  for (int i = 1; i <= 3; ++i) check_same(file.rows[size_t(i - 1)], row("train", i, 0.1 * i));
  check_same(file.rows[3], row("valid", 3, 0.5));
  REQUIRE(file.problems.size() == 1);
  CHECK(file.problems[0] == path + ":4: not a JSON object");
  CHECK(!file.cut);
}

TEST_CASE("a last line cut at any byte is left out, and removed before the next row") {
  const Folder folder;
  const std::string path = folder.file("metrics.jsonl"), first = to_json(row("train", 1, 0.25)) + "\n";
  const std::string second = to_json(row("train", 2, 0.125));
  for (size_t kept = 0; kept <= second.size(); ++kept) {
    write_text(path, first + second.substr(0, kept));
    const bool whole = kept == second.size();
    const MetricsFile file = read_metrics(path);
    CHECK(file.rows.size() == (whole ? 2 : 1));
    CHECK(file.problems.empty());
    CHECK(file.cut == (kept > 0 && !whole));
    MetricsWriter(path).append(row("train", 3, 1));
    CHECK(read_text(path) == first + (whole ? second + "\n" : "") + to_json(row("train", 3, 1)) + "\n");
  }
}

TEST_CASE("truncate_after leaves the bytes of the rows up to the checkpoint") {
  const Folder folder;
  const std::string path = folder.file("metrics.jsonl");
  CHECK(truncate_after(path, 3) == 0);
  CHECK(!fs::exists(path));
  // Spaces: the text of a row that stays must not be rewritten.
  const std::string kept =
      "{\"kind\": \"train\", \"update\": 1, \"loss\": 0.50}\n" + to_json(row("valid", 20, kNanValue)) + "\n";
  const std::string beyond =
      to_json(row("train", 21, 1)) + "\nnonsense\n" + to_json(row("train", 22, 1)) + "\n{\"kind\":\"tr";
  write_text(path, kept + beyond);
  CHECK(truncate_after(path, 20) == 4);
  CHECK(read_text(path) == kept);
  write_text(path, kept + to_json(row("test", 20, 1)) + "\n");  // the test at the end of a run that now goes on
  CHECK(truncate_after(path) == 0);
  CHECK(truncate_after(path, 20) == 1);
  CHECK(read_text(path) == kept);
  CHECK(truncate_after(path, 20) == 0);
  CHECK(truncate_after(path, 0) == 2);
  CHECK(read_text(path).empty());
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder.path)) ++files;
  CHECK(files == 1);
}

TEST_CASE("metrics files that cannot be read or written say so") {
  const Folder folder;
  write_text(folder.file("plain"), "x");
  check_refused([&] { read_metrics(folder.file("none")); }, "none: cannot be opened: No such file");
  check_refused([&] { MetricsWriter(folder.file("plain/metrics.jsonl")); }, "cannot open for writing");
  check_refused([&] { MetricsWriter("/dev/full").append(row("train", 1, 1)); }, "No space left");
}

TEST_CASE("the log goes to stderr and to the file") {
  const Folder folder;
  const std::string path = folder.file("log.txt");
  const std::string shown = stderr_of(folder, [&] {
    log_info("before the file");
    open_log(path);
    set_log_levels(LogLevel::warning);
    log_debug(key_values(MetricsRow{"train", 5, {{"loss", 2.3025851}, {"lr", 1e-4}, {"x", kNanValue}}}));
    log_warning("two\nlines {} %v");
    close_log();
    set_log_levels(LogLevel::info);
    log_info("after the file");
  });
  const std::string kept = read_text(path);
  CHECK(kept.find(" debug kind=train update=5 loss=2.3026 lr=0.0001 x=nan\n") != std::string::npos);
  CHECK(kept.find(" warning two lines {} %v\n") != std::string::npos);
  CHECK(kept.find(" info before the file\n") != std::string::npos);  // what was said early is not lost
  CHECK(std::count(kept.begin(), kept.end(), '\n') == 3);
  CHECK(shown.find("info before the file\n") != std::string::npos);
  CHECK(shown.find("warning two lines {} %v\n") != std::string::npos);
  CHECK(shown.find("update=5") == std::string::npos);
  CHECK(shown.find("info after the file\n") != std::string::npos);
  check_refused([&] { open_log("/dev/null/log.txt"); }, "/dev/null/log.txt: cannot open the log");
}

TEST_CASE("a progress bar fits every width") {
  data::ProgressState s{"train", "updates", 1000, 0, 420, 34.0, "loss 1.234"};
  CHECK(data::progress_bar(s, 86) ==
        "train  42% [==========>             ]  420/1000 updates  12.4/s  0:47 left  loss 1.234");
  CHECK(data::progress_bar(s, 60) == "train  42%  420/1000 updates  12.4/s  0:47 left  loss 1.234");
  for (int width = 0; width < 200; ++width) CHECK(int(data::progress_bar(s, width).size()) <= width);
  s.done = 1000;
  CHECK(data::progress_bar(s, 90).find("train 100% [=====") == 0);
  CHECK(data::progress_bar(s, 90).find('>') == std::string::npos);
}

TEST_CASE("progress lines: rate without what was finished earlier, time left, unknown totals") {
  CHECK(data::progress_line({"train", "updates", 1000, 400, 500, 10, ""}) ==
        "train: 500/1000 updates (50 %), 10.0 updates/s, 0:50 left");
  CHECK(data::progress_line({"train", "updates", 1000, 400, 400, 0, "x"}) ==
        "train: 400/1000 updates (40 %), 0 updates/s, -:-- left, x");
  CHECK(data::progress_line({"read", "lines", 0, 0, 50, 100, ""}) == "read: 50 lines, 0.50 lines/s, 1:40");
  CHECK(data::progress_line({"read", "lines", 50, 0, 50, 3725, ""}).find("(100 %), 0.01 lines/s, 1:02:05") !=
        std::string::npos);
  CHECK(data::clock_text(kNanValue) == "-:--");
  CHECK(data::clock_text(59.6) == "1:00");
}

TEST_CASE("without a terminal progress writes whole lines, at the interval and at the end") {
  const Folder folder;
  const std::string silent = stderr_of(folder, [] {
    data::Progress p("train", "updates", 3, 0, 0);
    for (int i = 0; i < 3; ++i) p.advance();
    p.finish();
  });
  CHECK(silent.empty());
  const std::string shown = stderr_of(folder, [] {
    data::Progress p("train", "updates", 3, 0, 1e-9);
    p.set(1, "loss 2");
    p.advance();
    data::AboveProgress();
    p.set(3);
    p.finish();
    p.finish();
  });
  CHECK(std::count(shown.begin(), shown.end(), '\n') == 4);
  CHECK(shown.find("train: 2/3 updates (66 %)") != std::string::npos);
  CHECK(shown.find("loss 2\n") != std::string::npos);
  CHECK(shown.find('\r') == std::string::npos);
}

}  // namespace selene::testing
