/* norms.cu - RMSNorm and LayerNorm, forward and backward, sums along rows and over them.
 *
 * A vector of n values has a warp (n <= WARP_MAX) or a block of BLOCK threads; thread t holds columns 8 (t + i
 * TEAM) on.
 */
#include "compute/cuda/cuda.h"
#include "compute/cuda/vec.h"

enum { BLOCK = 256, WARP_MAX = 1024 };

/* Vectors of x, `groups` a row; vector v begins at column v % groups · n of row v / groups. */
template <class T>
struct vectors {
  T *p;
  size_t ld;
  int groups, n;
  __device__ T *at(size_t v) const { return p + v / groups * ld + v % groups * n; }
};

/* The vector of this thread's team; its threads are 0 … TEAM - 1. */
template <int TEAM>
static __device__ size_t team_vector() {
  return TEAM == 32 ? (size_t)blockIdx.x * (BLOCK / 32) + threadIdx.x / 32 : blockIdx.x;
}
template <int TEAM>
static __device__ int team_thread() {
  return TEAM == 32 ? (int)threadIdx.x % 32 : (int)threadIdx.x;
}
#define TEAM_COLUMNS(c) for (int c = team_thread<TEAM>() * 8; c < n; c += 8 * TEAM)

/* ---- y = x / sqrt(mean(x²) + eps) · (w + offset) ---- */

template <class T, bool V, int TEAM>
__global__ void __launch_bounds__(BLOCK)
    rmsnorm_kernel(vectors<T> y, vectors<T> x, const float *w, float offset, float eps, size_t count, float *rstd) {
  SHARED(smem);
  const size_t v = team_vector<TEAM>();
  const int n = x.n;
  if (v >= count) return; /* a whole warp */
  const T *from = x.at(v);
  T *to = y.at(v);
  float sum = 0;
  TEAM_COLUMNS(c) {
    const f8 a = load8<V>(from + c, n - c);
    UNROLL
    for (int k = 0; k < 8; k++) sum = fmaf(a.v[k], a.v[k], sum);
  }
  const float r = 1.0f / sqrtf(team_sum<TEAM>(sum, (float *)smem) / (float)n + eps);
  TEAM_COLUMNS(c) {
    const f8 a = load8<V>(from + c, n - c), b = load8<V>(w + c, n - c);
    f8 o;
    UNROLL
    for (int k = 0; k < 8; k++) o.v[k] = a.v[k] * r * (b.v[k] + offset);
    store8<V>(to + c, o, n - c);
  }
  if (rstd && team_thread<TEAM>() == 0) rstd[v] = r;
}

/* dx (+)= r (dy (w + offset) - x · sum(dy (w + offset) x) r² / n) */
template <class T, bool V, int TEAM>
__global__ void __launch_bounds__(BLOCK)
    rmsnorm_dx_kernel(vectors<T> dx, vectors<T> dy, vectors<T> x, const float *w, float offset, const float *rstd,
                      size_t count, bool acc) {
  SHARED(smem);
  const size_t v = team_vector<TEAM>();
  const int n = x.n;
  if (v >= count) return;
  const T *px = x.at(v), *pdy = dy.at(v);
  T *pdx = dx.at(v);
  const float r = rstd[v];
  float sum = 0;
  TEAM_COLUMNS(c) {
    const f8 a = load8<V>(px + c, n - c), d = load8<V>(pdy + c, n - c), b = load8<V>(w + c, n - c);
    UNROLL
    for (int k = 0; k < 8; k++) sum = fmaf(d.v[k] * (b.v[k] + offset), a.v[k], sum);
  }
  const float m = team_sum<TEAM>(sum, (float *)smem) * r * r / (float)n;
  TEAM_COLUMNS(c) {
    const f8 a = load8<V>(px + c, n - c), d = load8<V>(pdy + c, n - c), b = load8<V>(w + c, n - c);
    f8 o = {};
    if (acc) o = load8<V>(pdx + c, n - c);
    UNROLL
    for (int k = 0; k < 8; k++) o.v[k] += r * (d.v[k] * (b.v[k] + offset) - a.v[k] * m);
    store8<V>(pdx + c, o, n - c);
  }
}

/* ---- y = (x - mean) / sqrt(variance + eps) · (w + offset) + b ---- */

template <class T, bool V, int TEAM>
__global__ void __launch_bounds__(BLOCK)
    layernorm_kernel(vectors<T> y, vectors<T> x, const float *w, const float *b, float offset, float eps,
                     size_t count, float *stats) {
  SHARED(smem);
  const size_t v = team_vector<TEAM>();
  const int n = x.n;
  if (v >= count) return;
  const T *from = x.at(v);
  T *to = y.at(v);
  float sum = 0;
  TEAM_COLUMNS(c) {
    const f8 a = load8<V>(from + c, n - c);
    UNROLL
    for (int k = 0; k < 8; k++) sum += a.v[k];
  }
  const float mean = team_sum<TEAM>(sum, (float *)smem) / (float)n;
  float squares = 0;
  TEAM_COLUMNS(c) {
    const f8 a = load8<V>(from + c, n - c);
    UNROLL
    for (int k = 0; k < 8; k++)
      if (V || c + k < n) squares = fmaf(a.v[k] - mean, a.v[k] - mean, squares);
  }
  const float r = 1.0f / sqrtf(team_sum<TEAM>(squares, (float *)smem + TEAM / 32) / (float)n + eps);
  TEAM_COLUMNS(c) {
    const f8 a = load8<V>(from + c, n - c), s = load8<V>(w + c, n - c), t = load8<V>(b + c, n - c);
    f8 o;
    UNROLL
    for (int k = 0; k < 8; k++) o.v[k] = fmaf((a.v[k] - mean) * r, s.v[k] + offset, t.v[k]);
    store8<V>(to + c, o, n - c);
  }
  if (stats && team_thread<TEAM>() == 0) stats[2 * v] = mean, stats[2 * v + 1] = r;
}

template <class T, bool V, int TEAM>
__global__ void __launch_bounds__(BLOCK)
    layernorm_dx_kernel(vectors<T> dx, vectors<T> dy, vectors<T> x, const float *w, float offset,
                        const float *stats, size_t count, bool acc) {
  SHARED(smem);
  const size_t v = team_vector<TEAM>();
  const int n = x.n;
  if (v >= count) return;
  const T *px = x.at(v), *pdy = dy.at(v);
  T *pdx = dx.at(v);
  const float mean = stats[2 * v], r = stats[2 * v + 1];
  float sum = 0, dot = 0;
  TEAM_COLUMNS(c) { /* beyond n dy is 0 */
    const f8 a = load8<V>(px + c, n - c), d = load8<V>(pdy + c, n - c), b = load8<V>(w + c, n - c);
    UNROLL
    for (int k = 0; k < 8; k++) {
      const float g = d.v[k] * (b.v[k] + offset);
      sum += g;
      dot = fmaf(g, (a.v[k] - mean) * r, dot);
    }
  }
  const float gm = team_sum<TEAM>(sum, (float *)smem) / (float)n;
  const float gx = team_sum<TEAM>(dot, (float *)smem + TEAM / 32) / (float)n;
  TEAM_COLUMNS(c) {
    const f8 a = load8<V>(px + c, n - c), d = load8<V>(pdy + c, n - c), b = load8<V>(w + c, n - c);
    f8 o = {};
    if (acc) o = load8<V>(pdx + c, n - c);
    UNROLL
    for (int k = 0; k < 8; k++) o.v[k] += r * (d.v[k] * (b.v[k] + offset) - gm - (a.v[k] - mean) * r * gx);
    store8<V>(pdx + c, o, n - c);
  }
}

/* ---- d[v] = x · y ---- */

template <class T, bool V, int TEAM>
__global__ void __launch_bounds__(BLOCK) row_dots_kernel(float *d, vectors<T> x, vectors<T> y, size_t count) {
  SHARED(smem);
  const size_t v = team_vector<TEAM>();
  const int n = x.n;
  if (v >= count) return; /* a whole warp */
  const T *px = x.at(v), *py = y.at(v);
  float sum = 0;
  TEAM_COLUMNS(c) {
    const f8 a = load8<V>(px + c, n - c), b = load8<V>(py + c, n - c);
    UNROLL
    for (int k = 0; k < 8; k++) sum = fmaf(a.v[k], b.v[k], sum);
  }
  sum = team_sum<TEAM>(sum, (float *)smem);
  if (team_thread<TEAM>() == 0) d[v] = sum;
}

/* ---- sums over rows ---- */

/* What is summed for a column of a vector: dy · (x - mean) · r, with mean 0 for RMSNorm; or dy alone (x NULL). */
template <class T>
struct terms {
  vectors<T> dy, x;
  const float *rstd;  /* RMSNorm's */
  const float *stats; /* LayerNorm's */
};

/* Block (·, g, b): the sum of group g over the rows of row block b, in their order, for 8 columns a thread. */
template <class T, bool V>
__global__ void __launch_bounds__(128) row_sums_kernel(float *part, terms<T> t, const row_block *blocks) {
  const int n = t.dy.n, groups = t.dy.groups, c = (int)(blockIdx.x * blockDim.x + threadIdx.x) * 8;
  if (c >= n) return;
  const row_block b = blocks[blockIdx.z];
  f8 sum = {};
  for (int i = 0; i < b.count; i++) {
    const size_t v = (size_t)(b.first + i) * groups + blockIdx.y;
    const f8 d = load8<V>(t.dy.at(v) + c, n - c);
    if (t.x.p) {
      const float mean = t.stats ? t.stats[2 * v] : 0.0f, r = t.stats ? t.stats[2 * v + 1] : t.rstd[v];
      const f8 a = load8<V>(t.x.at(v) + c, n - c);
      UNROLL
      for (int k = 0; k < 8; k++) sum.v[k] = fmaf(d.v[k] * r, a.v[k] - mean, sum.v[k]);
    } else {
      UNROLL
      for (int k = 0; k < 8; k++) sum.v[k] += d.v[k];
    }
  }
  store8<V>(part + ((size_t)blockIdx.z * groups + blockIdx.y) * n + c, sum, n - c);
}

/* sum[c] += part[i, c] for all i, in order */
__global__ void __launch_bounds__(128) add_parts_kernel(float *sum, const float *part, size_t parts, int n) {
  const int c = (int)(blockIdx.x * 128 + threadIdx.x);
  if (c >= n) return;
  float s = sum[c];
  UNROLL_BY(8)
  for (size_t i = 0; i < parts; i++) s += part[i * n + c];
  sum[c] = s;
}

/* ---- launches ---- */

template <class T>
static vectors<T> vectors_of(mat x, size_t groups, size_t n) {
  return {(T *)x.p, x.ld, (int)groups, (int)n};
}

/* Calls f(type, V, TEAM) as they suit vectors of n values. */
template <class F>
static void by_shape(tensor_type t, bool v, size_t n, F f) {
  by_type(t, [&](auto *type) {
    by_flag(v, [&](auto wide) {
      if (n <= WARP_MAX)
        f(type, wide, std::integral_constant<int, 32>());
      else
        f(type, wide, std::integral_constant<int, BLOCK>());
    });
  });
}
static unsigned team_blocks(size_t count, size_t n) {
  return n <= WARP_MAX ? cuda_blocks(count, BLOCK / 32) : (unsigned)count;
}
enum { TEAM_SHARED = 2 * BLOCK / 32 * sizeof(float) };

template <class T>
static void row_sums(cuda_state *s, float *sum, terms<T> t, const row_list *rows, bool wide) {
  const size_t n = (size_t)t.dy.n, groups = (size_t)t.dy.groups, parts = rows->n_blocks * groups;
  float *part = (float *)cuda_scratch(s, parts * n * sizeof(float));
  if (!part || parts == 0) return;
  const unsigned threads = n >= 1024 ? 128 : 32;
  for (size_t at = 0; at < rows->n_blocks; at += 65535) { /* a grid's most */
    const size_t some = rows->n_blocks - at < 65535 ? rows->n_blocks - at : 65535;
    const dim3 grid(cuda_blocks(n, 8 * threads), (unsigned)groups, (unsigned)some);
    by_flag(wide, [&](auto v) {
      LAUNCH((row_sums_kernel<T, decltype(v)::value>), grid, threads, 0, s->stream, part + at * groups * n, t,
             rows->blocks + at);
    });
  }
  LAUNCH(add_parts_kernel, cuda_blocks(n, 128), 128, 0, s->stream, sum, part, parts, (int)n);
}

static void be_bias_grad(backend *be, float *db, mat dy, const batch *b, row_set rows, size_t n) {
  cuda_state *s = cuda_begin(be, "bias_grad");
  if (!s) return;
  by_type(dy.type, [&](auto *type) {
    typedef POINTEE(type) T;
    row_sums<T>(s, db, {vectors_of<T>(dy, 1, n), {}, nullptr, nullptr}, &b->set[rows],
                cuda_aligned(dy) && n % 8 == 0);
  });
  cuda_end(s);
}

static void be_rmsnorm(backend *be, mat y, mat x, const float *w, float offset, float eps, size_t m, size_t groups,
                       size_t n, float *rstd) {
  cuda_state *s = cuda_begin(be, "rmsnorm");
  if (!s) return;
  const size_t count = m * groups;
  const bool wide = n % 8 == 0 && cuda_aligned(y) && cuda_aligned(x) && cuda_aligned(w);
  if (count)
    by_shape(x.type, wide, n, [&](auto *type, auto v, auto team) {
      typedef POINTEE(type) T;
      const vectors<T> to = vectors_of<T>(y, groups, n), from = vectors_of<T>(x, groups, n);
      LAUNCH((rmsnorm_kernel<T, decltype(v)::value, decltype(team)::value>), team_blocks(count, n), BLOCK,
             TEAM_SHARED, s->stream, to, from, w, offset, eps, count, rstd);
    });
  cuda_end(s);
}

static void be_rmsnorm_bwd(backend *be, mat dx, float *dw, mat dy, mat x, const float *w, float offset,
                           const float *rstd, const batch *b, row_set rows, size_t groups, size_t n, bool acc) {
  cuda_state *s = cuda_begin(be, "rmsnorm_bwd");
  if (!s) return;
  const size_t count = b->set[rows].rows * groups;
  const bool wide = n % 8 == 0 && cuda_aligned(dx) && cuda_aligned(dy) && cuda_aligned(x) && cuda_aligned(w);
  if (count)
    by_shape(x.type, wide, n, [&](auto *type, auto v, auto team) {
      typedef POINTEE(type) T;
      const vectors<T> vdx = vectors_of<T>(dx, groups, n), vdy = vectors_of<T>(dy, groups, n),
                       vx = vectors_of<T>(x, groups, n);
      if (dw) row_sums<T>(s, dw, {vdy, vx, rstd, nullptr}, &b->set[rows], wide); /* first: dx may be dy */
      LAUNCH((rmsnorm_dx_kernel<T, decltype(v)::value, decltype(team)::value>), team_blocks(count, n), BLOCK,
             TEAM_SHARED, s->stream, vdx, vdy, vx, w, offset, rstd, count, acc);
    });
  cuda_end(s);
}

static void be_layernorm(backend *be, mat y, mat x, const float *w, const float *b, float offset, float eps,
                         size_t m, size_t n, float *stats) {
  cuda_state *s = cuda_begin(be, "layernorm");
  if (!s) return;
  const bool wide = n % 8 == 0 && cuda_aligned(y) && cuda_aligned(x) && cuda_aligned(w) && cuda_aligned(b);
  if (m)
    by_shape(x.type, wide, n, [&](auto *type, auto v, auto team) {
      typedef POINTEE(type) T;
      const vectors<T> to = vectors_of<T>(y, 1, n), from = vectors_of<T>(x, 1, n);
      LAUNCH((layernorm_kernel<T, decltype(v)::value, decltype(team)::value>), team_blocks(m, n), BLOCK,
             TEAM_SHARED, s->stream, to, from, w, b, offset, eps, m, stats);
    });
  cuda_end(s);
}

static void be_layernorm_bwd(backend *be, mat dx, float *dw, float *db, mat dy, mat x, const float *w, float offset,
                             const float *stats, const batch *b, row_set rows, size_t n, bool acc) {
  cuda_state *s = cuda_begin(be, "layernorm_bwd");
  if (!s) return;
  const size_t m = b->set[rows].rows;
  const bool wide = n % 8 == 0 && cuda_aligned(dx) && cuda_aligned(dy) && cuda_aligned(x) && cuda_aligned(w);
  if (m)
    by_shape(x.type, wide, n, [&](auto *type, auto v, auto team) {
      typedef POINTEE(type) T;
      const vectors<T> vdx = vectors_of<T>(dx, 1, n), vdy = vectors_of<T>(dy, 1, n), vx = vectors_of<T>(x, 1, n);
      if (db) row_sums<T>(s, db, {vdy, {}, nullptr, nullptr}, &b->set[rows], wide);
      if (dw) row_sums<T>(s, dw, {vdy, vx, nullptr, stats}, &b->set[rows], wide);
      LAUNCH((layernorm_dx_kernel<T, decltype(v)::value, decltype(team)::value>), team_blocks(m, n), BLOCK,
             TEAM_SHARED, s->stream, vdx, vdy, vx, w, offset, stats, m, acc);
    });
  cuda_end(s);
}

static void be_row_dots(backend *be, float *d, mat x, mat y, size_t m, size_t n) {
  cuda_state *s = cuda_begin(be, "row_dots");
  if (!s) return;
  if (m)
    by_shape(x.type, n % 8 == 0 && cuda_aligned(x) && cuda_aligned(y), n, [&](auto *type, auto v, auto team) {
      typedef POINTEE(type) T;
      const vectors<T> vx = vectors_of<T>(x, 1, n), vy = vectors_of<T>(y, 1, n);
      LAUNCH((row_dots_kernel<T, decltype(v)::value, decltype(team)::value>), team_blocks(m, n), BLOCK, TEAM_SHARED,
             s->stream, d, vx, vy, m);
    });
  cuda_end(s);
}

void cuda_norm_ops(backend *be) {
  be->bias_grad = be_bias_grad;
  be->rmsnorm = be_rmsnorm;
  be->rmsnorm_bwd = be_rmsnorm_bwd;
  be->layernorm = be_layernorm;
  be->layernorm_bwd = be_layernorm_bwd;
  be->row_dots = be_row_dots;
}
