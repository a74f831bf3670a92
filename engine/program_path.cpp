#include "engine/program_path.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>

namespace selene {

std::string program_path() {
  const auto here = reinterpret_cast<uintptr_t>(&program_path);
  std::ifstream map("/proc/self/maps");
  for (std::string line; std::getline(map, line);) {  // 55d0-55f0 r-xp 00002000 fe:00 1234    /usr/bin/selene-train
    uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR, &begin, &end) != 2 || here < begin || here >= end)
      continue;
    const size_t path = line.find('/');
    return path == line.npos ? "" : line.substr(path);
  }
  return "";
}

}  // namespace selene
