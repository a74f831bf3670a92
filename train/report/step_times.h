// Training steps measured by `selene-bench step --json`, one JSON object per line: what Table 2 and Figure 1 are made
// of.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/report/paper.h"

namespace selene::train {

/// One line: one process of selene-bench, or one that failed.
struct StepTime {
  std::string model;                           // transformer, luna-16, ...
  std::string device, dtype;                   // as selene-bench names them
  int64_t length = 0;                          // tokens
  int64_t batch = 0;                           // examples
  int64_t timed_steps = 0;                     // of this process; 0 where the line does not have it
  std::string scale = "1";                     // of selene-sweep
  double best_ms = 0;                          // least and median of the steps of this process
  double median_ms = 0;                        //
  double slab_mib = 0;                         // planned peak: parameters, optimiser state, activations
  double rss_mib = 0;                          // resident memory of the process
  std::string why;                             // it failed; the numbers are 0 then
  std::string command, machine, commit, date;  // empty where the line does not have them
};

/// Reads a file of such lines. Throws Error ("FILE:LINE: ...") for a file that cannot be read or has no line, a line
/// that is no JSON object, a missing value, and a time that is not positive.
std::vector<StepTime> load_step_times(const std::string& path);

/// The measurements of one model at one length on one device.
struct StepSummary {
  int64_t rounds = 0;  // processes that measured
  bool failed = false;
  int64_t batch = 0;
  double median_ms = 0, best_ms = 0;  // median over the rounds of median_ms; least over the rounds of best_ms
  double slab_mib = 0, rss_mib = 0;   // largest over the rounds
};

/// The times of one device and element type, which are never compared with others.
struct StepTimes {
  std::string device, dtype;
  std::vector<StepTime> all;
  std::vector<std::string> models;  // transformer first, the rest in the paper's order, others as they come
  std::vector<int64_t> lengths;     // ascending

  /// Throws Error where two lines have different batches.
  StepSummary at(const std::string& model, int64_t length) const;
  /// Steps per second, and planned peak memory, relative to the Transformer at the same length; nothing where one of
  /// the two was not measured. Throws Error where their batches differ.
  std::optional<double> speed(const std::string& model, int64_t length) const;
  std::optional<double> memory(const std::string& model, int64_t length) const;
};
/// What failed counts with the first device that has its element type.
std::vector<StepTimes> group_by_device(const std::vector<StepTime>& all, const Paper& paper);

}  // namespace selene::train
