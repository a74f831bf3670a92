#include "data/lra/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "kernels/error.h"

namespace fs = std::filesystem;

namespace selene::data {
namespace {

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::error_code ignored;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.is_directory(ignored)) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

/// One and two levels below.
std::vector<fs::path> folders_below(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const fs::path& below : folders_in(folder)) {
    found.push_back(below);
    for (const fs::path& further : folders_in(below)) found.push_back(further);
  }
  return found;
}

/// The first folder that has `wanted`; empty if there is none.
std::string folder_with(const std::string& wanted, const std::vector<fs::path>& folders) {
  std::error_code ignored;
  for (const fs::path& place : folders)
    if (fs::exists(place / wanted, ignored)) return place.string();
  return "";
}

}  // namespace

void need_source(const std::string& folder, const std::string& wanted, const char* form,
                 std::span<const OtherForm> others) {
  std::error_code ignored;
  if (fs::exists(fs::path(folder) / wanted, ignored)) return;
  if (!fs::exists(folder, ignored)) throw Error(fmt::format("{}: is not there, wanted {}", folder, form));
  if (!fs::is_directory(folder, ignored))
    throw Error(fmt::format("{}: is a file, wanted {}; an archive must be unpacked", folder, form));
  for (const OtherForm& other : others)
    if (fs::exists(fs::path(folder) / other.has, ignored))
      throw Error(fmt::format("{}: is {} (it has {}), wanted {}", folder, other.what, other.has, form));
  const std::vector<fs::path> below = folders_below(folder);
  std::string right = folder_with(wanted, {fs::weakly_canonical(folder, ignored).parent_path()});
  if (right.empty()) right = folder_with(wanted, below);
  if (!right.empty())
    throw Error(fmt::format("{}: has no {}, but {} has; give that for --from", folder, wanted, right));
  for (const OtherForm& other : others)
    if (const std::string near = folder_with(other.has, below); !near.empty())
      throw Error(fmt::format("{}: has no {}; {} is {} (it has {}), wanted {}", folder, wanted, near, other.what,
                              other.has, form));
  throw Error(fmt::format("{}: has no {}, wanted {}", folder, wanted, form));
}

}  // namespace selene::data
