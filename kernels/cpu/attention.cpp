// Cuts and memory of CPU attention.
#include "kernels/cpu/attention.h"

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

}  // namespace cpu

AttentionWorkspace attention_workspace(int64_t B, int64_t H, int64_t Nq, int64_t Nk, int64_t K) {
  const cpu::AttentionPlan p(Nq, Nk);
  const int64_t partial = p.k_groups > 1 ? B * H * p.k_groups * Nq : 0;
  const int64_t keys = p.one_q_block(Nq) ? 0 : B * H * p.q_groups * p.key_rows;
  return {partial * (K + 2), partial * K + 2 * keys * K};
}

}  // namespace selene
