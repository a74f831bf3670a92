// Backends that are loaded at run time: the table serves a context, what is not a usable module is refused with its
// reason.
#include <cstring>

#include "engine/backend.h"
#include "kernels/error.h"
#include "kernels/operations.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/device_module.h"
#include "tests/support/op_case.h"
#include "tests/support/threads.h"

namespace selene::testing {
namespace {}  // namespace

TEST_CASE("a module describes itself and reports failures as errors") {
  const Backend& module = device_module();
  CHECK(module.describe().find("compute capability") != std::string::npos);
  CHECK(module.info().memory > 0);
  Context context({0, 1 << 12, 0}, &module);
  const char unused[8] = {};
  CHECK(message_of([&] { context.stream().launch(Operation::Fill, DType::f32, nullptr, unused, 1); }) ==
        "Fill f32: argument struct of another size: 1 bytes, wanted 24");
  CHECK(message_of([&] { context.stream().launch(Operation::Fill, DType::i64, nullptr, unused, 1); }) ==
        "Fill i64: element type that no kernel is built for");
}

TEST_CASE("a captured step runs through a module too") {
  Context context(test_memory(), &device_module());
  const Tensor x = context.tensor<float>({3}, {1, 2, 3});
  Tape t(context, nullptr, Tape::Mode::train);
  context.stream().begin_capture();
  const Var y = scale(t, t.constant(x), 2);
  const Graph graph = context.stream().end_capture();
  for (const float first : {5.0f, -1.0f}) {
    const std::vector<float> v{first, 2, 3};
    context.upload(x, v.data());
    context.stream().replay(graph);
    CHECK(context.values<float>(y.v) == std::vector<float>{2 * first, 4, 6});
  }
}

TEST_CASE("what is not a usable module is refused with its reason") {
  const auto load = [](const std::string& path) { return message_of([&] { Backend m(path); }); };
  const std::string old = load(SELENE_TEST_MODULE_ABI);
  CHECK(holds(old, SELENE_TEST_MODULE_ABI));
  CHECK(holds(old, "built for ABI"));
  CHECK(holds(old, "this program has"));
  CHECK(holds(load(SELENE_TEST_MODULE_REASON), "no device of this kind in the machine"));
  CHECK(holds(load(SELENE_TEST_MODULE_NO_ENTRY), "has no entry selene_module"));
  Folder folder;
  CHECK(holds(load(folder.file("missing.so")), "missing.so"));
  write_text(folder.file("text.so"), "this is not a library");
  CHECK(holds(load(folder.file("text.so")), "text.so"));
}

TEST_CASE("the choice of a device without a CUDA module") {
  std::string why;
  CHECK(choose_device("cpu", &why) == nullptr);
  CHECK(why.empty());
  CHECK(message_of([&] { choose_device("gpu", &why); }) ==
        "device is 'gpu', wanted auto, cpu, cuda or the file of a module (*.so)");
  const std::string refused = message_of([&] {
    if (choose_device("cuda", &why)) throw Error("a CUDA module works here");
  });
  if (refused == "a CUDA module works here") return;
  CHECK(holds(refused, "libselene_cuda.so"));
  CHECK(choose_device("auto", &why) == nullptr);
  CHECK(why == refused);
}

TEST_CASE("the ABI hash changes with size, alignment and order of what crosses") {
  struct Two {
    int32_t a, b;
  };
  const uint64_t hash = hash_layout<Two, int32_t>(abi_hash());
  CHECK(hash != hash_layout<int64_t, int32_t>(abi_hash()));     // as large, aligned otherwise
  CHECK(hash != hash_layout<int32_t[3], int32_t>(abi_hash()));  // aligned alike, larger
  CHECK(hash != hash_layout<int32_t, Two>(abi_hash()));
  CHECK(hash != hash_layout<Two, int32_t>(abi_hash() + 1));
  CHECK(hash == hash_layout<Two, int32_t>(abi_hash()));
}

}  // namespace selene::testing
