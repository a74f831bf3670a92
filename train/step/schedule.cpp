#include "train/step/schedule.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace selene::train {
namespace {

struct At {
  const ScheduleConfig& s;
  double peak;
  double w;      // warmup
  double total;  // end of a decay
  double u;

  double start() const { return s.init_lr >= 0 ? s.init_lr : 0; }
  double warming() const { return start() + u * (peak - start()) / w; }
};

double inverse_sqrt(const At& a) {
  return a.u < a.w ? a.warming() : a.peak * std::sqrt(std::max(a.w, 1.0) / std::max(a.u, 1.0));
}

double polynomial(const At& a) {
  if (a.w > 0 && a.u <= a.w) return a.peak * a.u / a.w;  // the first update has rate 0, as in the reference
  if (a.u >= a.total) return a.s.end_lr;
  return (a.peak - a.s.end_lr) * std::pow(1 - (a.u - a.w) / (a.total - a.w), a.s.power) + a.s.end_lr;
}

double linear(const At& a) {
  if (a.w > 0 && a.u <= a.w)
    return a.start() + std::pow(a.u, a.s.power) * (a.peak - a.start()) / std::pow(a.w, a.s.power);
  if (a.u >= a.total) return a.s.end_lr;
  return (a.peak - a.s.end_lr) * (a.total - a.u) / (a.total - a.w) + a.s.end_lr;
}

// The reference multiplies when u equals a milestone; one inside the warmup has no effect.
double milestone(const At& a) {
  if (a.w > 0 && a.u <= a.w) return a.warming();
  const auto passed = std::count_if(a.s.milestones.begin(), a.s.milestones.end(),
                                    [&](int64_t m) { return double(m) > a.w && double(m) <= a.u; });
  return a.peak * std::pow(a.s.decay_rate, double(passed));
}

// Steps are counted from 0, not from the end of the warmup; those inside the warmup have no effect.
double step(const At& a) {
  if (a.w > 0 && a.u <= a.w) return a.warming();
  if (a.s.decay_steps <= 0) return a.peak;
  const double steps = std::floor(a.u / double(a.s.decay_steps)) - std::floor(a.w / double(a.s.decay_steps));
  return a.peak * std::pow(a.s.decay_rate, steps);
}

double fixed(const At& a) { return a.u < a.w ? a.peak * (a.u + 1) / a.w : a.peak; }

double lra_warmup(const At& a) { return a.w > 0 ? std::min(1.0, a.u / a.w) : 1; }

double lra_rsqrt(const At& a) { return a.peak * lra_warmup(a) / std::sqrt(std::max({a.u, a.w, 1.0})); }

double lra_rsqrt_normalized(const At& a) { return lra_rsqrt(a) * std::sqrt(std::max(a.w, 1.0)); }

double lra_cosine(const At& a) {
  const double progress = std::max(0.0, (a.u - a.w) / std::max<double>(double(a.s.cycle), 1));
  return a.peak * lra_warmup(a) * std::max(0.0, 0.5 * (1 + std::cos(M_PI * (progress - std::floor(progress)))));
}

constexpr struct {
  const char* name;
  double (*rate)(const At&);
} kSchedules[] = {
    {"inverse_sqrt", inverse_sqrt},
    {"polynomial", polynomial},
    {"linear", linear},
    {"milestone", milestone},
    {"step", step},
    {"fixed", fixed},
    {"lra_rsqrt", lra_rsqrt},
    {"lra_rsqrt_normalized", lra_rsqrt_normalized},
    {"lra_cosine", lra_cosine},
};

}  // namespace

double learning_rate(const ScheduleConfig& schedule, double peak, int64_t updates, int64_t u) {
  const At at{schedule, peak, double(schedule.warmup), double(schedule.total ? schedule.total : updates), double(u)};
  for (const auto& row : kSchedules)
    if (schedule.name == row.name) return row.rate(at);
  throw Error("schedule.name: '" + schedule.name + "' is not a schedule");
}

}  // namespace selene::train
