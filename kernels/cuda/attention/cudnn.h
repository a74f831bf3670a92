// Softmax attention by cuDNN, a choice of train.attention_kernels and what benchmarks set beside our own kernels:
// full attention in f16 and bf16 without mask and dropout on compute capability 8.0 and newer.
#pragma once
#include "kernels/attention.h"
#include "kernels/cuda/backend.h"

namespace selene::cuda {

/// Why cuDNN does not take the arguments; null where it does.
template <class T>
const char* cudnn_refuses(const Stream& s, const AttentionFwd<T>& a);
template <class T>
const char* cudnn_refuses(const Stream& s, const AttentionBwd<T>& a);

/// An error that says why where cuDNN does not take the arguments, or the module was built without it. T: float
/// (always an error), f16, bf16. The library's scratch is its own, not a.workspace, and its backward pass need not
/// give the same bits twice.
template <class T>
void cudnn_forward(Stream& s, const AttentionFwd<T>& a);
template <class T>
void cudnn_backward(Stream& s, const AttentionBwd<T>& a);

}  // namespace selene::cuda
