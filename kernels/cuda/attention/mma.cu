// Tensor-core attention for sm_80 and newer, T = f16 and bf16: which calls it takes, and with which head size.
#include "kernels/attention.h"
#include "kernels/cuda/attention/mma_backward.cuh"
#include "kernels/cuda/attention/mma_forward.cuh"
#include "kernels/cuda/attention/mma_short.cuh"
#include "kernels/cuda/device.cuh"

namespace selene::cuda {
namespace {

/// Every row of every head starts at a multiple of 16 bytes; head sizes are multiples of 16 elements.
template <class T>
bool rows_aligned(const T* p, int64_t batch, int64_t row) {
  return aligned16(p, row) && aligned16(p, batch);
}

template <class A>
bool takes(const Stream& s, const A& a) {
  constexpr int64_t most = int64_t(1) << 30;  // row numbers are int
  return s.capability >= 80 && s.attention != AttentionKernels::plain &&
         (a.K == 16 || a.K == 32 || a.K == 64 || a.K == 128) && a.Nq < most && a.Nk < most;
}

}  // namespace

template <class T>
bool mma_forward(Stream& s, const AttentionFwd<T>& a, const AttentionCut& cut) {
  if (!takes(s, a) || !rows_aligned(a.q, a.q_batch, a.q_row) || !rows_aligned(a.k, a.k_batch, a.k_row) ||
      !rows_aligned(a.v, a.v_batch, a.v_row) || !rows_aligned(a.o, a.o_batch, a.o_row))
    return false;
  if (a.K == 16) choose_forward<T, 16>(s, a, cut);
  if (a.K == 32) choose_forward<T, 32>(s, a, cut);
  if (a.K == 64) choose_forward<T, 64>(s, a, cut);
  if (a.K == 128) choose_forward<T, 128>(s, a, cut);
  return true;
}
template bool mma_forward<f16>(Stream&, const AttentionFwd<f16>&, const AttentionCut&);
template bool mma_forward<bf16>(Stream&, const AttentionFwd<bf16>&, const AttentionCut&);

template <class T>
bool takes_backward(const Stream& s, const AttentionBwd<T>& a) {
  return takes(s, a) && rows_aligned(a.q, a.q_batch, a.q_row) && rows_aligned(a.k, a.k_batch, a.k_row) &&
         rows_aligned(a.v, a.v_batch, a.v_row) && rows_aligned(a.d_o, a.o_batch, a.o_row) &&
         rows_aligned(a.dq, a.dq_batch, a.dq_row) && rows_aligned(a.dk, a.dk_batch, a.dk_row) &&
         rows_aligned(a.dv, a.dv_batch, a.dv_row);
}

template <class T>
bool mma_short_backward(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  if ((a.Nq > 16 && a.Nk > 16) || a.K > kMostShortChannels || !takes_backward(s, a) ||
      (!gradient_without_o(a) && !rows_aligned(a.o, a.o_batch, a.o_row)))
    return false;
  if (a.K == 16) launch_short_backward<T, 16>(s, a, cut);
  if (a.K == 32) launch_short_backward<T, 32>(s, a, cut);
  if (a.K == 64) launch_short_backward<T, 64>(s, a, cut);
  return true;
}
template bool mma_short_backward<f16>(Stream&, const AttentionBwd<f16>&, const AttentionCut&);
template bool mma_short_backward<bf16>(Stream&, const AttentionBwd<bf16>&, const AttentionCut&);

template <class T>
bool mma_backward(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut) {
  if (!takes_backward(s, a)) return false;
  if (a.K == 16) choose_backward<T, 16>(s, a, cut);
  if (a.K == 32) choose_backward<T, 32>(s, a, cut);
  if (a.K == 64) choose_backward<T, 64>(s, a, cut);
  if (a.K == 128) choose_backward<T, 128>(s, a, cut);
  return true;
}
template bool mma_backward<f16>(Stream&, const AttentionBwd<f16>&, const AttentionCut&);
template bool mma_backward<bf16>(Stream&, const AttentionBwd<bf16>&, const AttentionCut&);

}  // namespace selene::cuda
