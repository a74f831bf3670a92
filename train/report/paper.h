// What a paper prints for its benchmark, read from recipes/paper/*.yaml: its numbers stand beside ours in tables
// (train/report/lra_tables.h) and in a figure (train/report/figure.h).
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace selene::train {

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();  // where the paper has none

/// One model; NaN where a table does not have it.
struct PaperModel {
  std::string key;                 // as a recipe's file is called; empty: a number of others that no recipe repeats
  std::string title;               // as printed
  std::vector<double> accuracy;    // percent, of the tasks
  double average = kNoNumber;      // percent, as printed
  std::vector<double> speed;       // steps per second over the Transformer's, at the lengths
  std::vector<double> memory;      // peak bytes over the Transformer's
  std::vector<double> accuracy_p;  // percent, of the pooling tasks, with P as the sentence vector
};

/// Appends a value that a list does not have.
template <class T>
void add_once(std::vector<T>& list, const T& value) {
  if (std::find(list.begin(), list.end(), value) == list.end()) list.push_back(value);
}

struct PaperTask {
  std::string key;    // as its recipe's file is called
  std::string title;  // as printed
};

struct Paper {
  std::vector<PaperTask> tasks, more_tasks;  // of Table 1, in its order; that the paper does not have
  std::vector<std::string> pooling_tasks;    // of Table 3
  std::vector<int64_t> lengths;              // of Table 2, tokens
  std::vector<PaperModel> models;

  /// The row with this key, or null. "transformer" is the paper's re-implementation.
  const PaperModel* model(std::string_view key) const;
  /// Title of a task or a model; the key itself where it has none.
  std::string task_title(std::string_view key) const;
  std::string model_title(std::string_view key) const;
  /// Percent by Table 1, or with P as the sentence vector by Table 3; NaN where there is none.
  double accuracy(std::string_view model, std::string_view task, bool p) const;
  /// Mean of a row of Table 1 over some tasks, percent; NaN without tasks or with one that the row does not have.
  double average(const PaperModel& model, const std::vector<std::string>& tasks) const;
  /// Where a length stands in `lengths`.
  std::optional<size_t> length_index(int64_t length) const;
};

/// Reads a file of recipes/paper. Throws Error with the place: what cannot be read, unknown or missing keys, rows
/// with another number of values than there are tasks or lengths.
Paper load_paper(const std::string& path);

}  // namespace selene::train
