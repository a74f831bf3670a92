#include "train/report/figure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "kernels/error.h"
#include "kernels/join.h"
#include "train/report/paper.h"
#include "train/report/plot.h"

namespace selene::train {
namespace {

// Lengths in SVG units.
constexpr double kWidth = 860, kHeight = 580, kLeft = 64, kRight = 30, kTop = 72, kBottom = 96;
constexpr double kRadius = 34;             // of memory 1: the Transformer's
constexpr double kLetter = 7, kLine = 15;  // width of a letter and height of a line of the labels
constexpr const char *kOurs = "#2563eb", *kPaper = "#8a5a00";

struct Axis {
  double low = 0, high = 1, from = 0, to = 0;
  double position(double v) const { return from + (to - from) * (v - low) / (high - low); }
};

struct Box {
  double left, top, right, bottom;
  bool overlaps(const Box& b) const { return left < b.right && b.left < right && top < b.bottom && b.top < bottom; }
};

struct Circle {
  double x, y, r;
  bool overlaps(const Box& b) const {
    const double dx = x - std::clamp(x, b.left, b.right), dy = y - std::clamp(y, b.top, b.bottom);
    return dx * dx + dy * dy < r * r;
  }
};

double radius_of(double memory) { return std::max(2.5, kRadius * std::sqrt(memory)); }

std::string length_text(int64_t length) {
  return length % 1024 == 0 ? fmt::format("{}K", length / 1024) : with_commas(length);
}

// Tasks with a mean for every model of ours that has any result.
std::vector<std::string> common_tasks(const std::vector<LraRun>& runs, const std::vector<std::string>& models,
                                      const Paper& paper) {
  std::vector<std::string> tasks;
  for (const PaperTask& t : paper.tasks) {
    const bool all = std::all_of(models.begin(), models.end(),
                                 [&](const std::string& m) { return cell_of(runs, t.key, m, false).seeds > 0; });
    if (all && !models.empty()) tasks.push_back(t.key);
  }
  return tasks;
}

std::vector<std::string> models_with_results(const std::vector<LraRun>& runs) {
  std::vector<std::string> models;
  for (const LraRun& r : runs)
    if (r.accuracy && !r.p) add_once(models, r.model);
  return models;
}

void add_paper(Figure& f, const Paper& paper) {
  const std::optional<size_t> n = paper.length_index(f.length);
  if (!n)
    throw Error(fmt::format("times at {} tokens: the paper has none there, wanted {}", f.length,
                            join(paper.lengths, ", ", [](int64_t tokens) { return std::to_string(tokens); })));
  for (const PaperModel& m : paper.models)
    if (std::isfinite(m.speed[*n]))
      f.points.push_back({m.title, m.speed[*n], paper.average(m, f.tasks), m.memory[*n], false});
}

void add_ours(Figure& f, const std::vector<LraRun>& runs, const std::vector<std::string>& models,
              const StepTimes& times, const Paper& paper) {
  for (const std::string& model : models) {
    const auto speed = times.speed(model, f.length), memory = times.memory(model, f.length);
    if (!speed || !memory) {
      f.problems.push_back(fmt::format("{}: no times at {} tokens (table2)", model, f.length));
      continue;
    }
    double sum = 0;
    bool stand_in = false;
    for (const std::string& task : f.tasks) {
      const LraCell cell = cell_of(runs, task, model, false);
      sum += 100 * cell.mean, stand_in = stand_in || cell.stand_in;
    }
    f.points.push_back({fmt::format("{}, ours{}", paper.model_title(model), stand_in ? "*" : ""), *speed,
                        sum / double(f.tasks.size()), *memory, true});
  }
}

void tell_missing(Figure& f, const std::vector<LraRun>& runs, const std::vector<std::string>& models,
                  const Paper& paper) {
  if (models.empty())
    f.problems.emplace_back("no run has a test accuracy (table1); the paper's models alone are drawn");
  for (const PaperTask& t : paper.tasks)
    if (!models.empty() && std::find(f.tasks.begin(), f.tasks.end(), t.key) == f.tasks.end())
      f.problems.push_back(fmt::format("{}: not in the mean, as not every model of ours has a result", t.title));
  std::vector<std::string> scales;
  for (const LraRun& r : runs)
    if (r.scale != "1") add_once(scales, r.scale);
  for (const std::string& s : scales)
    f.problems.push_back(fmt::format("ours at scale {}: these accuracies say nothing about the method", s));
  if (std::any_of(runs.begin(), runs.end(), [](const LraRun& r) { return r.stand_in && r.accuracy; }))
    f.problems.emplace_back("* some tasks on synthetic stand-ins for the real data");
}

/// Room for all circles, and 0 on the left where speeds begin.
void fit(const Figure& f, Axis& x, Axis& y) {
  double fastest = 1, low = 100, high = 0;
  for (const FigurePoint& p : f.points)
    fastest = std::max(fastest, p.speed), low = std::min(low, p.accuracy), high = std::max(high, p.accuracy);
  const double room = std::max(1.0, 0.12 * (high - low));
  x = {0, 1.16 * fastest, kLeft, kWidth - kRight};
  y = {std::max(0.0, low - room), std::min(100.0, high + room), kHeight - kBottom, kTop};
}

std::string axes(const Figure& f, const Axis& x, const Axis& y) {
  std::string text;
  for (const double t : nice_ticks(y.low, y.high, 6))
    text += fmt::format(R"(<path class="grid" d="M{} {:.1f}H{}"/><text class="end" x="{}" y="{:.1f}">{}</text>)",
                        kLeft, y.position(t), kWidth - kRight, kLeft - 8, y.position(t) + 4, tick_label(t));
  for (const double t : nice_ticks(x.low, x.high, 7))
    text += fmt::format(R"(<path class="axis" d="M{0:.1f} {1}v5"/><text class="mid" x="{0:.1f}" y="{2}">{3}</text>)",
                        x.position(t), kHeight - kBottom, kHeight - kBottom + 20, tick_label(t));
  text += fmt::format(R"(<path class="axis" d="M{} {}V{}H{}"/>)", kLeft, kTop, kHeight - kBottom, kWidth - kRight);
  text += fmt::format(
      R"(<text class="mid" x="{}" y="{}">speed: steps per second relative to the Transformer, {} tokens</text>)",
      (kLeft + kWidth - kRight) / 2, kHeight - kBottom + 42, length_text(f.length));
  return text +
         fmt::format(
             R"svg(<text class="mid" transform="translate(18 {}) rotate(-90)">accuracy, %: mean of {}</text>)svg",
             (kTop + kHeight - kBottom) / 2, escape_html(f.task_titles));
}

std::string circle_text(const Circle& c, bool ours) {
  return fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" stroke="{}" fill="{}" fill-opacity="{}"/>)", c.x,
                     c.y, c.r, ours ? kOurs : kPaper, ours ? kOurs : "none", ours ? "0.55" : "0");
}

Box around(double x, double y, double width) { return {x - width / 2, y - kLine / 2, x + width / 2, y + kLine / 2}; }

// Around its circle, near before far, where it hides no other label and the fewest circles.
Box place_label(const Circle& own, double width, const std::vector<Circle>& circles, const std::vector<Box>& labels) {
  const Box frame{kLeft, kTop - 14, kWidth, kHeight - kBottom};
  Box best = around(own.x + own.r + 4 + width / 2, own.y, width);
  double least = 1e30;
  for (double away = 3; away < 110; away += 6)
    for (int turn = 0; turn < 16; ++turn) {
      const double angle = turn * M_PI / 8, dx = std::cos(angle), dy = std::sin(angle);
      const Box box = around(own.x + dx * (own.r + away + width / 2), own.y + dy * (own.r + away + kLine / 2), width);
      if (box.left < frame.left || box.right > frame.right || box.top < frame.top || box.bottom > frame.bottom)
        continue;
      double cost = away;
      for (const Box& other : labels) cost += box.overlaps(other) ? 1e4 : 0;
      for (const Circle& c : circles) cost += c.overlaps(box) ? 60 : 0;
      if (cost < least) least = cost, best = box;
    }
  return best;
}

std::string points_text(const Figure& f, const Axis& x, const Axis& y) {
  std::vector<Circle> circles;
  for (const FigurePoint& p : f.points)
    circles.push_back({x.position(p.speed), y.position(p.accuracy), radius_of(p.memory)});
  std::vector<Box> labels;
  std::string text, names;
  for (size_t i = 0; i < circles.size(); ++i) {
    const FigurePoint& p = f.points[i];
    const Box b = place_label(circles[i], kLetter * double(p.label.size()), circles, labels);
    labels.push_back(b);
    text += fmt::format("<g>{}<title>{}: speed {:.2f}, accuracy {:.2f} %, memory {:.2f}</title></g>",
                        circle_text(circles[i], p.ours), escape_html(p.label), p.speed, p.accuracy, p.memory);
    // A thin line to the circle, for labels that had to go far.
    const double lx = std::clamp(circles[i].x, b.left, b.right), ly = std::clamp(circles[i].y, b.top, b.bottom);
    const double far = std::hypot(lx - circles[i].x, ly - circles[i].y);
    if (far > circles[i].r + 8) {
      const double on = circles[i].r / far;
      names += fmt::format(R"(<path class="lead" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>)",
                           circles[i].x + on * (lx - circles[i].x), circles[i].y + on * (ly - circles[i].y), lx, ly);
    }
    names += fmt::format(R"(<text class="mid" x="{:.1f}" y="{:.1f}" style="fill:{}">{}</text>)",
                         (b.left + b.right) / 2, b.bottom - 4, p.ours ? kOurs : kPaper, escape_html(p.label));
  }
  return text + names;
}

std::string legend(const Figure& f) {
  std::string text = circle_text({kLeft + 10, 30, 7}, false) + circle_text({kLeft + 250, 30, 7}, true);
  text += fmt::format(R"(<text x="{}" y="34">Ma et al. 2021, Tables 1 and 2</text><text x="{}" y="34">ours</text>)",
                      kLeft + 24, kLeft + 264);
  double at = kLeft + 350;
  text += fmt::format(R"(<text x="{}" y="34">area = peak memory:</text>)", at);
  at += 140;
  for (const double memory : {0.1, 0.25, 0.5}) {
    at += radius_of(memory);
    text += fmt::format(R"(<circle cx="{0:.1f}" cy="{1:.1f}" r="{2:.1f}" stroke="#777" fill="none"/>)", at, 30.0,
                        radius_of(memory));
    text += fmt::format(R"(<text x="{:.1f}" y="34">{}</text>)", at + radius_of(memory) + 4, memory);
    at += radius_of(memory) + 44;
  }
  double y = kHeight - kBottom + 62;
  for (const std::string& problem : f.problems) {
    text += fmt::format(R"(<text class="note" x="{}" y="{}">{}</text>)", kLeft, y, escape_html(problem));
    y += 14;
  }
  return text;
}

constexpr const char* kStyle = R"(
text{font:12px system-ui,sans-serif;fill:#333}
.mid{text-anchor:middle}
.end{text-anchor:end}
.note{fill:#777;font-size:11px}
.grid{stroke:#e2e5e9}
.axis{stroke:#555;fill:none}
.lead{stroke:#999;stroke-width:.7}
circle{stroke-width:1.6}
)";

}  // namespace

Figure figure_of(const std::vector<LraRun>& runs, const std::vector<StepTime>& all, const Paper& paper) {
  Figure f;
  const std::vector<std::string> models = models_with_results(runs);
  f.tasks = common_tasks(runs, models, paper);
  const std::vector<StepTimes> groups = group_by_device(all, paper);
  if (groups.size() > 1)
    throw Error(fmt::format("times of {} in {} and of {} in {}: wanted one device and one element type in a figure",
                            groups[0].device, groups[0].dtype, groups[1].device, groups[1].dtype));
  const StepTimes times = groups.empty() ? StepTimes{} : groups[0];
  for (const int64_t n : times.lengths)
    if (times.at("transformer", n).rounds && times.models.size() > 1) f.length = n;
  tell_missing(f, runs, models, paper);
  if (f.tasks.empty())
    for (const PaperTask& t : paper.tasks) f.tasks.emplace_back(t.key);
  else add_ours(f, runs, models, times, paper);
  add_paper(f, paper);
  const auto title = [&](const std::string& task) { return paper.task_title(task); };
  f.task_titles = join(f.tasks, ", ", title);
  return f;
}

std::string figure_svg(const Figure& f) {
  Axis x, y;
  fit(f, x, y);
  const double height = kHeight + 14 * std::max(0.0, double(f.problems.size()) - 2);
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" "
      "aria-label=\"Accuracy against speed\">\n<style>{2}</style>\n<rect width=\"{0}\" height=\"{1}\" "
      "fill=\"#fff\"/>\n"
      "{3}\n{4}\n{5}\n</svg>\n",
      kWidth, height, kStyle, axes(f, x, y), points_text(f, x, y), legend(f));
}

}  // namespace selene::train
