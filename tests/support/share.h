// Long tests run a share of their cases that goes with the date, another one each day. tools/dev/share.sh sets
// SELENE_TEST_DAY; where it is not set, everything runs.
#pragma once
#include <cstddef>
#include <cstdlib>

namespace selene::testing {

/// Whether case `number` is in the share of the day, one of `parts`.
inline bool in_todays_share(size_t number, size_t parts) {
  static const char* const day = std::getenv("SELENE_TEST_DAY");
  return !day || (number + size_t(std::atoll(day))) % parts == 0;
}

}  // namespace selene::testing
