// The optimiser's kernels over flat fp32 buffers (fp64 in tests). fairseq optim/adam.py, torch.optim.Adam,
// utils.clip_grad_norm_.
#pragma once
#include "kernels/backend.h"

namespace selene {

/// Elements of one partial sum of a norm; ranges and shards start at multiples of it.
constexpr int64_t kNormBlock = 4096;

/// partial[i] = sum of squares of block i of x. T is the gradients' type (float, double).
template <class T>
struct SumSquares {
  const T* x;
  Acc<T>* partial;  // [ceil(n / kNormBlock)]
  int64_t n;
};
/// Whether and with what an update is taken: device state, part of a checkpoint. Dynamic loss scaling as in fairseq
/// optim/dynamic_loss_scaler.py: the loss's gradient starts at `scale`, which doubles after `window` updates without
/// overflow and is halved by one, which is skipped.
struct UpdateState {
  float scale;      // of the next backward pass; 1 without loss scaling
  float applied;    // of this update's gradients
  int32_t skip;     // 1: this update's gradients are not finite, Adam changes nothing
  int32_t stopped;  // 1: an overflow that no smaller scale can mend; from then on every update is skipped
  int64_t good;     // updates without overflow since the last one, or since the start
  int64_t skipped;  // updates skipped so far: Adam's t is update + 1 - skipped
  int64_t bad_update, bad_block;    // where it stopped: finished updates before it, GradientNorm::bad_block
  double correction1, correction2;  // 1 - beta1^t, 1 - beta2^t of Adam
};

/// norm = gradient_scale / state->scale * sqrt(sum of partial), added in a binary tree over the index; and the first
/// block that is not finite.
template <class T>
struct GradientNorm {
  const Acc<T>* partial;  // [blocks]
  int64_t blocks;
  const StepScalars* step;
  const UpdateState* state;
  double* norm;        // one number
  int64_t* bad_block;  // one number: first block whose sum is NaN or Inf, -1 if none
};
/// After the norms and before Adam: sets state's applied, skip and corrections for this update, and the next scale.
/// With bad_block < 0: good += 1, and where good is a multiple of window, scale *= 2. Otherwise: skip, scale /= 2,
/// good = 0; stopped where `dynamic` is 0 or the new scale is at or below `minimum` (then scale stays what it was).
template <class T>
struct UpdateCheck {         // T: float or double, unused
  const int64_t* bad_block;  // of the norm of all gradients
  const StepScalars* step;
  UpdateState* state;
  double beta1, beta2, minimum;
  int64_t window;
  int32_t dynamic;
};
/// One Adam step on a range; nothing where state->skip. With g' = g * gradient_scale / state->applied * min(1, clip /
/// (norm + 1e-6)) (clip 0: no clipping):
///   m <- beta1 m + (1 - beta1) g';  v <- beta2 v + (1 - beta2) g'^2
///   fairseq form: p <- p - lr decay p;  p <- p - lr sqrt(correction2) / correction1 * m / (sqrt(v) + eps)
///   textbook form: p <- p - lr (decay p); p <- p - lr (m / correction1) / (sqrt(v / correction2) + eps)
/// l2: decay p is added to g' instead of being subtracted from p.
template <class T>
struct Adam {
  const T* g;    // [n] sums over the batch
  T *p, *m, *v;  // [n]
  void* copy;    // [n] compute copy in `copy_type`, or null
  DType copy_type;
  int64_t n;
  const StepScalars* step;
  const UpdateState* state;
  const double* norm;  // device memory; read only when clip > 0
  double clip, beta1, beta2, eps, decay;
  int32_t textbook, l2;
};
DECLARE_OPERATION(SumSquares)
DECLARE_OPERATION(GradientNorm)
DECLARE_OPERATION(UpdateCheck)
DECLARE_OPERATION(Adam)

}  // namespace selene
