// Whole steps as captured graphs: the launches of a micro-batch are recorded once for every shape and replayed with
// the inputs of the next batch, without the C++ that made them.
#pragma once
#include <list>
#include <vector>

#include "train/step/session.h"

namespace selene::train {

class StepGraphs {
 public:
  static constexpr int kMost = 24;  // micro-batch graphs kept; the one unused for longest goes first

  /// enabled false: every step runs eagerly.
  StepGraphs(Session& session, bool enabled) : session_(session), enabled_(enabled) {}

  /// Session::micro_batch. The first of a shape and position runs eagerly (libraries choose their kernels then), the
  /// second is captured; from then on it is replayed.
  void micro_batch(const data::Batch& batch, int64_t micro);
  /// Optimizer::step, likewise.
  void optimizer_step();
  int64_t replays() const { return replays_; }

 private:
  struct Entry {
    std::vector<int64_t> shape;       // micro-batch, then the shapes of the batch's arrays
    std::vector<const void*> inputs;  // where the captured step reads them
    bool warm = false;
    Graph graph;
  };
  Entry& entry_of(const data::Batch& batch, int64_t micro);
  Session& session_;
  const bool enabled_;
  std::list<Entry> entries_;  // used last in front
  Graph optimizer_;
  bool optimizer_warm_ = false;
  int64_t replays_ = 0;
};

}  // namespace selene::train
