#include "train/report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/io/printable.h"

namespace selene::train {
namespace {

// Lengths in SVG units. At this width the text is readable on a phone without zooming.
constexpr double kWidth = 440, kHeight = 250, kLeft = 50, kRight = 24, kTop = 10, kBottom = 38;
constexpr double kLargest = 1e300;  // beyond it differences overflow: treated as not finite
constexpr size_t kMostPoints = 2000;

bool usable(double v) { return std::abs(v) <= kLargest; }  // false for NaN

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double v) { low = std::min(low, v), high = std::max(high, v); }
  bool empty() const { return !(low <= high); }
};

struct Axis {
  Range range;
  double from = 0, to = 0;  // SVG units of low and high
  bool log = false;
  std::vector<double> ticks;

  double position(double v) const {
    const auto f = [this](double u) { return log ? std::log10(u) : u; };
    const double width = f(range.high) - f(range.low);
    return from + (to - from) * (width > 0 ? (f(v) - f(range.low)) / width : 0.5);
  }
};

Range ranges_of(const Plot& plot, bool y_axis) {
  Range range;
  for (const Series& s : plot.series)
    for (size_t i = 0; i < s.x.size(); ++i)
      if (usable(s.x[i]) && usable(s.y[i])) range.add(y_axis ? s.y[i] : s.x[i]);
  return range;
}

Axis x_axis(const Plot& plot) {
  Axis axis{ranges_of(plot, false), kLeft, kWidth - kRight, false, {}};
  // Runs begin at 0, and a first row at update 100 should not look like a beginning.
  if (axis.range.low > 0 && axis.range.low < 0.3 * axis.range.high) axis.range.low = 0;
  axis.ticks = nice_ticks(axis.range.low, axis.range.high, 5);
  return axis;
}

Axis y_axis(const Plot& plot) {
  Axis axis{ranges_of(plot, true), kHeight - kBottom, kTop, false, {}};
  Range& r = axis.range;
  axis.log = r.low > 0 && r.high / r.low > 100 && !plot.percent;
  if (axis.log) {
    axis.ticks = log_ticks(r.low, r.high);
    return axis;
  }
  const double low = r.low, high = r.high;
  const double pad = high > low ? 0.04 * (high - low) : std::max(0.1 * std::abs(high), 1e-12);
  // Room above and below, but not beyond the natural ends 0 and, for a fraction, 1.
  r.low = low >= 0 ? std::max(0.0, low - pad) : low - pad;
  r.high = plot.percent && high <= 1 ? std::min(1.0, high + pad) : high + pad;
  axis.ticks = nice_ticks(r.low, r.high, 6);
  return axis;
}

/// Indices of the points to draw: all, or of each stretch those with the lowest and the highest y, so that peaks
/// stay, and a gap.
std::vector<size_t> thinned(const Series& s) {
  const size_t n = s.x.size(), stretches = kMostPoints / 2;
  std::vector<size_t> kept;
  if (n <= kMostPoints) {
    for (size_t i = 0; i < n; ++i) kept.push_back(i);
    return kept;
  }
  for (size_t k = 0; k < stretches; ++k) {
    const size_t begin = k * n / stretches, end = (k + 1) * n / stretches;
    size_t low = end, high = end, gap = end;
    for (size_t i = begin; i < end; ++i) {
      if (!usable(s.y[i])) {
        gap = i;
        continue;
      }
      if (low == end || s.y[i] < s.y[low]) low = i;
      if (high == end || s.y[i] > s.y[high]) high = i;
    }
    size_t chosen[] = {low, high, gap};
    std::sort(chosen, chosen + 3);
    for (size_t j = 0; j < 3; ++j)
      if (chosen[j] < end && (j == 0 || chosen[j] != chosen[j - 1])) kept.push_back(chosen[j]);
  }
  return kept;
}

std::string y_text(const Plot& plot, double v) { return plot.percent ? tick_label(100 * v) + "%" : tick_label(v); }

std::string line_of(const Series& s, const Axis& x, const Axis& y, const Plot& plot) {
  std::string path, dots;
  bool gap = true;
  size_t piece = 0;  // points since the last gap
  const auto end_piece = [&] {
    if (piece == 1) path += "h0";  // a round cap makes a lonely point visible
    piece = 0, gap = true;
  };
  for (size_t i : thinned(s)) {
    if (!usable(s.x[i]) || !usable(s.y[i])) {
      end_piece();
      continue;
    }
    const double px = x.position(s.x[i]), py = y.position(s.y[i]);
    path += fmt::format("{}{:.1f} {:.1f}", gap ? "M" : "L", px, py);
    gap = false, ++piece;
    if (s.dots)
      dots += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="2.4"><title>{}, update {}: {}</title></circle>)", px,
                          py, escape_html(s.label), with_commas(std::llround(s.x[i])), y_text(plot, s.y[i]));
  }
  end_piece();
  return fmt::format(R"(<g class="c{}{}"><path d="{}"><title>{}</title></path>{}</g>)", s.colour,
                     s.faint ? " faint" : "", path, escape_html(s.label), dots);
}

std::string grid(const Axis& x, const Axis& y, const Plot& plot) {
  std::string text;
  for (double t : y.ticks)
    text += fmt::format(R"(<path class="grid" d="M{0} {1:.1f}H{2}"/><text class="y" x="{3}" y="{4:.1f}">{5}</text>)",
                        kLeft, y.position(t), kWidth - kRight, kLeft - 6, y.position(t) + 4, y_text(plot, t));
  for (double t : x.ticks)
    text += fmt::format(R"(<path class="axis" d="M{0:.1f} {1}v4"/><text class="x" x="{0:.1f}" y="{2}">{3}</text>)",
                        x.position(t), kHeight - kBottom, kHeight - kBottom + 17, tick_label(t));
  text += fmt::format(R"(<path class="axis" d="M{} {}V{}H{}"/>)", kLeft, kTop, kHeight - kBottom, kWidth - kRight);
  return text +
         fmt::format(R"(<text class="x" x="{}" y="{}">updates</text>)", (kLeft + kWidth - kRight) / 2, kHeight - 5);
}

}  // namespace

std::vector<double> nice_ticks(double low, double high, int wanted) {
  const double size = std::max(std::abs(low), std::abs(high));
  const double width = std::max(high - low, size > 0 ? 1e-9 * size : 1.0);
  const double raw = width / std::max(wanted, 1), power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power >= raw * (1 - 1e-9)) {
      step = factor * power;
      break;
    }
  std::vector<double> ticks;
  // By whole multiples, so that rounding does not add up; a division where the step is a fraction: 3 / 10 is 0.3.
  const double inverse = std::round(1 / step);
  const double slack = 1e-9 * step;
  for (double k = std::ceil((low - slack) / step) + 0.0; k * step <= low + width + slack; ++k)
    ticks.push_back(step < 1 && inverse < 1e15 ? k / inverse : k * step);
  return ticks;
}

std::vector<double> log_ticks(double low, double high) {
  std::vector<double> ticks;
  const double first = std::floor(std::log10(low)), last = std::ceil(std::log10(high));
  const double every = std::max(1.0, std::ceil((last - first) / 7));  // at most about seven decades get a tick
  for (double p = first; p <= last; p += every)
    for (double factor : {1.0, 2.0, 5.0}) {
      const double t = p < 0 ? factor / std::pow(10, -p) : factor * std::pow(10, p);
      const bool wanted = factor == 1 || last - first < 3.5;
      if (wanted && t >= low * (1 - 1e-9) && t <= high * (1 + 1e-9)) ticks.push_back(t);
    }
  return ticks;
}

std::string tick_label(double value) {
  const double size = std::abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-3)) {
    const int power = int(std::floor(std::log10(size) + 1e-12));
    return fmt::format("{:.3g}e{}", value / std::pow(10, power), power);
  }
  if (size >= 1e6) return fmt::format("{:.4g}M", value / 1e6);
  if (size >= 1e4) return fmt::format("{:.4g}k", value / 1e3);
  if (size >= 1e3 && value == std::floor(value)) return with_commas(int64_t(value));
  return fmt::format("{:.4g}", value);
}

std::string with_commas(int64_t value) {
  std::string text = fmt::format("{}", value);
  for (int64_t at = int64_t(text.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3) text.insert(size_t(at), 1, ',');
  return text;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (char c : data::printable(text, "\n\t")) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  return out;
}

std::string svg(const Plot& plot) {
  std::string text = fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", kWidth, kHeight,
                                 escape_html(plot.title));
  if (ranges_of(plot, true).empty())
    return text +
           fmt::format(R"(<text class="x" x="{}" y="{}">no finite values</text></svg>)", kWidth / 2, kHeight / 2);
  const Axis x = x_axis(plot), y = y_axis(plot);
  text += grid(x, y, plot);
  for (const Series& s : plot.series)
    if (s.faint) text += line_of(s, x, y, plot);  // first, so that the others lie above them
  for (const Series& s : plot.series)
    if (!s.faint) text += line_of(s, x, y, plot);
  return text + "</svg>";
}

}  // namespace selene::train
