// libFuzzer target: the reader of ListOps files. Any input is read or refused with an Error; what is read can be
// rendered and gives the same symbols again.
#include <cstdlib>
#include <sstream>

#include "data/listops.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace selene::data;
  // Half of the inputs get the header for free, so that the fuzzer reaches the lines behind it.
  std::string text(reinterpret_cast<const char*>(bytes), size);
  if (size > 0 && bytes[0] % 2 == 0) text = "Source\tTarget\n" + text.substr(1);
  try {
    std::istringstream in(text);
    const Dataset data = read_listops(in, "input");
    for (int64_t i = 0; i < data.examples(); ++i) {
      const auto row = data.row(i);
      const std::vector<uint8_t> symbols(row.begin(), row.end());
      if (listops_value(row) > 9 || parse_listops(listops_text(row)) != symbols) std::abort();
    }
  } catch (const selene::Error&) {
  }
  return 0;
}
