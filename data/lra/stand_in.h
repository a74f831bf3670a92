// Stand-ins: small synthetic data in the official layouts of IMDb, CIFAR-10 and AAN, for machines that cannot have
// the real files. Their classes can be told apart, but no number from them says anything about the real tasks.
#pragma once
#include <cstdint>
#include <string>

#include "data/prepared.h"

namespace selene::data {

struct StandInPlan {
  std::string folder;                             // to make
  int64_t train = 1000, valid = 100, test = 200;  // examples, 2 to 1,000,000 each
  uint64_t seed = 1;
  bool force = false;  // make it anew in any case
};

// Each writes the official files and STAND-IN.txt, which says what they are, into a new folder through
// prepare_folder (data/prepared.h), whose errors they have; the same plan gives the same files. Error for sizes
// out of range. `watch` (may be empty) hears of examples.

/// The layout of aclImdb (data/lra/imdb.h): {train,test}/{neg,pos}/ID_RATING.txt, with about the lengths of real
/// reviews; three of four judging words agree with the class, and every second review is positive. Plan.valid is
/// not used: the layout has no such part.
Prepared make_stand_in_imdb(const StandInPlan& plan, const Watch& watch = {});
/// The layout of cifar-10-batches-bin (data/lra/cifar10.h): five training files of a fifth of plan.train each,
/// rounded up, and a test file. A class is one of five shapes, brighter or darker than what is around it, under
/// noise. Plan.valid is not used.
Prepared make_stand_in_cifar10(const StandInPlan& plan, const Watch& watch = {});
/// The layout of tsv_data (data/lra/aan.h): the two texts of a related pair, which is every second one, have their
/// subject and so its rare words in common.
Prepared make_stand_in_aan(const StandInPlan& plan, const Watch& watch = {});

}  // namespace selene::data
