// The file of the running program.
#pragma once
#include <string>

namespace selene {

/// The absolute path of the file whose code runs here, as the memory map names it; empty where there is no /proc.
/// /proc/self/exe is another file where a loader or an emulator was started with this one as its argument.
std::string program_path();

}  // namespace selene
