// Gradient norm, loss scale and Adam over flat fp32 buffers: one pass over memory each. fairseq optim/adam.py and
// optim/dynamic_loss_scaler.py, torch.optim.Adam. Device scalars are folded in double and rounded once.
#include "kernels/optimizer_step.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kElements = int(kNormBlock) / kThreads;  // of one thread, in both passes over a buffer

/// A block of kNormBlock elements each.
__global__ __launch_bounds__(kThreads) void square_blocks(SumSquares<float> a, int vector) {
  __shared__ float buffer[kThreads / 32];
  const int64_t first = int64_t(blockIdx.x) * kNormBlock, end = min(a.n, first + kNormBlock);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kElements / 4; ++i) {
    const int64_t at = first + (int64_t(i) * kThreads + threadIdx.x) * 4;
    if (vector && at + 4 <= end) {
      const Pack<float, 4> x = load_pack<4>(a.x + at);
      for (int j = 0; j < 4; ++j) sum += x.v[j] * x.v[j];
    } else {
      for (int64_t j = at; j < min(at + 4, end); ++j) sum += a.x[j] * a.x[j];
    }
  }
  sum = block_sum<kThreads>(sum, buffer);
  if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
}

constexpr int kLeaves = 8;  // partial sums that a thread adds at once

/// Sum of `count` neighbouring partial sums from `first` on (a power of two, at least kLeaves; 0 past the end) as
/// the tree of its halves: level[i] holds a finished subtree while bit i of the number of groups so far is set.
/// `bad` becomes the first that is not finite.
__device__ double subtree(const GradientNorm<float>& a, int64_t first, int64_t count, int64_t* bad) {
  double level[48], sum = 0;
  for (int64_t group = 0; group < count / kLeaves; ++group) {
    double x[kLeaves];
    const int64_t at = first + group * kLeaves;
    for (int j = 0; j < kLeaves; ++j) {
      x[j] = at + j < a.blocks ? double(a.partial[at + j]) : 0.0;
      if (*bad < 0 && !isfinite(x[j])) *bad = at + j;
    }
    sum = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
    int depth = 0;
    for (; group >> depth & 1; ++depth) sum = level[depth] + sum;
    level[depth] = sum;
  }
  return sum;
}

/// One block: the same tree over the index as on the CPU, whose upper levels are the threads.
__global__ __launch_bounds__(kThreads) void norm_of_blocks(GradientNorm<float> a) {
  __shared__ double sums[kThreads];
  __shared__ int64_t firsts[kThreads];
  const int t = int(threadIdx.x);
  int64_t count = kLeaves;
  while (count * kThreads < a.blocks) count *= 2;
  int64_t bad = -1;
  sums[t] = t * count < a.blocks ? subtree(a, t * count, count, &bad) : 0.0;
  firsts[t] = bad;
  for (int width = 1; width < kThreads; width *= 2) {
    __syncthreads();
    if (t % (2 * width) != 0) continue;
    sums[t] += sums[t + width];
    if (firsts[t] < 0) firsts[t] = firsts[t + width];
  }
  if (t != 0) return;
  *a.norm = a.step->gradient_scale / double(a.state->scale) * sqrt(sums[0]);
  *a.bad_block = firsts[0];
}

__global__ void update_check(UpdateCheck<float> a) { check_update(a); }

__device__ inline void update(const AdamStep<float>& k, float g, float& p, float& m, float& v) {
  const float grad = g * k.gradient + k.l2 * p;
  m = k.beta1 * m + k.rest1 * grad, v = k.beta2 * v + k.rest2 * (grad * grad);
  p = (p - k.decay * p) - k.step * m / (sqrtf(v) * k.root_scale + k.eps);
}

/// kNormBlock elements a block. The copy is in C; null: none.
template <class C>
__global__ __launch_bounds__(kThreads) void adam_blocks(Adam<float> a, int vector) {
  __shared__ AdamStep<float> folded;
  if (a.state->skip) return;
  if (threadIdx.x == 0) folded = fold(a);
  __syncthreads();
  const AdamStep<float> k = folded;
  C* copy = static_cast<C*>(a.copy);
  for (int i = 0; i < kElements / 4; ++i) {
    const int64_t at = int64_t(blockIdx.x) * kNormBlock + (int64_t(i) * kThreads + threadIdx.x) * 4;
    if (vector && at + 4 <= a.n) {
      const Pack<float, 4> g = load_pack<4>(a.g + at);
      Pack<float, 4> p = load_pack<4>(a.p + at), m = load_pack<4>(a.m + at), v = load_pack<4>(a.v + at);
      Pack<C, 4> low;
      for (int j = 0; j < 4; ++j) update(k, g.v[j], p.v[j], m.v[j], v.v[j]), low.v[j] = down<C>(p.v[j]);
      store_pack(a.p + at, p), store_pack(a.m + at, m), store_pack(a.v + at, v);
      if (copy != nullptr) store_pack(copy + at, low);
    } else {
      for (int64_t j = at; j < min(at + 4, a.n); ++j) {
        update(k, a.g[j], a.p[j], a.m[j], a.v[j]);
        if (copy != nullptr) copy[j] = down<C>(a.p[j]);
      }
    }
  }
}

int64_t norm_blocks(int64_t n) { return ceil_div(n, kNormBlock); }

}  // namespace

template <class T>
void run(Stream& s, const SumSquares<T>& a) {
  launch(s, square_blocks, norm_blocks(a.n), kThreads, 0, a, int(aligned16(a.x)));
}
template <class T>
void run(Stream& s, const GradientNorm<T>& a) {
  launch(s, norm_of_blocks, 1, kThreads, 0, a);
}
template <class T>
void run(Stream& s, const UpdateCheck<T>& a) {
  launch(s, update_check, 1, 1, 0, a);
}
template <class T>
void run(Stream& s, const Adam<T>& a) {
  const DType copy = a.copy == nullptr ? DType::f32 : a.copy_type;
  if (copy != DType::f32 && copy != DType::bf16 && copy != DType::f16)
    throw Error(std::string("adam: compute copy of type ") + name_of(copy) + ", wanted f32, bf16 or f16");
  const auto kernel = copy == DType::f32    ? adam_blocks<float>
                      : copy == DType::bf16 ? adam_blocks<bf16>
                                            : adam_blocks<f16>;
  const bool aligned = aligned16(a.g) && aligned16(a.p) && aligned16(a.m) && aligned16(a.v) && aligned16(a.copy);
  launch(s, kernel, norm_blocks(a.n), kThreads, 0, a, int(aligned));
}

INSTANTIATE_DEVICE_FLOAT(SumSquares)
INSTANTIATE_DEVICE_FLOAT(GradientNorm)
INSTANTIATE_DEVICE_FLOAT(UpdateCheck)
INSTANTIATE_DEVICE_FLOAT(Adam)

}  // namespace selene::cuda
