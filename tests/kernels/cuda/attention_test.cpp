// Attention on the device against the CPU in double: sizes around the edges of tiles, rows inside wider ones, cut
// loops, and the kernels of every device: tensor cores of sm_80, of sm_70, and none.
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "tests/support/catch.h"
#include "tests/support/device_module.h"
#include "tests/support/disk.h"
#include "tests/support/op_case.h"
#include "tests/support/share.h"
#include "tests/support/threads.h"

namespace selene::testing {
namespace {

constexpr double kUntouched = -0.75;  // what lies between the heads of an output

struct Case {
  int64_t B, H, Nq, Nk, K;
  bool masked = false, causal = false, dropped = false, tied = false;
  int64_t gap = 0, offset = 0;  // elements after each row's heads, and before the first
  bool backward = true;         // false: the forward pass alone

  int64_t row() const { return H * K + gap; }
  int64_t elements(int64_t N) const { return offset + B * N * row(); }
  std::string name() const {
    std::string s;
    for (const int64_t n : {B, H, Nq, Nk, K}) s += std::to_string(n) + " ";
    return s + (masked ? "masked " : "") + (causal ? "causal " : "") + (dropped ? "dropped " : "") +
           (tied ? "tied " : "") + "gap " + std::to_string(gap) + " offset " + std::to_string(offset);
  }
};

// Numbers that every element type holds.
std::vector<double> random_numbers(int64_t n, uint64_t seed) {
  PhiloxStream random(31, seed);
  std::vector<double> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(double(up(down<bf16>(float(random.uniform() * 3 - 1.5)))));
  for (double& x : v) x = double(up(down<f16>(float(x))));
  return v;
}

struct Values {
  std::vector<double> q, k, v, d_o;  // with the gaps between rows
  std::vector<uint8_t> mask;         // [B, Nk]
  explicit Values(const Case& c)
      : q(random_numbers(c.elements(c.Nq), 1)),
        k(random_numbers(c.elements(c.Nk), 2)),
        v(c.tied ? k : random_numbers(c.elements(c.Nk), 3)),
        d_o(random_numbers(c.elements(c.Nq), 4)) {
    PhiloxStream random(32, 1);
    for (int64_t b = 0; b < c.B; ++b)
      for (int64_t j = 0; j < c.Nk; ++j)
        mask.push_back(j > 0 && (j >= c.Nk - (b + 1) * c.Nk / (c.B + 1) || random.below(5) == 0));
  }
};

struct Result {
  std::vector<double> o, lse, dq, dk, dv;
};

template <template <class> class Arguments, class T>
void run_with_scratch(Context& on, Arguments<T> a) {
  const int64_t n = workspace_bytes(on.stream(), a) / int64_t(sizeof(Acc<T>));
  const Tensor scratch = upload_doubles(on, {n}, dtype_of<Acc<T>>, std::vector<double>(size_t(n), NAN));
  a.workspace = n ? scratch.data<Acc<T>>() : nullptr;
  run(on.stream(), a);
}

// The members that both passes have.
template <class A>
A sizes_of(const Case& c, Context& on) {
  A a{};
  a.B = c.B, a.H = c.H, a.Nq = c.Nq, a.Nk = c.Nk, a.K = c.K;
  a.q_row = a.k_row = a.v_row = a.o_row = c.row();
  a.q_batch = a.o_batch = c.Nq * c.row(), a.k_batch = a.v_batch = c.Nk * c.row();
  a.scale = decltype(a.scale)(1.25 / std::sqrt(double(c.K))), a.causal = c.causal;
  a.drop = {on.step_scalars(), 5, c.dropped ? 52429u : 65536u};
  return a;
}

// o_read: false gives the backward pass NaN for o.
template <class T>
Result attend(const Case& c, const Values& in, Context& on, bool o_read = true) {
  const auto put = [&](const std::vector<double>& x) {
    return upload_doubles(on, {int64_t(x.size())}, dtype_of<T>, x);
  };
  const auto output = [&](int64_t N) { return put(std::vector<double>(size_t(c.elements(N)), kUntouched)); };
  const auto at = [&](const Tensor& t) { return t.data<T>() + c.offset; };
  const Tensor q = put(in.q), k = put(in.k), v = put(in.v), d_o = put(in.d_o), o = output(c.Nq), dq = output(c.Nq),
               dk = output(c.Nk), dv = output(c.Nk), lse = on.empty({c.B * c.H * c.Nq}, dtype_of<Acc<T>>),
               mask = on.tensor<uint8_t>({c.B * c.Nk}, in.mask);
  auto f = sizes_of<AttentionFwd<T>>(c, on);
  f.q = at(q), f.k = at(k), f.v = at(c.tied ? k : v), f.o = at(o), f.lse = lse.template data<Acc<T>>();
  f.key_mask = c.masked ? mask.data<uint8_t>() : nullptr;
  run_with_scratch(on, f);
  if (!c.backward) return {download_doubles(on, o), download_doubles(on, lse), {}, {}, {}};
  auto b = sizes_of<AttentionBwd<T>>(c, on);
  b.q = f.q, b.k = f.k, b.v = f.v, b.o = f.o, b.d_o = at(d_o), b.key_mask = f.key_mask, b.lse = f.lse;
  b.dq = at(dq), b.dk = at(dk), b.dv = at(c.tied ? dk : dv);
  b.dq_row = b.dk_row = b.dv_row = c.row();
  b.dq_batch = b.q_batch, b.dk_batch = b.dv_batch = b.k_batch;
  const Tensor unread = put(std::vector<double>(size_t(c.elements(c.Nq)), NAN));
  if (!o_read) b.o = at(unread);
  run_with_scratch(on, b);
  return {download_doubles(on, o), download_doubles(on, lse), download_doubles(on, dq), download_doubles(on, dk),
          download_doubles(on, dv)};
}

// Which kernels: the capability whose kernels a stream takes, and whether tensor cores are refused.
struct Kernels {
  const char* capability;
  bool plain, with_bf16;
};

struct Devices {
  explicit Devices(const Kernels& kernels) {
    setenv("SELENE_DEVICE_CAPABILITY", kernels.capability, 1);
    device = std::make_unique<Context>(test_memory(), &device_module(), device_is_shim());
    unsetenv("SELENE_DEVICE_CAPABILITY");
    device->stream().set(StreamOption::attention,
                         int64_t(kernels.plain ? AttentionKernels::plain : AttentionKernels::own));
    set_test_step(cpu), set_test_step(*device);
  }
  Context cpu{test_memory()};
  std::unique_ptr<Context> device;
};

double unit_roundoff(DType t) { return t == DType::f32 ? 0x1p-24 : t == DType::f16 ? 0x1p-11 : 0x1p-8; }

// Twice the error of the same computation in the same type on the CPU, and some roundings of the terms: a query's
// probabilities and a head's inputs are of the order of 1.
template <class T>
void check(const Case& c, Devices& on) {
  INFO(c.name() << " " << name_of(dtype_of<T>));
  const Values in(c);
  const Result exact = attend<double>(c, in, on.cpu), plain = attend<T>(c, in, on.cpu);
  const Result device = attend<T>(c, in, *on.device);
  const double roundings = dtype_of<T> == DType::f32 ? 64 : 4;
  const auto beyond = [&](const std::vector<double>& got, const std::vector<double>& cpu,
                          const std::vector<double>& best) {
    return distance(got, best) /
           (2 * distance(cpu, best) + roundings * unit_roundoff(dtype_of<T>) * (1 + largest(best)));
  };
  CHECK(beyond(device.o, plain.o, exact.o) <= 1);
  CHECK(distance(device.lse, exact.lse) <= 1e-5 * (1 + largest(exact.lse)));
  CHECK(beyond(device.dq, plain.dq, exact.dq) <= 1);
  CHECK(beyond(device.dk, plain.dk, exact.dk) <= 1);
  CHECK(beyond(device.dv, plain.dv, exact.dv) <= 1);
}

constexpr Kernels kNewest{"80", false, true}, kOlder{"70", false, false}, kPlain{"80", true, true};

void check_everywhere(const std::vector<Case>& cases) {
  const Threads one(1);
  size_t number = 0;
  for (const Kernels& kernels : {kNewest, kOlder, kPlain}) {
    INFO("capability " << kernels.capability << (kernels.plain ? ", plain" : ""));
    Devices on(kernels);
    for (const Case& c : cases) {
      // Eight neighbours stay together: what they vary in has periods of 2 to 7.
      if (!in_todays_share(number++ / 8, 2)) continue;
      if (!kernels.plain) check<float>(c, on);
      check<f16>(c, on);
      if (kernels.with_bf16) check<bf16>(c, on);
    }
  }
}

}  // namespace

TEST_CASE("attention on the device around the edges of its tiles") {
  std::vector<Case> cases;
  const int64_t sizes[] = {1, 15, 16, 17, 33, 64, 65, 130}, heads[] = {4, 16, 20, 32, 64, 128, 64};
  for (const int64_t Nq : sizes)
    for (const int64_t Nk : sizes) {
      const int i = int(cases.size());
      Case c{1 + i % 2, 2, Nq, Nk, heads[i % 7], i % 2 == 0, i % 3 == 0 && Nk >= Nq, i % 5 < 2, i % 4 == 1};
      c.gap = i % 6 == 2 ? 8 : i % 6 == 4 ? 3 : 0, c.offset = i % 6 == 5;
      cases.push_back(c);
    }
  check_everywhere(cases);
}

TEST_CASE("attention on the device where loops are cut into chunks") {
  std::vector<Case> cases;
  for (const int64_t K : {16, 32, 64, 128, 24}) {
    cases.push_back({1, 1, 16, 700, K, true, false, true});           // pack
    cases.push_back({1, 1, 700, 16, K, true, false, true, K == 32});  // unpack
  }
  cases.push_back({1, 2, 40, 900, 16, true, false, false});
  cases.push_back({1, 2, 900, 40, 16, true, false, true, true});
  cases.push_back({1, 1, 20, 600, 32, false, true, true, true, 8});
  // 67 chunks: each warp of the kernels that add them has more than it reads at a time.
  cases.push_back({1, 1, 3, 12700, 16, true, false, true});
  check_everywhere(cases);
}

TEST_CASE("attention on the device where several heads have several tiles of queries and few keys") {
  std::vector<Case> cases;
  for (const int64_t K : {16, 32, 64}) {
    cases.push_back({1, 3, 4096 / K + 5, 9, K, true, false, true});  // two tiles of 256, 128, 64 queries
    cases.push_back({2, 3, 130, 40, K, false, false, K == 32});      // keys in one tile of 64
  }
  cases.push_back({1, 2, 1029, 16, 16, true, false, false, true, 8});
  check_everywhere(cases);
}

TEST_CASE("attention on the device in the large tiles that full batches take") {
  const Threads two(2);
  Devices on(kNewest);
  for (const int64_t K : {16, 32, 64}) {
    Case c{32, 4, 130, 80, K, true, false, K == 32};  // 256 blocks of 128 queries
    c.backward = false;                               // has no such tiles
    check<f16>(c, on);
    check<bf16>(c, on);
  }
}

TEST_CASE("attention on the device gives the same bits in every schedule of a block's threads") {
  for (const Kernels& kernels : {kNewest, kOlder, kPlain}) {
    Devices on(kernels);
    for (const Case& c : {Case{1, 2, 40, 70, 64, true, false, true}, Case{1, 1, 16, 600, 32, true, false, true},
                          Case{1, 2, 600, 16, 16, false, false, true, true}, Case{1, 1, 70, 70, 128, false, true}}) {
      INFO(c.name() << "capability " << kernels.capability);
      const auto bits = [&](const Result& r) {
        std::string s;
        for (const auto* x : {&r.o, &r.lse, &r.dq, &r.dk, &r.dv})
          s.append(reinterpret_cast<const char*>(x->data()), x->size() * sizeof(double));
        return s;
      };
      const Values in(c);
      const auto same = [&](auto type) {
        return in_all_schedules([&] { return bits(attend<decltype(type)>(c, in, *on.device)); });
      };
      CHECK(same(float()) == "");
      CHECK(same(f16()) == "");
      if (kernels.with_bf16) CHECK(same(bf16()) == "");
    }
  }
}

TEST_CASE("attention on the device keeps NaN: of a query, and of a query that sees no key") {
  for (const Kernels& kernels : {kNewest, kOlder, kPlain}) {
    Devices on(kernels);
    for (const int64_t Nk : {20, 700}) {
      const Case c{1, 1, 18, Nk, 16};
      Values in(c);
      in.q[5 * 16 + 3] = NAN;
      const Result r = attend<f16>(c, in, *on.device);
      for (int64_t n = 0; n < c.Nq; ++n) {
        INFO("query " << n << " of keys " << Nk);
        CHECK(std::isnan(r.o[size_t(n * 16)]) == (n == 5));
        CHECK(std::isnan(r.lse[size_t(n)]) == (n == 5));
        CHECK(std::isnan(r.dq[size_t(n * 16 + 1)]) == (n == 5));
      }
      CHECK(std::isnan(r.dk[0]));
    }
    const Case blind{1, 1, 40, 30, 16, false, true};  // queries 0 to 9 see no key
    const Result r = attend<f16>(blind, Values(blind), *on.device);
    for (int64_t n = 0; n < blind.Nq; ++n) CHECK(std::isnan(r.o[size_t(n * 16)]) == (n < 10));
  }
}

TEST_CASE("attention on the device: the gradient of few keys is made without o on tensor cores") {
  Devices on(kNewest);
  for (const int64_t K : {16, 32, 64}) {
    const Case c{1, 2, 210, 9, K, true, false, true};  // two chunks of queries
    CHECK(gradient_without_o(sizes_of<AttentionBwd<bf16>>(c, on.cpu)));
    const Values in(c);
    const Result with = attend<bf16>(c, in, *on.device), without = attend<bf16>(c, in, *on.device, false);
    CHECK(with.dq == without.dq);
    CHECK(with.dk == without.dk);
    CHECK(with.dv == without.dv);
  }
}

TEST_CASE("attention on the device asks for little scratch, and says which head sizes it takes") {
  Devices on(kNewest);
  const auto scratch = [&](const Case& c) {
    return workspace_bytes(on.device->stream(), sizes_of<AttentionFwd<bf16>>(c, *on.device));
  };
  CHECK(scratch({32, 4, 4096, 4096, 64}) == 0);
  for (const int64_t Nq : {1, 16, 64, 256})
    for (const int64_t Nk : {1024, 4096, 1 << 20}) {
      const Case c{1, 4, Nq, Nk, 64};
      INFO(c.name());
      CHECK(scratch(c) <= 2 * Nk * 4 * 64 * 2 * 3 / 10);  // of the bytes of k and v
    }
  const Case large{1, 1, 4, 4, 200};
  CHECK_THROWS_WITH(attend<float>(large, Values(large), *on.device),
                    containing("attention: head size 200, the CUDA kernels take 1 to 128"));
}

TEST_CASE("attention on the device: what the tensor cores don't take is counted, by shape and with the reason") {
  const Case odd{1, 2, 20, 18, 24}, moved{1, 2, 20, 18, 16, false, false, false, false, 0, 1};
  Devices on(kNewest);
  const auto told = [&] {
    std::vector<std::string> lines;
    for (const Fallback& f : on.device->stream().fallbacks())
      lines.push_back(std::string(name_of(f.operation)) + " " + name_of(f.dtype) + " " + f.shape + ": " + f.reason +
                      ", " + std::to_string(f.calls));
    return lines;
  };
  attend<float>(odd, Values(odd), *on.device);
  attend<f16>({1, 2, 20, 18, 16}, Values({1, 2, 20, 18, 16}), *on.device);
  CHECK(told().empty());
  for (int i = 0; i < 2; ++i) attend<f16>(odd, Values(odd), *on.device);
  attend<bf16>(moved, Values(moved), *on.device);
  const std::string size = " 1x2x20x18x24: head size 24, the tensor-core kernels take 16, 32, 64 and 128, 2",
                    rows = " 1x2x20x18x16: rows do not start at multiples of 16 bytes, 1";
  CHECK(told() == std::vector<std::string>{"AttentionFwd f16" + size, "AttentionBwd f16" + size,
                                           "AttentionFwd bf16" + rows, "AttentionBwd bf16" + rows});
  CHECK(on.device->stream().fallbacks(3).size() == 1);
  for (const Kernels& kernels : {kOlder, kPlain}) {  // have no others
    Devices without(kernels);
    attend<f16>(odd, Values(odd), *without.device);
    CHECK(without.device->stream().fallbacks().empty());
  }
}

}  // namespace selene::testing
