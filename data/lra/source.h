// The folders in which well-known data sets are given out, and what people give in their place.
#pragma once
#include <span>
#include <string>

namespace selene::data {

/// Another form of a data set, or another data set, and the name in its folder by which it is known.
struct OtherForm {
  const char* has;
  const char* what;  // "CIFAR-100"
};

/// Error unless `folder` has `wanted`, a file or folder in it by which the right form is known; `form` says which one
/// that is and where it comes from. The message tells an archive, the folder above or below the right one, and the
/// other forms.
void need_source(const std::string& folder, const std::string& wanted, const char* form,
                 std::span<const OtherForm> others = {});

}  // namespace selene::data
