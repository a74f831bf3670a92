// Line charts as inline SVG, and the small arithmetic of axes. The colours come from the page's style sheet
// (train/report/report.cpp).
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace selene::train {

struct Series {
  std::string label;         // shown under the pointer
  size_t colour = 0;         // CSS class c0, c1, ...: one per run
  bool faint = false;        // thin and pale: the noisy companion of another series
  bool dots = false;         // a dot on each point, with its value under the pointer
  std::vector<double> x, y;  // same length; x ascending; a point that is not finite leaves a gap
};

struct Plot {
  std::string title;     // read out by screen readers
  bool percent = false;  // y is a fraction, shown in percent
  std::vector<Series> series;
};

/// About `wanted` round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten, ascending. A range
/// without width is first widened. Both ends must be finite.
std::vector<double> nice_ticks(double low, double high, int wanted);
/// Powers of ten in [low, high] and, over less than three decades, their double and fivefold. 0 < low <= high.
std::vector<double> log_ticks(double low, double high);
/// A number beside a tick: "0.25", "2e-5", "1,500", "20k", "3M".
std::string tick_label(double value);
/// 1234567 -> "1,234,567".
std::string with_commas(int64_t value);

/// Text that is safe in HTML and SVG, between tags and in quoted attributes: & < > " ' are escaped, control
/// characters other than tab and line feed become "?".
std::string escape_html(std::string_view text);

/// The chart as an <svg> element with axes, grid, ticks and one path per series, one point per value; beyond 2,000
/// points a series keeps the lowest and highest of each stretch. y is logarithmic where it spans more than two
/// decades above 0. A chart without any finite point says so.
std::string svg(const Plot& plot);

}  // namespace selene::train
