// The general attention kernels as attention.cu sees them: any head size to 128, any alignment, any device. They
// write results or partial sums (cut.h).
#pragma once
#include "kernels/cuda/attention/cut.h"

namespace selene::cuda {

/// Products by plain FMA in fp32 (plain.cu); T = float, f16, bf16.
template <class T>
void plain_forward(Stream& s, const AttentionFwd<T>& a, const AttentionCut& cut);
template <class T>
void plain_backward(Stream& s, const AttentionBwd<T>& a, const AttentionCut& cut);
/// Products by the tensor cores of sm_70 and newer (wmma.cu).
void wmma_forward(Stream& s, const AttentionFwd<f16>& a, const AttentionCut& cut);
void wmma_backward(Stream& s, const AttentionBwd<f16>& a, const AttentionCut& cut);

/// A number known to the compiler: the head size that K is padded to.
template <int N>
struct HeadSize {
  static constexpr int value = N;
};

}  // namespace selene::cuda
