// Modules that must be refused. SELENE_TEST_FAULT: 1 built for another ABI, 2 says that it can't work here, 3 has no
// entry.
#include "kernels/operations.h"

#if SELENE_TEST_FAULT == 1
extern "C" const selene::ModuleTable* selene_module(const char**) {
  static selene::ModuleTable table{};
  table.abi = selene::abi_hash() + 1, table.name = "old";
  return &table;
}
#elif SELENE_TEST_FAULT == 2
extern "C" const selene::ModuleTable* selene_module(const char** why) {
  *why = "no device of this kind in the machine";
  return nullptr;
}
#else
extern "C" int selene_no_module() { return 0; }
#endif
