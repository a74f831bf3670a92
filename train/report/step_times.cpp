#include "train/report/step_times.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "data/io/json.h"
#include "data/io/printable.h"
#include "data/io/regular_file.h"
#include "kernels/error.h"

namespace selene::train {
namespace {

constexpr uint64_t kLargestFile = uint64_t(1) << 28;  // bytes; a line has some hundred

// Into `value` if the line has the key.
void take(const data::Json& j, const char* key, std::string& value) {
  if (j.find(key)) value = j.get<std::string>(key);
}

StepTime parse_line(const std::string& line) {
  const data::Json j = data::parse_json(line, "JSON");
  StepTime t;
  t.model = j.get<std::string>("model"), t.length = j.get<int64_t>("length"), t.dtype = j.get<std::string>("dtype");
  t.batch = j.get<int64_t>("batch");
  if (t.model.empty()) throw Error("model is \"\", wanted its name");
  if (t.length < 1 || t.batch < 1)
    throw Error(fmt::format("length {} and batch {}, wanted 1 or more", t.length, t.batch));
  take(j, "why", t.why), take(j, "command", t.command), take(j, "machine", t.machine);
  take(j, "commit", t.commit), take(j, "date", t.date), take(j, "scale", t.scale);
  if (j.find("timed_steps")) t.timed_steps = j.get<int64_t>("timed_steps");
  if (!t.why.empty()) return t;
  t.device = j.get<std::string>("device");
  t.best_ms = j.get<double>("step_ms"), t.median_ms = j.get<double>("step_median_ms");
  t.slab_mib = j.get<double>("slab_mib"), t.rss_mib = j.get<double>("rss_mib");
  if (!(t.best_ms > 0 && t.median_ms > 0 && t.slab_mib > 0))
    throw Error(fmt::format("step_ms {}, step_median_ms {}, slab_mib {}, wanted numbers above 0", t.best_ms,
                            t.median_ms, t.slab_mib));
  return t;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

int64_t rank_of(const Paper& paper, const std::string& model) {
  const auto at =
      std::find_if(paper.models.begin(), paper.models.end(), [&](const PaperModel& m) { return m.key == model; });
  return at - paper.models.begin();
}

void need_batch(const StepTimes& times, const std::string& model, int64_t length, int64_t found, int64_t wanted) {
  if (found == wanted) return;
  throw Error(
      fmt::format("{} at {} tokens on {}: batches of {} and {}, wanted one: steps of different sizes can't be "
                  "compared",
                  model, length, times.device, wanted, found));
}

}  // namespace

std::vector<StepTime> load_step_times(const std::string& path) {
  std::istringstream in(data::read_regular_file(path, kLargestFile, "lines of selene-bench step --json"));
  std::vector<StepTime> times;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    try {
      times.push_back(parse_line(line));
    } catch (const Error& e) {
      throw Error(fmt::format("{}:{}: {}; wanted a line of selene-bench step --json", path, number, e.what()));
    }
  }
  if (times.empty()) throw Error(path + ": is empty; wanted lines of selene-bench step --json");
  return times;
}

StepSummary StepTimes::at(const std::string& model, int64_t length) const {
  StepSummary s;
  std::vector<double> medians;
  for (const StepTime& t : all) {
    if (t.model != model || t.length != length) continue;
    if (!t.why.empty()) {
      s.failed = true;
      continue;
    }
    if (s.batch) need_batch(*this, model, length, t.batch, s.batch);
    s.batch = t.batch;
    medians.push_back(t.median_ms);
    s.best_ms = medians.size() == 1 ? t.best_ms : std::min(s.best_ms, t.best_ms);
    s.slab_mib = std::max(s.slab_mib, t.slab_mib), s.rss_mib = std::max(s.rss_mib, t.rss_mib);
  }
  s.rounds = int64_t(medians.size());
  if (s.rounds) s.median_ms = median(medians);
  return s;
}

std::optional<double> StepTimes::speed(const std::string& model, int64_t length) const {
  const StepSummary a = at(model, length), b = at("transformer", length);
  if (!a.rounds || !b.rounds) return std::nullopt;
  need_batch(*this, model, length, a.batch, b.batch);
  return b.median_ms / a.median_ms;
}

std::optional<double> StepTimes::memory(const std::string& model, int64_t length) const {
  const StepSummary a = at(model, length), b = at("transformer", length);
  if (!a.rounds || !b.rounds) return std::nullopt;
  need_batch(*this, model, length, a.batch, b.batch);
  return a.slab_mib / b.slab_mib;
}

std::vector<StepTimes> group_by_device(const std::vector<StepTime>& all, const Paper& paper) {
  std::vector<StepTimes> groups;
  for (const bool failed : {false, true})  // those come last, into groups that are there
    for (const StepTime& t : all) {
      if (failed == t.why.empty()) continue;
      auto at = std::find_if(groups.begin(), groups.end(), [&](const StepTimes& g) {
        return g.dtype == t.dtype && (failed || g.device == t.device);
      });
      if (at == groups.end()) at = groups.insert(at, StepTimes{failed ? "?" : t.device, t.dtype, {}, {}, {}});
      at->all.push_back(t);
      add_once(at->models, t.model), add_once(at->lengths, t.length);
    }
  for (StepTimes& g : groups) {
    std::stable_sort(g.models.begin(), g.models.end(), [&](const std::string& a, const std::string& b) {
      return rank_of(paper, a) < rank_of(paper, b);
    });
    std::sort(g.lengths.begin(), g.lengths.end());
  }
  return groups;
}

}  // namespace selene::train
