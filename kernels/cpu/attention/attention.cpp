// Cuts and memory of CPU attention.
#include "kernels/cpu/attention/attention.h"

#include <vector>

namespace selene {
namespace cpu {

AttentionPlan::AttentionPlan(int64_t Nq, int64_t Nk) : key_rows(round_up(Nk, kKeyStep)) {
  constexpr int64_t area = 65536, side = 256, most_keys = 512, group = 2048;
  const int64_t queries = std::max<int64_t>(Nq, 1), keys = std::max(key_rows, kKeyStep);
  q_block = std::min(keys <= area / 1024 ? 1024 : side, queries);
  k_block = std::clamp(area / round_up(queries, kKeyStep) / kKeyStep * kKeyStep, side, most_keys);
  q_group = round_up(std::max(keys, group), q_block);
  k_group = round_up(std::max(queries, group), k_block);
  q_groups = ceil_div(queries, q_group), k_groups = ceil_div(keys, k_group);
  k_block = std::min(k_block, keys);
}

AttentionScratch::AttentionScratch(int64_t bytes) {
  thread_local std::vector<std::byte> memory;
  if (int64_t(memory.size()) < bytes + 64) memory = std::vector<std::byte>(size_t(bytes + 64));
  next_ = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
}

int64_t used_keys(const uint8_t* mask, int64_t Nk) {
  while (mask && Nk > 0 && mask[Nk - 1]) --Nk;
  return round_up(Nk, kKeyStep);
}

namespace {

/// Elements of the partial results over groups of keys, and of those over groups of queries.
struct Partials {
  int64_t queries, keys;
};
template <class A>
Partials partials(const A& a) {
  const AttentionPlan p(a.Nq, a.Nk);
  return {p.k_groups > 1 ? a.B * a.H * p.k_groups * a.Nq : 0,
          p.one_q_block(a.Nq) ? 0 : a.B * a.H * p.q_groups * p.key_rows};
}

}  // namespace

template <class T>
int64_t workspace(const AttentionFwd<T>& a) {
  return partials(a).queries * (a.K + 2) * int64_t(sizeof(Acc<T>));
}
template <class T>
int64_t workspace(const AttentionBwd<T>& a) {
  const Partials p = partials(a);
  return (p.queries + 2 * p.keys) * a.K * int64_t(sizeof(Acc<T>));
}

}  // namespace cpu

INSTANTIATE_CPU_WORKSPACE(AttentionFwd)
INSTANTIATE_CPU_WORKSPACE(AttentionBwd)

}  // namespace selene
