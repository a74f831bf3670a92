// Random orders that are a pure function of a seed: of examples in an epoch, and of a data set that is cut into
// splits.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/philox.h"

namespace selene::data {

/// Shuffles the first `units` blocks of `unit` elements of v: every permutation is equally likely (Fisher and Yates,
/// from the back). units is at most 2^32 - 1.
void permute(std::vector<int64_t>& v, int64_t units, int64_t unit, PhiloxStream& random);

/// What a data set's order is for; keeps the draws of one seed apart.
enum class OrderOf : uint32_t { train, valid, test, pathfinder };

/// A random order of 0 to count - 1. Error for more than 2^32 - 1.
std::vector<int64_t> seeded_order(int64_t count, uint64_t seed, OrderOf what);

}  // namespace selene::data
