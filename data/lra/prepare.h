// Makes folders of prepared data (data/prepared.h) for three tasks of the Long Range Arena from their official
// files: Text, Image and Retrieval. Every split is put in a seeded random order first, so that its first N
// examples are a fair sample of it.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/prepared.h"

namespace selene::data {

/// At most so many examples of each split, the first ones of its order; 0: all.
struct SplitCaps {
  int64_t train = 0, valid = 0, test = 0;
};

/// IMDb reviews (data/lra/imdb.h).
struct TextPlan {
  std::string folder, from;  // to make; the archive's folder aclImdb
  int64_t held_out = 0;      // training reviews set apart for validation; 0: the test set validates, as in the
                             // Long Range Arena, whose choice of a checkpoint so looks at the test set
  SplitCaps caps = {};
  uint64_t seed = 1;   // of the orders, and so of which reviews are held out
  bool force = false;  // make it anew in any case
};

/// CIFAR-10 in grey (data/lra/cifar10.h). The last tenth of the training images, in the seeded order, is the
/// validation set.
struct ImagePlan {
  std::string folder, from;  // to make; the archive's folder cifar-10-batches-bin
  SplitCaps caps = {};
  uint64_t seed = 1;
  bool force = false;
};

/// AAN article pairs (data/lra/aan.h).
struct RetrievalPlan {
  std::string folder, from;  // to make; the archive's folder tsv_data
  int64_t max_bytes = 4000;  // of a text that are kept: no recipe looks at more
  SplitCaps caps = {};
  uint64_t seed = 1;
  bool force = false;
};

/// Each makes plan.folder with train, valid and test through prepare_folder, whose errors they have; dataset.json
/// then also tells what was skipped.
/// Throws Error for options out of range and for what the readers refuse. `watch` (may be empty) hears of reviews,
/// of images, and of MiB read of all three files.
Prepared prepare_text(const TextPlan& plan, const Watch& watch = {});
Prepared prepare_image(const ImagePlan& plan, const Watch& watch = {});
Prepared prepare_retrieval(const RetrievalPlan& plan, const Watch& watch = {});

/// The examples `order` of a data set, in this order, as a data set with memory of its own.
Dataset picked(const Dataset& data, std::span<const int64_t> order);

}  // namespace selene::data
