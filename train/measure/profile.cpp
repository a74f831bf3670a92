#include "train/measure/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "data/io/durable_file.h"
#include "train/folder/log.h"

namespace selene::train {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Profile::Profile(Stream& stream) : stream_(stream), start_(now()), paused_(start_) { resume(); }

void Profile::pause() {
  stream_.observer = nullptr;
  paused_ = now();
}

void Profile::resume() {
  start_ += now() - paused_;
  stream_.observer = [this](Operation operation, DType dtype, double seconds, const void*) {
    events_.push_back({operation, dtype, now() - start_ - seconds, seconds});
  };
}

Profile::~Profile() { stream_.observer = nullptr; }

void Profile::write(const std::string& folder, int64_t updates) const {
  struct Row {
    double seconds = 0;
    int64_t calls = 0;
  };
  std::map<std::string, Row> rows;
  std::string trace = "[\n";
  double total = 0, end = 0;
  for (const Event& e : events_) {
    const std::string name = fmt::format("{} {}", name_of(e.operation), name_of(e.dtype));
    rows[name].seconds += e.seconds, ++rows[name].calls;
    total += e.seconds, end = std::max(end, e.begin + e.seconds);
    trace += fmt::format("{}{{\"name\":\"{}\",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":{:.3f},\"dur\":{:.3f}}}",
                         trace.size() > 2 ? ",\n" : "", name, e.begin * 1e6, e.seconds * 1e6);
  }
  data::write_durably(folder + "/profile.json", trace + "\n]\n");
  std::vector<std::pair<std::string, Row>> sorted(rows.begin(), rows.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  log_info(fmt::format("profile of {} updates: {:.1f} ms in operations, {:.1f} ms in all; trace: {}/profile.json",
                       updates, total * 1e3, end * 1e3, folder));
  for (const auto& [name, row] : sorted)
    log_info(fmt::format("{:24} {:6} calls {:10.3f} ms {:6.1f} %", name, row.calls, row.seconds * 1e3,
                         100 * row.seconds / total));
}

}  // namespace selene::train
