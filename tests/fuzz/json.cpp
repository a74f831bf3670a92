// libFuzzer: any text is JSON or one Error, and JSON survives being written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "data/io/json.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace selene::data;
  Json json;
  try {
    json = parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const selene::Error&) {
    return 0;
  }
  for (const int indent : {-1, 2})
    if (!(parse_json(json.dump(indent), "again") == json)) abort();
  return 0;
}
