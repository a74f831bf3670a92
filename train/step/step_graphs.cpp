#include "train/step/step_graphs.h"

#include <algorithm>

#include "kernels/error.h"

namespace selene::train {
namespace {

// Addresses of a batch's tensors: equal for equal shapes, since the step arena is empty when they are uploaded.
std::vector<const void*> addresses(const DeviceBatch& batch) {
  std::vector<const void*> at;
  for (const auto& [name, tensor] : batch.tensors) at.push_back(tensor.raw());
  return at;
}

/// What f launches, as a graph. An error of f ends the capture, and what it had recorded is dropped.
template <class F>
Graph captured(Stream& stream, F f) {
  stream.begin_capture();
  try {
    f();
  } catch (...) {
    try {
      stream.end_capture();
    } catch (const Error&) {
      // A module refuses to make a graph of a capture that was broken off; it has ended all the same.
    }
    throw;
  }
  return stream.end_capture();
}

}  // namespace

StepGraphs::Entry& StepGraphs::entry_of(const data::Batch& batch, int64_t micro) {
  std::vector<int64_t> shape{micro};
  for (const std::vector<data::Array>* list : {&batch.inputs, &batch.targets})
    for (const data::Array& array : *list) shape.insert(shape.end(), array.shape.begin(), array.shape.end());
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.shape == shape; });
  if (found != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, found);
    return entries_.front();
  }
  if (entries_.size() == size_t(kMost)) entries_.pop_back();
  entries_.emplace_front().shape = shape;
  return entries_.front();
}

void StepGraphs::micro_batch(const data::Batch& batch, int64_t micro) {
  if (!enabled_) return session_.micro_batch(batch, micro);
  Entry& e = entry_of(batch, micro);
  if (!e.warm) {
    session_.micro_batch(batch, micro);
    e.warm = true;
    return;
  }
  Stream& stream = session_.context().stream();
  const DeviceBatch on_device = session_.upload(batch);
  if (!e.graph) {
    e.graph = captured(stream, [&] { session_.micro_batch(on_device, micro); });
    e.inputs = addresses(on_device);
  }
  if (e.inputs != addresses(on_device)) throw Error("a captured step: its inputs lie elsewhere than at the capture");
  stream.replay(e.graph);
  ++replays_;
}

void StepGraphs::optimizer_step() {
  if (!enabled_ || !optimizer_warm_) {
    session_.optimizer().step();
    optimizer_warm_ = true;
    return;
  }
  Stream& stream = session_.context().stream();
  if (!optimizer_) optimizer_ = captured(stream, [&] { session_.optimizer().step(); });
  stream.replay(optimizer_);
}

}  // namespace selene::train
