// Forward pass of attention. Per query: m = max of its scores so far, l = sum of exp(score - m), o = sum of exp(score
// - m) v; a later block with a larger maximum scales what there is (online softmax, Milakov & Gimelshein 2018).
#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/vecmath.h"

namespace selene {
namespace {

using namespace cpu;

// What the queries of a block have gathered; [rows] and [rows, K].
template <class T>
struct Gathered {
  Acc<T>*max, *sum, *o;
};

// exp(scores - max) as T, with dropout, and the new maximum and sum of one row. bits: [count] or null. Returns the
// factor for what was gathered before.
template <class T>
SELENE_INLINE Acc<T> softmax_row(Acc<T>* scores, const Acc<T>* bias, int64_t count, Acc<T> scale,
                                 const uint16_t* bits, uint32_t threshold, Acc<T>& max, Acc<T>& sum, T* p) {
  const Acc<T> before = max;
  Acc<T> m = before, total = 0;
#pragma omp simd reduction(max : m)
  for (int64_t j = 0; j < count; ++j) {
    const Acc<T> s = fmadd(scores[j], scale, bias[j]);
    m = m < s ? s : m;
  }
  const Acc<T> origin = m == -std::numeric_limits<Acc<T>>::infinity() ? 0 : m;  // no key counted so far
  // Sum and narrowing are two loops: GCC 12 adds wrong lanes in a loop that selects, sums and stores narrower
  // numbers.
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < count; ++j) {
    const Acc<T> e = exp_fast(fmadd(scores[j], scale, bias[j]) - origin);
    total += scores[j] = e;
  }
  if (bits) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) p[j] = down<T>(uint32_t(bits[j]) < threshold ? scores[j] : Acc<T>(0));
  } else if constexpr (!std::is_same_v<T, Acc<T>>) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) p[j] = down<T>(scores[j]);
  }
  const Acc<T> factor = before == m ? Acc<T>(1) : exp_fast(before - origin);
  max = m, sum = sum * factor + total;
  return factor;
}

// Turns `rows` rows of scores into unnormalised probabilities and scales what was gathered. bits: [rows, count] or
// null.
template <class T>
SELENE_CLONES void softmax_rows(Acc<T>* scores, const KeyBlock<T>& keys, int64_t rows, int64_t K, Acc<T> scale,
                                const uint16_t* bits, uint32_t threshold, Gathered<T> g, T* p) {
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = i * keys.count;
    const Acc<T> factor = softmax_row<T>(scores + at, keys.bias, keys.count, scale, bits ? bits + at : nullptr,
                                         threshold, g.max[i], g.sum[i], p + at);
    if (factor == 1) continue;
#pragma omp simd
    for (int64_t c = 0; c < K; ++c) g.o[i * K + c] *= factor;
  }
}

// o = dropout factor / l * gathered, lse = m + log l.
template <class T>
SELENE_CLONES void finish_rows(Gathered<T> g, int64_t rows, int64_t K, Acc<T> keep, T* o, int64_t o_row,
                               Acc<T>* lse) {
  for (int64_t i = 0; i < rows; ++i) {
    const Acc<T> factor = keep / g.sum[i];
#pragma omp simd
    for (int64_t c = 0; c < K; ++c) o[i * o_row + c] = down<T>(g.o[i * K + c] * factor);
    lse[i] = g.max[i] + std::log(g.sum[i]);
  }
}

template <class T>
struct Task {
  const AttentionFwd<T>& a;
  const AttentionPlan& plan;
  int64_t b, h;

  int64_t bh() const { return b * a.H + h; }
  Gathered<T> partial(int64_t group) const {
    Acc<T>* at = a.workspace + (bh() * plan.k_groups + group) * a.Nq * (a.K + 2);
    return {at, at + a.Nq, at + 2 * a.Nq};
  }
  int64_t used() const { return used_keys(a.key_mask ? a.key_mask + b * a.Nk : nullptr, a.Nk); }
  void finish(Gathered<T> g, int64_t q, int64_t rows) const {
    const Acc<T> keep = dropout_scale(a.drop.threshold);
    finish_rows<T>(g, rows, a.K, keep, a.o + b * a.o_batch + q * a.o_row + h * a.K, a.o_row, a.lse + bh() * a.Nq + q);
  }
};

// Pieces of scratch for one task.
template <class T>
struct Scratch {
  static int64_t bytes(const AttentionPlan& p, int64_t K) {
    const int64_t area = p.q_block * p.k_block;
    return KeyScratch<T>::bytes(p, K) + AttentionScratch::piece_bytes<Acc<T>>(area) +
           AttentionScratch::piece_bytes<T>(area) + AttentionScratch::piece_bytes<uint16_t>(kBitsAtOnce) +
           2 * AttentionScratch::piece_bytes<Acc<T>>(p.q_block) +
           AttentionScratch::piece_bytes<Acc<T>>(p.q_block * K);
  }
  Scratch(AttentionScratch s, const AttentionPlan& p, int64_t K)
      : keys(s, p, K),
        scores(s.take<Acc<T>>(p.q_block * p.k_block)),
        bits(s.take<uint16_t>(kBitsAtOnce)),
        gathered{s.take<Acc<T>>(p.q_block), s.take<Acc<T>>(p.q_block), s.take<Acc<T>>(p.q_block * K)} {
    if constexpr (std::is_same_v<T, Acc<T>>) p_block = scores;
    else p_block = s.take<T>(p.q_block * p.k_block);
  }
  KeyScratch<T> keys;
  Acc<T>* scores;
  uint16_t* bits;
  Gathered<T> gathered;
  T* p_block;
};

template <class T>
void softmax_block(const Task<T>& t, const KeyBlock<T>& keys, int64_t q, int64_t rows, const Scratch<T>& s,
                   Gathered<T> g) {
  const AttentionFwd<T>& a = t.a;
  with_dropout_bits(a.drop, t.bh(), q, rows, keys, s.bits, [&](int64_t i, int64_t n, const uint16_t* bits) {
    const int64_t at = i * keys.count;
    softmax_rows<T>(s.scores + at, keys, n, a.K, a.scale, bits, a.drop.threshold,
                    {g.max + i, g.sum + i, g.o + i * a.K}, s.p_block + at);
  });
}

// Queries [q, q + rows) against keys [k_first, k_end).
template <class T>
void gather(const Task<T>& t, int64_t q, int64_t rows, int64_t k_first, int64_t k_end, const Scratch<T>& s,
            Gathered<T> g) {
  const AttentionFwd<T>& a = t.a;
  const T* queries = a.q + t.b * a.q_batch + q * a.q_row + t.h * a.K;
  std::fill(g.max, g.max + rows, -std::numeric_limits<Acc<T>>::infinity());
  std::fill(g.sum, g.sum + rows, Acc<T>(0));
  std::fill(g.o, g.o + rows * a.K, Acc<T>(0));
  const int64_t sight = end_of_sight(a, q + rows - 1, k_end);
  for (int64_t k = k_first; k < sight; k += t.plan.k_block) {
    const auto keys = key_block<T>(a, t.b, t.h, k, std::min(t.plan.k_block, k_end - k), s.keys);
    score_block<T>(queries, a.q_row, rows, keys.k, keys.k_row, keys.count, a.K, s.scores);
    if (a.causal) hide_future<T>(a, q, rows, keys, s.scores);
    softmax_block(t, keys, q, rows, s, g);
    gemm({rows, a.K, keys.count, keys.count, keys.v_row, a.K, false, false, true, dtype_of<T>, dtype_of<Acc<T>>},
         s.p_block, keys.v, g.o);
  }
}

// The queries from `q` to `q_end` against one group of keys.
template <class T>
void run_task(const Task<T>& t, int64_t q, int64_t q_end, int64_t group) {
  const Scratch<T> s(AttentionScratch(Scratch<T>::bytes(t.plan, t.a.K)), t.plan, t.a.K);
  const int64_t k_first = group * t.plan.k_group, k_end = std::min(t.used(), k_first + t.plan.k_group);
  for (; q < q_end; q += t.plan.q_block) {
    const int64_t rows = std::min(t.plan.q_block, q_end - q);
    if (t.plan.k_groups == 1) {
      gather(t, q, rows, k_first, k_end, s, s.gathered);
      t.finish(s.gathered, q, rows);
    } else {
      const Gathered<T> whole = t.partial(group);
      gather(t, q, rows, k_first, k_end, s, {whole.max + q, whole.sum + q, whole.o + q * t.a.K});
    }
  }
}

// Group 0 becomes the sum of all groups, added in their order, for queries [q, q + rows).
template <class T>
void combine(const Task<T>& t, int64_t q, int64_t rows) {
  const int64_t groups = std::max<int64_t>(1, ceil_div(t.used(), t.plan.k_group)), K = t.a.K;
  const Gathered<T> all = t.partial(0);
  for (int64_t n = q; n < q + rows; ++n)
    for (int64_t g = 1; g < groups; ++g) {
      const Gathered<T> part = t.partial(g);
      const Acc<T> max = std::max(all.max[n], part.max[n]);
      const Acc<T> origin = max == -std::numeric_limits<Acc<T>>::infinity() ? 0 : max;
      const Acc<T> here = std::exp(all.max[n] - origin), there = std::exp(part.max[n] - origin);
      all.max[n] = max, all.sum[n] = all.sum[n] * here + part.sum[n] * there;
      for (int64_t c = n * K; c < n * K + K; ++c) all.o[c] = all.o[c] * here + part.o[c] * there;
    }
  t.finish({all.max + q, all.sum + q, all.o + q * K}, q, rows);
}

}  // namespace

template <class T>
void cpu::run(Stream&, const AttentionFwd<T>& a) {
  const AttentionPlan plan(a.Nq, a.Nk);
  const int64_t piece = 4 * plan.q_block, pieces = ceil_div(a.Nq, piece);  // queries of a task: they share nothing
  parallel_for(a.B * a.H * pieces * plan.k_groups, [&](int64_t i) {
    const int64_t group = i % plan.k_groups, q = i / plan.k_groups % pieces * piece;
    const int64_t bh = i / plan.k_groups / pieces;
    run_task<T>({a, plan, bh / a.H, bh % a.H}, q, std::min(a.Nq, q + piece), group);
  });
  if (plan.k_groups == 1) return;
  parallel_for(a.B * a.H * pieces, [&](int64_t i) {
    const int64_t q = i % pieces * piece, bh = i / pieces;
    combine<T>({a, plan, bh / a.H, bh % a.H}, q, std::min(a.Nq, q + piece) - q);
  });
}
INSTANTIATE_CPU(AttentionFwd)

}  // namespace selene
