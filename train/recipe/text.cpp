// Texts of recipe errors: foreign text made safe to print, and the nearest known key.
#include <algorithm>

#include <fmt/format.h>

#include "train/recipe/schema.h"

namespace selene::train {
namespace {

constexpr size_t kLongestGuess = 64;  // bytes; longer names get no suggestion
constexpr size_t kMostSlips = 3;      // edits; further away is no likely slip

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment distance). Lengths that lie
/// further apart than kMostSlips need no table: the answer is at least that.
size_t edit_distance(std::string_view a, std::string_view b) {
  const size_t lengths = std::max(a.size(), b.size()) - std::min(a.size(), b.size());
  if (lengths > kMostSlips) return lengths;
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i)
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

std::string_view last_part(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == name.npos ? name : name.substr(dot + 1);
}

/// How far `name` is from `known`. A right key in the wrong section costs 1, so does a name that goes on or stops
/// early.
size_t name_distance(std::string_view name, std::string_view known) {
  if (last_part(name) == last_part(known)) return 1;
  if (std::min(name.size(), known.size()) >= 4 && (name.starts_with(known) || known.starts_with(name))) return 1;
  size_t best = edit_distance(name, known);
  if (name.find('.') == name.npos) best = std::min(best, edit_distance(name, last_part(known)));
  return best;
}

}  // namespace

std::string suggest_key(std::string_view name) {
  if (name.size() > kLongestGuess) return "";
  if (name == "data.task") return " (did you mean data.kind?)";  // its older name
  std::string_view nearest;
  size_t best = std::clamp<size_t>(last_part(name).size() / 3, 2, kMostSlips) + 1;
  const auto offer = [&](std::string_view known) {
    const size_t distance = name_distance(name, known);
    if (distance < best) best = distance, nearest = known;
  };
  for (const Key& key : schema()) {
    const std::string_view section = section_of(key);
    if (name.find('.') == name.npos && is_section(section)) offer(section);
    offer(key.name);
  }
  return nearest.empty() ? "" : fmt::format(" (did you mean {}?)", nearest);
}

}  // namespace selene::train
