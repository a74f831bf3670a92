// Figure 1 of the Luna paper as a self-contained SVG: accuracy against speed, the area of a circle is memory; the
// paper's models hollow, ours filled.
#pragma once
#include <string>
#include <vector>

#include "train/report/lra_runs.h"
#include "train/report/paper.h"
#include "train/report/step_times.h"

namespace selene::train {

struct FigurePoint {
  std::string label;
  double speed = 1;     // steps per second over the Transformer's
  double accuracy = 0;  // percent, mean over the tasks of the figure
  double memory = 1;    // peak over the Transformer's
  bool ours = false;
};

struct Figure {
  std::vector<FigurePoint> points;
  std::vector<std::string> tasks;     // that accuracy is the mean of
  std::string task_titles;            // "ListOps, Text"
  int64_t length = 4096;              // tokens, of speed and memory
  std::vector<std::string> problems;  // what is missing or to be known, one line each
};

/// The paper's models, all that Tables 1 and 2 share, and ours that have accuracies and times. Accuracy is the mean
/// over the tasks that every model of ours with a result has (all five where there is none), for the paper's too;
/// speed and memory are those at the longest length at which ours and the Transformer were measured, 4096 without
/// any. Throws Error for times of several devices or element types, and for a length that the paper does not have.
Figure figure_of(const std::vector<LraRun>& runs, const std::vector<StepTime>& times, const Paper& paper);

/// The figure as an SVG file.
std::string figure_svg(const Figure& figure);

}  // namespace selene::train
