#include "models/blocks/builder.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"

namespace selene {

Site Builder::site(const std::string& name, double probability) const {
  if (std::find(sites->begin(), sites->end(), name) != sites->end())
    throw Error(fmt::format("dropout site {}{}: declared twice, the masks of both would be the same", prefix, name));
  if (int(sites->size()) == kSites)
    throw Error(fmt::format("dropout site {}{}: a layer has {} sites already, wanted no more", prefix, name, kSites));
  sites->push_back(name);
  return {int(sites->size()) - 1, probability};
}

}  // namespace selene
