// Layer normalisation (Ba et al. 2016, eq. 4) with residual and dropout in front. Up to 1024 columns a row lies in
// the registers of 8, 16 or 32 lanes, read once; longer rows take a block each. dgamma and dbeta: each block sums
// a fixed set of rows, a second kernel adds these; all trees depend on R and C alone. Gradient: docs/math.md.
#include "kernels/layer_norm.h"

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rows/columns.cuh"
#include "kernels/cuda/rows/dropout_row.cuh"

namespace selene::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kLongest = 1024;  // columns of a row in registers

/// x becomes s = residual + dropout(x) as rounded, which is what the backward pass will read; also stored.
template <bool Fast, class T>
__device__ inline void add_residual(const LayerNormFwd<T>& a, const DropoutEights& drop, EightIndex<Fast> r,
                                    int64_t c, int n, const Eight& residual, Eight& x) {
  const Eight factor = dropout_factors<Fast>(a.drop, drop, r, c, a.rows, a.C);
#pragma unroll
  for (int j = 0; j < 8; ++j) x.v[j] = residual.v[j] + x.v[j] * factor.v[j];
  const Pack<T, 8> s = narrow<T>(x);
  store_packed<Fast>(a.s + place_of<Fast>(r, c, a.C), s, n);
  x = widen(s);
}
__device__ inline float sum_of(const Eight& x) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) sum += x.v[j];
  return sum;
}
/// Sum of (s - mean)^2 over the first n; Fast: n is at least 8, or at most 0.
template <bool Fast>
__device__ inline float squares_of(const Eight& s, float mean, int n) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float d = Fast || j < n ? s.v[j] - mean : 0.0f;
    sum += d * d;
  }
  return Fast && n <= 0 ? 0.0f : sum;
}
template <bool Fast, class T>
__device__ inline void store_normalised(const LayerNormFwd<T>& a, EightIndex<Fast> r, int64_t c, int n,
                                        const Eight& s, float mean, float rstd) {
  const Eight gamma = load_eight<Fast>(a.gamma + c, n), beta = load_eight<Fast>(a.beta + c, n);
  Eight y;
#pragma unroll
  for (int j = 0; j < 8; ++j) y.v[j] = (s.v[j] - mean) * rstd * gamma.v[j] + beta.v[j];
  store_eight<Fast>(a.y + place_of<Fast>(r, c, a.C), y, n);
}

/// Grid ceil(R / (kThreads / G)): G lanes hold a row of up to G * K * 8 columns.
template <class T, int G, int K, bool Fast>
__global__ __launch_bounds__(kThreads) void layer_norm_rows(LayerNormFwd<T> a, DropoutEights drop, float share) {
  const EightIndex<Fast> r = blockIdx.x * EightIndex<Fast>(kThreads / G) + threadIdx.x / G;
  const int columns = r < a.R ? int(a.C) : 0;  // lanes without a row take part in the sums of their warp
  const int first = int(threadIdx.x) % G * 8;
  Eight s[K];
#pragma unroll
  for (int k = 0; k < K; ++k)
    s[k] = load_eight<Fast>(a.x + place_of<Fast>(r, first + k * G * 8, a.C), columns - first - k * G * 8);
  if (a.residual != nullptr) {
    Eight residual[K];
#pragma unroll
    for (int k = 0; k < K; ++k)
      residual[k] =
          load_eight<Fast>(a.residual + place_of<Fast>(r, first + k * G * 8, a.C), columns - first - k * G * 8);
#pragma unroll
    for (int k = 0; k < K; ++k)
      add_residual<Fast>(a, drop, r, first + k * G * 8, columns - first - k * G * 8, residual[k], s[k]);
  }
  float sum = 0, squares = 0;
#pragma unroll
  for (int k = 0; k < K; ++k) sum += sum_of(s[k]);
  const float mean = warp_sum<G>(sum) * share;
#pragma unroll
  for (int k = 0; k < K; ++k) squares += squares_of<Fast>(s[k], mean, columns - first - k * G * 8);
  const float rstd = rsqrtf(warp_sum<G>(squares) * share + a.eps);
#pragma unroll
  for (int k = 0; k < K; ++k)
    store_normalised<Fast>(a, r, first + k * G * 8, columns - first - k * G * 8, s[k], mean, rstd);
  if (first == 0 && columns > 0) a.mean[r] = mean, a.rstd[r] = rstd;
}

/// Grid R: a block takes a row of any length. What a thread reads again it wrote itself, so no barrier is needed.
template <class T, bool Fast>
__global__ __launch_bounds__(kThreads) void layer_norm_long_rows(LayerNormFwd<T> a, DropoutEights drop, float share) {
  __shared__ float buf[kThreads / 32];
  const EightIndex<Fast> r = blockIdx.x;
  const int64_t row = int64_t(r) * a.C, first = int64_t(threadIdx.x) * 8, step = kThreads * 8;
  float sum = 0, squares = 0;
  for (int64_t c = first; c < a.C; c += step) {
    const int n = eight_or_rest(a.C, c);
    Eight x = load_eight<Fast>(a.x + row + c, n);
    if (a.residual != nullptr) add_residual<Fast>(a, drop, r, c, n, load_eight<Fast>(a.residual + row + c, n), x);
    sum += sum_of(x);
  }
  const float mean = block_sum<kThreads>(sum, buf) * share;
  const T* s = (a.residual != nullptr ? a.s : a.x) + row;
  for (int64_t c = first; c < a.C; c += step) {
    const int n = eight_or_rest(a.C, c);
    squares += squares_of<Fast>(load_eight<Fast>(s + c, n), mean, n);
  }
  const float rstd = rsqrtf(block_sum<kThreads>(squares, buf) * share + a.eps);
  for (int64_t c = first; c < a.C; c += step) {
    const int n = eight_or_rest(a.C, c);
    store_normalised<Fast>(a, r, c, n, load_eight<Fast>(s + c, n), mean, rstd);
  }
  if (threadIdx.x == 0) a.mean[r] = mean, a.rstd[r] = rstd;
}

__device__ inline Eight normalised(Eight s, float mean, float rstd) {
#pragma unroll
  for (int j = 0; j < 8; ++j) s.v[j] = (s.v[j] - mean) * rstd;
  return s;
}
/// Adds dy xhat to dgamma and dy to dbeta.
__device__ inline void add_columns(const Eight& xhat, const Eight& dy, Eight& dgamma, Eight& dbeta) {
#pragma unroll
  for (int j = 0; j < 8; ++j) dgamma.v[j] += dy.v[j] * xhat.v[j], dbeta.v[j] += dy.v[j];
}
/// Adds g and g xhat.
__device__ inline void add_row(const Eight& xhat, const Eight& g, float& s1, float& s2) {
#pragma unroll
  for (int j = 0; j < 8; ++j) s1 += g.v[j], s2 += g.v[j] * xhat.v[j];
}
/// ds = rstd (g - s1 - xhat s2), s1 and s2 being means over the row, and dx = dropout of ds as rounded.
template <bool Fast, class T>
__device__ inline void store_gradient(const LayerNormBwd<T>& a, const DropoutEights& drop,
                                      const DropoutEights::Key& key, EightIndex<Fast> r, int64_t c, int n,
                                      const Eight& xhat, Eight g, float rstd, float s1, float s2) {
  const int64_t at = place_of<Fast>(r, c, a.C);
#pragma unroll
  for (int j = 0; j < 8; ++j) g.v[j] = fmaf(xhat.v[j], -(rstd * s2), fmaf(g.v[j], rstd, -(rstd * s1)));
  const Pack<T, 8> ds = narrow<T>(g);
  store_packed<Fast>(a.ds + at, ds, n);
  if (a.dx == nullptr) return;
  g = widen(ds);
  multiply(g, dropout_factors<Fast>(a.drop, drop, r, c, a.rows, a.C, &key));
  store_eight<Fast>(a.dx + at, g, n);
}
/// out[c] = the sum over the block's groups of G lanes; a lane of each holds eight columns, from base + 8 lane on.
template <int G>
__device__ inline void store_partial(const Eight& x, float* buf, int64_t base, int64_t C, float* out) {
  const int t = int(threadIdx.x);
#pragma unroll
  for (int j = 0; j < 8; ++j) buf[(t / G * 8 + j) * G + t % G] = x.v[j];  // neighbours in neighbouring banks
  __syncthreads();
  const int64_t c = base + t % G * 8 + t / G;
  if (t < 8 * G && c < C) {
    float sum = 0;
    for (int g = 0; g < kThreads / G; ++g) sum += buf[g * 8 * G + t];
    out[c] = sum;
  }
  __syncthreads();
}

/// Grid ceil(R / rows_of_block), rows_of_block a multiple of kThreads / G; lanes as in layer_norm_rows. The bounds
/// leave registers enough to hold all without spills.
template <class T, int G, int K, bool Fast>
__global__ __launch_bounds__(kThreads,
                             K == 4 ? 1 : 4 - K) void layer_norm_gradient_rows(LayerNormBwd<T> a, DropoutEights drop,
                                                                               float share, int64_t rows_of_block) {
  __shared__ float buf[kThreads * 8];
  const int first = int(threadIdx.x) % G * 8, group = int(threadIdx.x) / G;
  const int64_t begin = blockIdx.x * rows_of_block, end = min(begin + rows_of_block, a.R);
  const DropoutEights::Key key = dropout_on(a.drop) ? drop.key() : DropoutEights::Key{};
  const auto gamma_of = [&](int k) {
    return load_packed<Fast>(a.gamma + first + k * G * 8, int(a.C) - first - k * G * 8);
  };
  const Pack<T, 8> gamma = gamma_of(0);
  Eight dgamma[K] = {}, dbeta[K] = {};
  for (int64_t at = begin; at < end; at += kThreads / G) {
    const EightIndex<Fast> r = at + group;
    const int columns = r < a.R ? int(a.C) : 0;
    Pack<T, 8> s[K], dy[K];  // as in memory: half the registers in half precision
#pragma unroll
    for (int k = 0; k < K; ++k) {
      s[k] = load_packed<Fast>(a.s + place_of<Fast>(r, first + k * G * 8, a.C), columns - first - k * G * 8);
      dy[k] = load_packed<Fast>(a.dy + place_of<Fast>(r, first + k * G * 8, a.C), columns - first - k * G * 8);
    }
    const float mean = columns > 0 ? a.mean[r] : 0.0f, rstd = columns > 0 ? a.rstd[r] : 0.0f;
    Eight xhat[K], g[K];
    float s1 = 0, s2 = 0;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      xhat[k] = normalised(widen(s[k]), mean, rstd), g[k] = widen(dy[k]);
      add_columns(xhat[k], g[k], dgamma[k], dbeta[k]);
      multiply(g[k], widen(K == 1 ? gamma : gamma_of(k)));
      add_row(xhat[k], g[k], s1, s2);
    }
    s1 = warp_sum<G>(s1) * share, s2 = warp_sum<G>(s2) * share;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if constexpr (K > 1) {  // again, as registers don't hold them all
        xhat[k] = normalised(widen(s[k]), mean, rstd), g[k] = widen(dy[k]);
        multiply(g[k], widen(gamma_of(k)));
      }
      store_gradient<Fast>(a, drop, key, r, first + k * G * 8, columns - first - k * G * 8, xhat[k], g[k], rstd, s1,
                           s2);
    }
  }
  float* out = a.workspace + blockIdx.x * 2 * a.C;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    store_partial<G>(dgamma[k], buf, k * G * 8, a.C, out);
    store_partial<G>(dbeta[k], buf, k * G * 8, a.C, out + a.C);
  }
}

/// Grid R, a block per row of any length: ds and dx.
template <class T, bool Fast>
__global__ __launch_bounds__(kThreads) void layer_norm_gradient_long_rows(LayerNormBwd<T> a, DropoutEights drop,
                                                                          float share) {
  __shared__ float buf[kThreads / 32];
  const EightIndex<Fast> r = blockIdx.x;
  const int64_t row = int64_t(r) * a.C, first = int64_t(threadIdx.x) * 8, step = kThreads * 8;
  const float mean = a.mean[r], rstd = a.rstd[r];
  const DropoutEights::Key key = dropout_on(a.drop) ? drop.key() : DropoutEights::Key{};
  float s1 = 0, s2 = 0;
  for (int64_t c = first; c < a.C; c += step) {
    const int n = eight_or_rest(a.C, c);
    Eight g = load_eight<Fast>(a.dy + row + c, n);
    multiply(g, load_eight<Fast>(a.gamma + c, n));
    add_row(normalised(load_eight<Fast>(a.s + row + c, n), mean, rstd), g, s1, s2);
  }
  s1 = block_sum<kThreads>(s1, buf) * share, s2 = block_sum<kThreads>(s2, buf) * share;
  for (int64_t c = first; c < a.C; c += step) {
    const int n = eight_or_rest(a.C, c);
    Eight g = load_eight<Fast>(a.dy + row + c, n);
    multiply(g, load_eight<Fast>(a.gamma + c, n));
    const Eight xhat = normalised(load_eight<Fast>(a.s + row + c, n), mean, rstd);
    store_gradient<Fast>(a, drop, key, r, c, n, xhat, g, rstd, s1, s2);
  }
}

/// Grid strips of 256 columns x blocks of rows: partial sums of dgamma and dbeta of long rows.
template <class T, bool Fast>
__global__ __launch_bounds__(kThreads) void layer_norm_gradient_columns(LayerNormBwd<T> a, int64_t rows_of_block) {
  __shared__ float buf[kThreads * 8];
  const int64_t strips = ceil_div(a.C, 256), block = blockIdx.x / strips, base = blockIdx.x % strips * 256;
  const int64_t c = base + int(threadIdx.x) % 32 * 8, begin = block * rows_of_block;
  const int64_t end = min(begin + rows_of_block, a.R);
  const int n = eight_or_rest(a.C, c);
  Eight dgamma = {}, dbeta = {};
#pragma unroll 2
  for (int64_t r = begin + int(threadIdx.x) / 32; r < end; r += kThreads / 32) {
    const Eight xhat = normalised(load_eight<Fast>(a.s + r * a.C + c, n), a.mean[r], a.rstd[r]);
    add_columns(xhat, load_eight<Fast>(a.dy + r * a.C + c, n), dgamma, dbeta);
  }
  float* out = a.workspace + block * 2 * a.C;
  store_partial<32>(dgamma, buf, base, a.C, out);
  store_partial<32>(dbeta, buf, base, a.C, out + a.C);
}

/// True where rows are of whole eights and 32 bits number them.
template <class A>
bool whole_rows(const A& a) {
  return a.C % 8 == 0 && DropoutEights::fits(a.R * a.C / 8);
}
/// Lanes of a row.
int lanes_of(int64_t C) { return C <= 64 ? 8 : C <= 128 ? 16 : 32; }
/// Rows that one block sums: about 1024 blocks, at least two rows a group of lanes.
int64_t rows_of_block(int64_t R, int64_t C) {
  const int64_t groups = kThreads / lanes_of(C), each = ceil_div(ceil_div(R, 1024), groups);
  return groups * (each < 2 ? 2 : each);
}

template <class T, int G, int K>
void forward(Stream& s, const LayerNormFwd<T>& a, bool fast) {
  const auto kernel = fast ? layer_norm_rows<T, G, K, true> : layer_norm_rows<T, G, K, false>;
  launch(s, kernel, ceil_div(a.R, kThreads / G), kThreads, 0, a, DropoutEights(a.drop, a.rows), 1.0f / float(a.C));
}
template <class T, int G, int K>
void backward(Stream& s, const LayerNormBwd<T>& a, bool fast) {
  const auto kernel = fast ? layer_norm_gradient_rows<T, G, K, true> : layer_norm_gradient_rows<T, G, K, false>;
  const int64_t rows = rows_of_block(a.R, a.C);
  launch(s, kernel, ceil_div(a.R, rows), kThreads, 0, a, DropoutEights(a.drop, a.rows), 1.0f / float(a.C), rows);
}
template <class T>
void backward_long(Stream& s, const LayerNormBwd<T>& a, bool fast) {
  const auto columns = fast ? layer_norm_gradient_columns<T, true> : layer_norm_gradient_columns<T, false>;
  const auto rows = fast ? layer_norm_gradient_long_rows<T, true> : layer_norm_gradient_long_rows<T, false>;
  const int64_t each = rows_of_block(a.R, a.C);
  launch(s, columns, ceil_div(a.C, 256) * ceil_div(a.R, each), kThreads, 0, a, each);  // before ds may overwrite dy
  launch(s, rows, a.R, kThreads, 0, a, DropoutEights(a.drop, a.rows), 1.0f / float(a.C));
}

}  // namespace

template <class T>
int64_t workspace(const LayerNormBwd<T>& a) {
  return ceil_div(a.R, rows_of_block(a.R, a.C)) * 2 * a.C * int64_t(sizeof(float));
}

template <class T>
void run(Stream& s, const LayerNormFwd<T>& a) {
  const bool fast = whole_rows(a) && aligned16(a.x) && aligned16(a.residual) && aligned16(a.s) &&
                    aligned16(a.gamma) && aligned16(a.beta) && aligned16(a.y);
  if (a.C <= 64) return forward<T, 8, 1>(s, a, fast);
  if (a.C <= 128) return forward<T, 16, 1>(s, a, fast);
  if (a.C <= 256) return forward<T, 32, 1>(s, a, fast);
  if (a.C <= 512) return forward<T, 32, 2>(s, a, fast);
  if (a.C <= kLongest) return forward<T, 32, 4>(s, a, fast);
  launch(s, fast ? layer_norm_long_rows<T, true> : layer_norm_long_rows<T, false>, a.R, kThreads, 0, a,
         DropoutEights(a.drop, a.rows), 1.0f / float(a.C));
}
template <class T>
void run(Stream& s, const LayerNormBwd<T>& a) {
  const bool fast =
      whole_rows(a) && aligned16(a.s) && aligned16(a.gamma) && aligned16(a.dy) && aligned16(a.ds) && aligned16(a.dx);
  if (a.C <= 64) backward<T, 8, 1>(s, a, fast);
  else if (a.C <= 128) backward<T, 16, 1>(s, a, fast);
  else if (a.C <= 256) backward<T, 32, 1>(s, a, fast);
  else if (a.C <= 512) backward<T, 32, 2>(s, a, fast);
  else if (a.C <= kLongest) backward<T, 32, 4>(s, a, fast);
  else backward_long(s, a, fast);
  const int64_t blocks = ceil_div(a.R, rows_of_block(a.R, a.C));
  add_block_sums(s, a.workspace, blocks, 2 * a.C, {a.dgamma, a.dbeta, a.C});
}

INSTANTIATE_DEVICE(LayerNormFwd)
INSTANTIATE_DEVICE(LayerNormBwd)
INSTANTIATE_DEVICE_WORKSPACE(LayerNormBwd)

}  // namespace selene::cuda
