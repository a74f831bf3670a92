// Arenas, and what a stream refuses while it captures.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>

#include "engine/context.h"
#include "kernels/elementwise.h"
#include "kernels/philox.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

constexpr int64_t kBlock = Arena::kAlignment;

Tensor bytes(Arena& arena, int64_t n, const char* label = "test") {
  return Tensor(arena.allocate(n, label), {n}, DType::u8);
}

// Offsets that a fixed series of requests and releases gets.
std::vector<int64_t> offsets(Arena& arena) {
  PhiloxStream random(4, 4);
  std::vector<Tensor> live;
  std::vector<int64_t> result;
  for (int i = 0; i < 400; ++i) {
    if (!live.empty() && random.below(3) == 0) live.erase(live.begin() + random.below(uint32_t(live.size())));
    live.push_back(bytes(arena, random.below(5000)));
    result.push_back(live.back().storage()->offset);
  }
  return result;
}

}  // namespace

TEST_CASE("the same requests get the same offsets in any arena") {
  Arena dry("dry", nullptr, Arena::kUnbounded, false);
  const std::vector<int64_t> first = offsets(dry);
  CHECK(dry.live() == 0);
  CHECK(dry.used() == 0);
  CHECK(offsets(dry) == first);  // also in one that has been used: it is empty again
  std::vector<char> memory(size_t(dry.peak()));
  Arena exact("exact", memory.data(), dry.peak(), false);
  CHECK(offsets(exact) == first);
  CHECK(exact.peak() == dry.peak());
  Arena small("small", memory.data(), dry.peak() - kBlock, false);
  CHECK_THROWS_AS(offsets(small), Error);
  CHECK(small.live() == 0);
}

TEST_CASE("best fit: the smallest hole that is large enough") {
  Arena a("a", nullptr, Arena::kUnbounded, false);
  std::optional<Tensor> big = bytes(a, 4 * kBlock), wall1 = bytes(a, 1), small = bytes(a, 2 * kBlock),
                        wall2 = bytes(a, 1);
  const int64_t big_at = big->storage()->offset, small_at = small->storage()->offset;
  big.reset(), small.reset();
  const Tensor fits = bytes(a, 2 * kBlock), one = bytes(a, kBlock), rest = bytes(a, 3 * kBlock);
  CHECK(fits.storage()->offset == small_at);
  CHECK(one.storage()->offset == big_at);
  CHECK(rest.storage()->offset == big_at + kBlock);
  CHECK(a.peak() == 8 * kBlock);
}

TEST_CASE("neighbouring holes become one, and a hole at the top disappears") {
  Arena a("a", nullptr, Arena::kUnbounded, false);
  std::vector<Tensor> t;
  for (int i = 0; i < 5; ++i) t.push_back(bytes(a, kBlock));
  t[1] = Tensor(), t[3] = Tensor(), t[2] = Tensor();  // 1 to 3 are one hole now
  t[1] = bytes(a, 3 * kBlock);
  CHECK(t[1].storage()->offset == kBlock);
  t[4] = Tensor(), t[1] = Tensor();
  t[1] = bytes(a, 10 * kBlock);
  CHECK(t[1].storage()->offset == kBlock);
  CHECK(a.peak() == 11 * kBlock);
  t.clear();
  CHECK(a.used() == 0);
}

TEST_CASE("blocks are aligned, empty ones have an address of their own") {
  Arena a("a", nullptr, Arena::kUnbounded, false);
  const Tensor none = bytes(a, 0), one = bytes(a, 1), two = bytes(a, kBlock + 1), three = bytes(a, 1);
  CHECK(one.storage()->offset == kBlock);
  CHECK(two.storage()->offset == 2 * kBlock);
  CHECK(three.storage()->offset == 4 * kBlock);
}

TEST_CASE("a full arena says who holds the memory") {
  Context context({0, 1 << 20, 0});
  const Tensor scores = context.empty({400, 500}, DType::f32, "scores"),
               mask = context.empty({100}, DType::u8, "mask");
  const std::string text = message_of([&] { context.empty({1000, 100}, DType::f32, "hidden"); });
  CHECK(holds(text, "step arena: 0.38 MiB wanted for hidden f32[1000, 100], 0.76 of 1.00 MiB in use"));
  CHECK(holds(text, "scores f32[400, 500] 0.76 MiB, mask u8[100] 0.00 MiB"));
  CHECK(context.step().live() == 2);
  const Tensor fits = context.empty({100, 100}, DType::f32);  // still usable
  CHECK(fits.storage()->offset == mask.storage()->offset + kBlock);
}

#ifdef SELENE_ASAN
TEST_CASE("AddressSanitizer knows where a block ends and that a freed one is gone") {
  std::vector<char> memory(8 * kBlock);
  Arena a("a", memory.data(), int64_t(memory.size()), false);
  const Tensor ten = bytes(a, 10), whole = bytes(a, kBlock);
  const auto dies = [&](size_t at) {
    const pid_t child = fork();
    if (child == 0) _exit(!freopen("/dev/null", "w", stderr) || memory[at] == 1 ? 1 : 0);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return status != 0;
  };
  CHECK(!dies(9));
  CHECK(dies(10));
  CHECK(dies(kBlock - 1));
  CHECK(!dies(2 * kBlock - 1));
  {
    const Tensor freed = bytes(a, kBlock);
    CHECK(!dies(2 * kBlock));
  }
  CHECK(dies(2 * kBlock));
}
#else
TEST_CASE("with guards freed memory is NaN and a write after a block is found") {
  std::vector<char> memory(8 * kBlock);
  Arena a("a", memory.data(), int64_t(memory.size()), true);
  {
    const Tensor x = bytes(a, 4);
    memset(x.raw(), 0, 4);
    CHECK(x.storage()->bytes == 2 * kBlock);
    CHECK(memory[size_t(kBlock)] == char(0xA5));
  }
  float freed;
  memcpy(&freed, memory.data(), 4);
  CHECK(std::isnan(freed));
  const auto write_after = [&] {
    const Tensor x = bytes(a, kBlock);
    if (!freopen("/dev/null", "w", stderr)) _exit(1);
    std::signal(SIGABRT, SIG_DFL);
    static_cast<char*>(x.raw())[kBlock] = 1;
    a.release(const_cast<Storage*>(x.storage()));
  };
  CHECK(signal_of(write_after) == SIGABRT);
}
#endif

TEST_CASE("a tensor may outlive its arena") {
  Tensor x;
  {
    Arena a("a", nullptr, Arena::kUnbounded, false);
    x = bytes(a, 100);
  }
  CHECK(x.raw() == nullptr);
}

TEST_CASE("the state arena lives across steps, and the slab holds its parts exactly") {
  Context context({2 * kBlock, 4 * kBlock, 2 * kBlock});
  const Tensor cache = context.make(context.state(), {128}, DType::f32, "cache");
  const std::vector<float> v(128, 2.5f);
  context.upload(cache, v.data());
  for (int step = 0; step < 3; ++step) {
    const Tensor x = context.tensor<float>({256}, std::vector<float>(256, float(step)));
    CHECK(x.storage()->offset == 0);
    CHECK(context.values<float>(cache) == v);
  }
  CHECK(context.step().live() == 0);
  CHECK(context.state().used() == 2 * kBlock);
  CHECK_THROWS_AS(context.make(context.state(), {1}, DType::u8, "more"), Error);
  CHECK_THROWS_AS(context.make(context.persistent(), {512}, DType::u8, "more"), Error);  // the scalars are in there
}

TEST_CASE("a dry context plans and runs nothing") {
  const auto context = Context::dry();
  CHECK(context->is_dry());
  const Tensor x = context->empty({1 << 20, 1 << 20}, DType::f32);  // 4 TiB
  const Tensor y = context->empty({3}, DType::f32);
  const auto begin = [](const Tensor& t) { return static_cast<const char*>(t.raw()); };
  CHECK(begin(y) == begin(x) + x.bytes());
  CHECK(context->step().block_at(begin(x) + 5) == x.storage());
  CHECK(context->step().block_at(begin(y)) == y.storage());
  CHECK(context->step().block_at(begin(y) + kBlock) == nullptr);
  CHECK(context->persistent().block_at(begin(x)) == nullptr);
  run(context->stream(), Fill<float>{x.data<float>(), x.numel(), 1});
  context->upload(x, nullptr);
  CHECK(context->plan().step == (int64_t(1) << 42) + kBlock);
  CHECK(context->plan().persistent == kBlock);
}

TEST_CASE("a slab that the machine has not is an error") {
  CHECK(holds(message_of([] { Context c({0, int64_t(1) << 60, 0}); }), "slab: the system refuses"));
}

TEST_CASE("a capture refuses what a CUDA graph would refuse") {
  Context context({1 << 12, 1 << 12, 1 << 12});
  Stream& s = context.stream();
  const Tensor x = context.tensor<float>({2}, {1, 2});
  float host[2];
  const auto refused = [&](auto f) {
    const std::string text = message_of(f);
    return holds(text, ": not possible while a step is captured") ? text.substr(0, text.find(':')) : text;
  };
  CHECK(refused([&] { s.end_capture(); }) == "end_capture: no capture has begun on this stream");
  s.begin_capture();
  CHECK(s.capturing());
  CHECK(refused([&] { s.begin_capture(); }) == "begin_capture");
  CHECK(refused([&] { context.upload(x, host); }) == "a copy from host memory");
  CHECK(refused([&] { context.set_step({}); }) == "a copy from host memory");
  CHECK(refused([&] { context.download(x, host); }) == "a copy to host memory");
  CHECK(refused([&] { s.synchronize(); }) == "synchronize");
  CHECK(refused([&] { s.replay({}); }) == "replay");
  CHECK(refused([&] { context.make(context.persistent(), {1}, DType::f32, "x"); }) ==
        "new memory outside of the step arena");
  CHECK(refused([&] { context.make(context.state(), {1}, DType::f32, "x"); }) ==
        "new memory outside of the step arena");
  CHECK(context.empty({1}, DType::f32).storage() != nullptr);
  run(s, Fill<float>{x.data<float>(), 2, 9});
  const Graph graph = s.end_capture();
  CHECK(!s.capturing());
  CHECK(graph);
  CHECK(context.values<float>(x) == std::vector<float>{1, 2});  // recorded, not run
  s.replay(graph);
  CHECK(context.values<float>(x) == std::vector<float>{9, 9});
}

TEST_CASE("the observer sees every launch, in a dry run too") {
  Context real({0, 1 << 12, 0});
  const auto dry = Context::dry();
  for (Context* context : {&real, dry.get()}) {
    std::vector<Operation> seen;
    double seconds = 0;
    context->stream().observer = [&](Operation op, DType dtype, double s, const void*) {
      CHECK(dtype == DType::f32);
      seen.push_back(op), seconds += s;
    };
    const Tensor x = context->empty({100}, DType::f32);
    run(context->stream(), Fill<float>{x.data<float>(), 100, 1});
    CHECK(seen == std::vector<Operation>{Operation::Fill});
    CHECK((seconds > 0) == !context->is_dry());
    context->stream().observer = {};
  }
}

}  // namespace selene::testing
