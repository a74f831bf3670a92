// Backward pass of attention, docs/math.md "Attention". With P = exp(scale q k - lse), D its dropout factors and
// delta = rowsum(d_o o): d_v = (D P)^T d_o, d_s = P (D (d_o v^T) - delta) scale, d_q = d_s k, d_k = d_s^T q.
#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/vecmath.h"

namespace selene {
namespace {

using namespace cpu;

// One row of a block: scores and d_o v^T become D P and d_s. bits: [count] or null.
template <class T>
SELENE_INLINE void gradient_row(const Acc<T>* scores, const Acc<T>* d_p, const Acc<T>* bias, int64_t count,
                                Acc<T> scale, Acc<T> lse, Acc<T> delta, const uint16_t* bits, uint32_t threshold,
                                Acc<T> survivor, T* p, T* d_s) {
  if (bits) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      const Acc<T> e = exp_fast(fmadd(scores[j], scale, bias[j]) - lse);
      const Acc<T> keep = uint32_t(bits[j]) < threshold ? survivor : Acc<T>(0);
      const Acc<T> d = e * scale * fmadd(d_p[j], keep, -delta);
      p[j] = down<T>(e * keep);
      d_s[j] = down<T>(d);
    }
  } else {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      const Acc<T> e = exp_fast(fmadd(scores[j], scale, bias[j]) - lse);
      const Acc<T> d = e * scale * (d_p[j] - delta);
      p[j] = down<T>(e);
      d_s[j] = down<T>(d);
    }
  }
}

template <class T>
SELENE_CLONES void gradient_rows(const Acc<T>* scores, const Acc<T>* d_p, const KeyBlock<T>& keys, int64_t rows,
                                 Acc<T> scale, const Acc<T>* lse, const Acc<T>* delta, const uint16_t* bits,
                                 uint32_t threshold, T* p, T* d_s) {
  const Acc<T> survivor = dropout_scale(threshold);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = i * keys.count;
    gradient_row<T>(scores + at, d_p + at, keys.bias, keys.count, scale, lse[i], delta[i], bits ? bits + at : nullptr,
                    threshold, survivor, p + at, d_s + at);
  }
}

// delta[i] = sum over channels of d_o o.
template <class T>
SELENE_CLONES void delta_rows(const T* o, const T* d_o, int64_t row, int64_t rows, int64_t K, Acc<T>* delta) {
  for (int64_t i = 0; i < rows; ++i) {
    Acc<T> sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < K; ++c) sum += up(o[i * row + c]) * up(d_o[i * row + c]);
    delta[i] = sum;
  }
}

// to[c] = sum over parts of from[part * stride + c], in order, then the same of `and_from` (or null); W channels.
template <class T, int W>
SELENE_INLINE void write_piece(const Acc<T>* from, const Acc<T>* and_from, int64_t parts, int64_t stride, T* to) {
  Acc<T> sum[W] = {};
  for (int64_t g = 0; g < parts; ++g)
    for (int c = 0; c < W; ++c) sum[c] += from[g * stride + c];
  for (int64_t g = 0; and_from && g < parts; ++g)
    for (int c = 0; c < W; ++c) sum[c] += and_from[g * stride + c];
  for (int c = 0; c < W; ++c) to[c] = down<T>(sum[c]);
}

// The same for dense rows [rows, K] of sums.
template <class T>
SELENE_CLONES void write_rows(const Acc<T>* from, const Acc<T>* and_from, int64_t parts, int64_t stride, int64_t rows,
                              int64_t K, T* to, int64_t to_row) {
  for (int64_t n = 0; n < rows; ++n) {
    const Acc<T>*x = from + n * K, *y = and_from ? and_from + n * K : nullptr;
    int64_t c = 0;
    for (; c + 16 <= K; c += 16) write_piece<T, 16>(x + c, y ? y + c : nullptr, parts, stride, to + n * to_row + c);
    for (; c < K; ++c) write_piece<T, 1>(x + c, y ? y + c : nullptr, parts, stride, to + n * to_row + c);
  }
}

// Where the gradients of some keys are summed: [keys, K] each, with row strides. The same place where they are tied.
template <class T>
struct KeySums {
  Acc<T>*d_k, *d_v;
  int64_t d_k_row, d_v_row;
};

// Workspace: d_q [B H, k_groups, Nq, K] where there are several groups of keys; d_k [B H, q_groups, key_rows, K] and
// d_v likewise unless all queries fit one block: then the sums of a block of keys are complete when the block is
// done.
template <class T>
struct Task {
  const AttentionBwd<T>& a;
  const AttentionPlan& plan;
  int64_t b, h;

  int64_t bh() const { return b * a.H + h; }
  int64_t used() const { return used_keys(a.key_mask ? a.key_mask + b * a.Nk : nullptr, a.Nk); }
  int64_t keys_size() const { return plan.key_rows * a.K; }
  bool one_block() const { return plan.one_q_block(a.Nq); }
  Acc<T>* d_q(int64_t k_group) const { return a.workspace + (bh() * plan.k_groups + k_group) * a.Nq * a.K; }
  KeySums<T> of_keys(int64_t q_group, int64_t k) const {
    Acc<T>* d_k = a.workspace + (plan.k_groups > 1 ? a.B * a.H * plan.k_groups * a.Nq * a.K : 0) +
                  (bh() * plan.q_groups + q_group) * keys_size() + k * a.K;
    return {d_k, d_k + a.B * a.H * plan.q_groups * keys_size(), a.K, a.K};
  }
  bool tied() const { return a.dv == a.dk; }
  // Row n of this example and head.
  template <class X>
  X* row(X* base, int64_t batch, int64_t stride, int64_t n) const {
    return base + b * batch + n * stride + h * a.K;
  }
};

template <class T>
struct Scratch {
  static int64_t bytes(const AttentionPlan& p, int64_t K) {
    const int64_t area = p.q_block * p.k_block;
    return KeyScratch<T>::bytes(p, K) + 2 * AttentionScratch::piece_bytes<Acc<T>>(area) +
           2 * AttentionScratch::piece_bytes<T>(area) + AttentionScratch::piece_bytes<uint16_t>(kBitsAtOnce) +
           AttentionScratch::piece_bytes<Acc<T>>(p.q_block) + AttentionScratch::piece_bytes<Acc<T>>(p.q_block * K) +
           2 * AttentionScratch::piece_bytes<Acc<T>>(p.k_block * K);
  }
  Scratch(AttentionScratch s, const AttentionPlan& plan, int64_t K)
      : keys(s, plan, K),
        scores(s.take<Acc<T>>(plan.q_block * plan.k_block)),
        d_p(s.take<Acc<T>>(plan.q_block * plan.k_block)),
        delta(s.take<Acc<T>>(plan.q_block)),
        d_q(s.take<Acc<T>>(plan.q_block * K)),
        d_k(s.take<Acc<T>>(plan.k_block * K)),
        d_v(s.take<Acc<T>>(plan.k_block * K)),
        bits(s.take<uint16_t>(kBitsAtOnce)) {
    if constexpr (std::is_same_v<T, Acc<T>>) p = scores, d_s = d_p;
    else p = s.take<T>(plan.q_block * plan.k_block), d_s = s.take<T>(plan.q_block * plan.k_block);
  }
  KeyScratch<T> keys;
  Acc<T>*scores, *d_p, *delta, *d_q;
  Acc<T>*d_k, *d_v;
  uint16_t* bits;
  T *p, *d_s;
};

template <class T>
void gradient_block(const Task<T>& t, const KeyBlock<T>& keys, int64_t q, int64_t rows, const Scratch<T>& s) {
  const AttentionBwd<T>& a = t.a;
  with_dropout_bits(a.drop, t.bh(), q, rows, keys, s.bits, [&](int64_t i, int64_t n, const uint16_t* bits) {
    const int64_t at = i * keys.count;
    gradient_rows<T>(s.scores + at, s.d_p + at, keys, n, a.scale, a.lse + t.bh() * a.Nq + q + i, s.delta + i, bits,
                     a.drop.threshold, s.p + at, s.d_s + at);
  });
}

// The gradients of keys [k, k_end) out of their sums, of which there are `parts`.
template <class T>
void write_keys(const Task<T>& t, const KeySums<T>& sums, int64_t parts, int64_t k, int64_t k_end) {
  const AttentionBwd<T>& a = t.a;
  const int64_t n = std::max<int64_t>(0, k_end - k);
  write_rows<T>(sums.d_k, t.tied() ? sums.d_v : nullptr, parts, t.keys_size(), n, a.K,
                t.row(a.dk, a.dk_batch, a.dk_row, k), a.dk_row);
  if (!t.tied())
    write_rows<T>(sums.d_v, nullptr, parts, t.keys_size(), n, a.K, t.row(a.dv, a.dv_batch, a.dv_row, k), a.dv_row);
}

// The gradients of keys [k, k_end) that no query sees.
template <class T>
void zero_keys(const Task<T>& t, int64_t k, int64_t k_end) {
  const AttentionBwd<T>& a = t.a;
  for (; k < k_end; ++k) {
    std::fill_n(t.row(a.dk, a.dk_batch, a.dk_row, k), a.K, down<T>(Acc<T>(0)));
    if (!t.tied()) std::fill_n(t.row(a.dv, a.dv_batch, a.dv_row, k), a.K, down<T>(Acc<T>(0)));
  }
}

// Where a block of keys is summed that meets all queries at once: where the result belongs, if that is possible.
template <class T>
KeySums<T> sums_of_one_block(const Task<T>& t, int64_t k, int64_t keys, const Scratch<T>& s) {
  const AttentionBwd<T>& a = t.a;
  if constexpr (std::is_same_v<T, Acc<T>>)
    if (k + keys <= a.Nk)
      return {t.row(a.dk, a.dk_batch, a.dk_row, k), t.row(a.dv, a.dv_batch, a.dv_row, k), a.dk_row, a.dv_row};
  return {s.d_k, t.tied() ? s.d_k : s.d_v, a.K, a.K};
}

// d_v = p^T d_o and d_k = d_s^T q for a block of keys that meets all queries at once.
template <class T>
void write_one_block(const Task<T>& t, const KeyBlock<T>& keys, const T* queries, const T* d_o, const Scratch<T>& s) {
  const AttentionBwd<T>& a = t.a;
  const KeySums<T> sums = sums_of_one_block(t, keys.first, keys.count, s);
  const int64_t n = keys.count, exist = std::min(n, a.Nk - keys.first);
  const DType from = dtype_of<T>, to = dtype_of<Acc<T>>;
  gemm({n, a.K, a.Nq, n, a.o_row, sums.d_v_row, true, false, false, from, to}, s.p, d_o, sums.d_v);
  gemm({n, a.K, a.Nq, n, a.q_row, sums.d_k_row, true, false, t.tied(), from, to}, s.d_s, queries, sums.d_k);
  if (sums.d_k != s.d_k) return;
  write_rows<T>(s.d_k, nullptr, 1, 0, exist, a.K, t.row(a.dk, a.dk_batch, a.dk_row, keys.first), a.dk_row);
  if (!t.tied())
    write_rows<T>(s.d_v, nullptr, 1, 0, exist, a.K, t.row(a.dv, a.dv_batch, a.dv_row, keys.first), a.dv_row);
}

// Queries [q, q + rows) against keys [k_first, k_end): adds to d_q [rows, K], and to the keys' sums or writes them.
template <class T>
void add_gradients(const Task<T>& t, int64_t q, int64_t rows, int64_t k_first, int64_t k_end, const Scratch<T>& s,
                   Acc<T>* d_q) {
  const AttentionBwd<T>& a = t.a;
  const T *queries = t.row(a.q, a.q_batch, a.q_row, q), *d_o = t.row(a.d_o, a.o_batch, a.o_row, q);
  const DType from = dtype_of<T>, to = dtype_of<Acc<T>>;
  delta_rows<T>(t.row(a.o, a.o_batch, a.o_row, q), d_o, a.o_row, rows, a.K, s.delta);
  std::fill(d_q, d_q + rows * a.K, Acc<T>(0));
  const int64_t sight = end_of_sight(a, q + rows - 1, k_end);
  for (int64_t k = k_first; k < sight; k += t.plan.k_block) {
    const auto keys = key_block<T>(a, t.b, t.h, k, std::min(t.plan.k_block, k_end - k), s.keys);
    const int64_t n = keys.count;
    score_block<T>(queries, a.q_row, rows, keys.k, keys.k_row, n, a.K, s.scores);
    if (a.causal) hide_future<T>(a, q, rows, keys, s.scores);
    score_block<T>(d_o, a.o_row, rows, keys.v, keys.v_row, n, a.K, s.d_p);
    gradient_block(t, keys, q, rows, s);
    gemm({rows, a.K, n, n, keys.k_row, a.K, false, false, true, from, to}, s.d_s, keys.k, d_q);
    if (t.one_block()) {
      write_one_block(t, keys, queries, d_o, s);
    } else {
      const KeySums<T> sums = t.of_keys(q / t.plan.q_group, k);
      gemm({n, a.K, rows, n, a.o_row, a.K, true, false, true, from, to}, s.p, d_o, sums.d_v);
      gemm({n, a.K, rows, n, a.q_row, a.K, true, false, true, from, to}, s.d_s, queries, sums.d_k);
    }
  }
}

// One group of queries against one group of keys.
template <class T>
void run_task(const Task<T>& t, int64_t q_group, int64_t k_group) {
  const AttentionBwd<T>& a = t.a;
  const AttentionPlan& p = t.plan;
  const Scratch<T> s(AttentionScratch(Scratch<T>::bytes(p, a.K)), p, a.K);
  const int64_t k_first = k_group * p.k_group, k_end = std::min(t.used(), k_first + p.k_group);
  if (k_first < k_end && !t.one_block()) {
    const KeySums<T> sums = t.of_keys(q_group, k_first);
    std::fill(sums.d_k, sums.d_k + (k_end - k_first) * a.K, Acc<T>(0));
    std::fill(sums.d_v, sums.d_v + (k_end - k_first) * a.K, Acc<T>(0));
  }
  const int64_t q_end = std::min(a.Nq, (q_group + 1) * p.q_group);
  for (int64_t q = q_group * p.q_group; q < q_end; q += p.q_block) {
    const int64_t rows = std::min(p.q_block, q_end - q);
    Acc<T>* d_q = p.k_groups > 1 ? t.d_q(k_group) + q * a.K : s.d_q;
    add_gradients(t, q, rows, k_first, k_end, s, d_q);
    if (p.k_groups == 1) write_rows<T>(d_q, nullptr, 1, 0, rows, a.K, t.row(a.dq, a.dq_batch, a.dq_row, q), a.dq_row);
  }
}

// What is left when all tasks are done, for keys [k, k_end): the sums of several groups, and keys that were not used.
template <class T>
void finish_keys(const Task<T>& t, int64_t k, int64_t k_end) {
  const int64_t used = std::clamp(t.used(), k, k_end);
  if (!t.one_block()) write_keys<T>(t, t.of_keys(0, k), t.plan.q_groups, k, used);
  zero_keys(t, used, k_end);
}

// The gradients of queries [q, q_end) out of the sums of the groups of keys.
template <class T>
void finish_queries(const Task<T>& t, int64_t q, int64_t q_end) {
  const AttentionBwd<T>& a = t.a;
  write_rows<T>(t.d_q(0) + q * a.K, nullptr, ceil_div(t.used(), t.plan.k_group), a.Nq * a.K, q_end - q, a.K,
                t.row(a.dq, a.dq_batch, a.dq_row, q), a.dq_row);
}

}  // namespace

template <class T>
void cpu::run(Stream&, const AttentionBwd<T>& a) {
  const AttentionPlan plan(a.Nq, a.Nk);
  const int64_t heads = a.B * a.H, groups = plan.q_groups * plan.k_groups;  // one of the two is 1
  const auto task = [&](int64_t bh) { return Task<T>{a, plan, bh / a.H, bh % a.H}; };
  parallel_for(heads * groups, [&](int64_t i) {
    const int64_t g = i % groups;
    run_task<T>(task(i / groups), plan.q_groups > 1 ? g : 0, plan.k_groups > 1 ? g : 0);
  });
  constexpr int64_t piece = 512;  // rows
  const int64_t key_pieces = ceil_div(a.Nk, piece), query_pieces = plan.k_groups > 1 ? ceil_div(a.Nq, piece) : 0;
  parallel_for(heads * (key_pieces + query_pieces), [&](int64_t i) {
    const int64_t n = i % (key_pieces + query_pieces), bh = i / (key_pieces + query_pieces);
    if (n < key_pieces) finish_keys<T>(task(bh), n * piece, std::min(a.Nk, (n + 1) * piece));
    else finish_queries<T>(task(bh), (n - key_pieces) * piece, std::min(a.Nq, (n - key_pieces + 1) * piece));
  });
}
INSTANTIATE_CPU(AttentionBwd)

}  // namespace selene
