// The one exception type of Selene. Its text is one clear line: place, what was found, what was wanted.
#pragma once
#include <stdexcept>
#include <string>

namespace selene {

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what) : std::runtime_error(what) {}
};

}  // namespace selene
