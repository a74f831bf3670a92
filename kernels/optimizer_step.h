// What the optimiser decides once per update, the same for every backend: whether the update happens, the next loss
// scale (fairseq optim/dynamic_loss_scaler.py), and Adam's numbers folded in double and rounded once. C++17; also
// device code.
#pragma once
#include <math.h>

#include "kernels/optimizer.h"

namespace selene {

/// UpdateCheck as a whole.
template <class T>
SELENE_HD void check_update(const UpdateCheck<T>& a) {
  UpdateState& s = *a.state;
  s.applied = s.scale;
  s.skip = s.stopped || *a.bad_block >= 0;
  if (!s.skip) {
    const double t = double(a.step->update + 1 - s.skipped);
    s.correction1 = 1 - pow(a.beta1, t), s.correction2 = 1 - pow(a.beta2, t);
    if (++s.good % a.window == 0 && a.dynamic) s.scale *= 2;
    return;
  }
  ++s.skipped, s.good = 0;
  if (s.stopped) return;
  if (a.dynamic && double(s.scale) / 2 > a.minimum) {
    s.scale /= 2;
    return;
  }
  s.stopped = 1, s.bad_update = a.step->update, s.bad_block = *a.bad_block;
}

/// Adam's factors of one update. With them, for each element:
///   g' = g gradient + l2 p;  m <- beta1 m + rest1 g';  v <- beta2 v + rest2 g'^2
///   p <- (p - decay p) - step m / (sqrt(v) root_scale + eps)
template <class A>
struct AdamStep {
  A gradient, beta1, beta2, rest1, rest2, step, eps, root_scale, decay, l2;
};
template <class T>
SELENE_HD AdamStep<Acc<T>> fold(const Adam<T>& a) {
  using A = Acc<T>;
  const StepScalars& s = *a.step;
  const UpdateState& state = *a.state;
  const double clip = a.clip > 0 ? a.clip / (*a.norm + 1e-6) : 1.0;
  const double gradient = s.gradient_scale / double(state.applied) * (clip >= 1.0 ? 1.0 : clip);  // NaN stays
  const double root2 = sqrt(state.correction2);
  const double step = s.learning_rate * (a.textbook ? 1.0 : root2) / state.correction1;
  return {A(gradient),
          A(a.beta1),
          A(a.beta2),
          A(1 - a.beta1),
          A(1 - a.beta2),
          A(step),
          A(a.eps),
          A(a.textbook ? 1 / root2 : 1.0),
          A(a.l2 ? 0.0 : s.learning_rate * a.decay),
          A(a.l2 ? a.decay : 0.0)};
}

}  // namespace selene
