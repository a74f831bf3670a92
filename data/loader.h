// Batches of a data set in four stages, each of which a task may replace: the order says which examples are together,
// read takes them out of the data set, frame turns their symbols into what the model sees, pad makes arrays of them.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/order.h"
#include "data/vocabulary.h"

namespace selene::data {

/// One example between the stages: rows of symbols and what is to be said of them.
struct Example {
  std::vector<std::vector<int32_t>> rows;  // one for each input; raw symbols, after the frame ids
  std::vector<int32_t> targets;            // a class, or the symbols that follow
};

/// The stages after the order. They are pure functions, called from several threads.
using ReadStage = std::function<Example(int64_t example)>;
using FrameStage = std::function<void(Example&)>;
/// Fills inputs, targets, sample_size and tokens of a batch whose B is set.
using PadStage = std::function<void(const std::vector<Example>&, Batch&)>;

/// Makes batch number `index` of an endless sequence of epochs. Safe to use from several threads.
class Loader {
 public:
  /// The data set is shared, not copied: the loader looks whether its file is still what was read.
  Loader(std::shared_ptr<const Dataset> data, std::shared_ptr<const BatchOrder> order, ReadStage read,
         FrameStage frame, PadStage pad);

  int64_t batches_per_epoch() const { return order_->batches_per_epoch(); }
  const Dataset& data() const { return *data_; }
  /// Batch `index` >= 0 of the sequence; a pure function of its argument. Error where the data's file was changed
  /// since it was read.
  Batch make_batch(int64_t index) const;

 private:
  std::shared_ptr<const Dataset> data_;
  std::shared_ptr<const BatchOrder> order_;
  ReadStage read_;
  FrameStage frame_;
  PadStage pad_;
};

/// Stages for labelled rows. read_labelled: every row of an example, and its label.
ReadStage read_labelled(std::shared_ptr<const Dataset> data);
/// The ids of a vocabulary, at most max_length (>= 1) of a row.
FrameStage frame_symbols(Vocabulary vocabulary, int64_t max_length);
/// Grey values as they are, the first max_length (>= 1).
FrameStage frame_pixels(int64_t max_length);

/// Name of an array of the given tower: "tokens", "tokens.1".
std::string tower_name(const char* what, int64_t tower);
/// For each tower i32 tokens[B, N] padded with `pad`, lengths[B] where a row is padded, longest[1]; the target
/// labels[B]. N is the longest row of all towers: one model reads them all. The sample size is the number of
/// examples.
PadStage pad_tokens(int32_t pad);
/// The same with pixels[B, N], grey values as numbers from -1 to 1 (Luna's lra-image task, revision of 2023: mean and
/// deviation 0.5) padded with 0.
PadStage pad_pixels();

}  // namespace selene::data
