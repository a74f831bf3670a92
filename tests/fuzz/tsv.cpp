// libFuzzer target: the readers of lines. ListOps files, AAN pairs and examples of one's own: any input is read or
// refused with an Error; ListOps that was read can be rendered and gives the same symbols again.
#include <cstdlib>
#include <sstream>

#include "data/lra/aan.h"
#include "data/lra/listops/listops.h"
#include "data/lra/own_examples.h"
#include "kernels/error.h"

namespace {

using namespace selene::data;

void read_and_render(const std::string& text) {
  std::istringstream in(text);
  const Dataset data = read_listops(in, "input");
  for (int64_t i = 0; i < data.examples(); ++i) {
    const auto row = data.row(i);
    const std::vector<uint8_t> symbols(row.begin(), row.end());
    if (listops_value(row) > 9 || parse_listops(listops_text(row)) != symbols) std::abort();
  }
}

void read_pairs(const std::string& text) {
  std::istringstream in(text);
  const Dataset data = read_aan(in, "input", 16);
  for (int64_t i = 0; i < data.examples(); ++i)
    if (data.row(i, 0).empty() || data.row(i, 1).size() > 16) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  try {
    switch (bytes[0] % 5) {  // with and without the header, so that the fuzzer reaches the lines after it
      case 0:
        read_and_render("Source\tTarget\n" + text);
        break;
      case 1:
        read_and_render(text);
        break;
      case 2:
        read_pairs(text);
        break;
      default: {
        std::istringstream in(text);
        const Dataset own = read_own(in, "input", kind_named(bytes[0] % 5 == 3 ? "text" : "retrieval"));
        for (int64_t i = 0; i < own.examples(); ++i) own.kind->text(own, i);
      }
    }
  } catch (const selene::Error&) {
  }
  return 0;
}
