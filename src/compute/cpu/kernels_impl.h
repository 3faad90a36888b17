/* kernels_impl.h - the inner loops, written once and compiled for each CPU level (see kernels.h).
 *
 * LEVEL names the table: kernels_LEVEL. Only the product tile uses intrinsics; the rest are loops of a shape that
 * the compiler turns into vector code, with every fused multiply-add written out (FMA), so that each level rounds
 * alike.
 */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "compute/cpu/kernels.h"

#if defined(__AVX512F__)
#include "compute/cpu/avx512.h"
#elif defined(__AVX2__)
#include <immintrin.h>
#endif

#define FMA(a, b, c) __builtin_fmaf((a), (b), (c))
enum { LANES = 16 };

#if defined(__AVX512F__)
typedef __m512 vec;
enum { VL = 16, MR = 12, NV = 2 };
#define V_LOAD(p)      _mm512_loadu_ps(p)
#define V_STORE(p, v)  _mm512_storeu_ps(p, v)
#define V_SET1(x)      _mm512_set1_ps(x)
#define V_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define V_ZERO()       _mm512_setzero_ps()
#elif defined(__AVX2__)
typedef __m256 vec;
enum { VL = 8, MR = 4, NV = 3 };
#define V_LOAD(p)      _mm256_loadu_ps(p)
#define V_STORE(p, v)  _mm256_storeu_ps(p, v)
#define V_SET1(x)      _mm256_broadcast_ss(&(x))
#define V_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define V_ZERO()       _mm256_setzero_ps()
#else
typedef float vec;
enum { VL = 1, MR = 4, NV = 8 };
#define V_LOAD(p)      (*(p))
#define V_STORE(p, v)  (*(p) = (v))
#define V_SET1(x)      (x)
#define V_FMA(a, b, c) FMA(a, b, c)
#define V_ZERO()       0.0f
#endif
enum { NR = VL * NV };

/* ---- products ---- */

/* The whole register tile; c has room for MR x NR. */
static inline void full_tile(size_t kn, const float *restrict a, const float *restrict b, float *restrict c,
                             size_t ldc, bool acc) {
  vec s[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) s[i][j] = acc ? V_LOAD(c + (size_t)i * ldc + (size_t)j * VL) : V_ZERO();
  for (size_t k = 0; k < kn; k++) {
    vec bv[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) bv[j] = V_LOAD(b + (size_t)j * VL);
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
      vec av = V_SET1(a[i]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; j++) s[i][j] = V_FMA(av, bv[j], s[i][j]);
    }
    a += MR;
    b += NR;
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) V_STORE(c + (size_t)i * ldc + (size_t)j * VL, s[i][j]);
}

static void tile(size_t kn, const float *a, const float *b, float *c, size_t ldc, size_t m, size_t n, bool acc) {
  if (m == MR && n == NR) {
    for (size_t i = 0; i < MR; i++) /* the tile below is next */
      for (size_t j = 0; j < NR; j += 16) __builtin_prefetch(c + (MR + i) * ldc + j, 1);
    full_tile(kn, a, b, c, ldc, acc);
    return;
  }
  float edge[MR * NR]; /* a tile at the matrix's edge is computed beside it */
  if (acc) {
    memset(edge, 0, sizeof edge);
    for (size_t i = 0; i < m; i++) memcpy(edge + i * NR, c + i * ldc, n * sizeof(float));
  }
  full_tile(kn, a, b, edge, NR, acc);
  for (size_t i = 0; i < m; i++) memcpy(c + i * ldc, edge + i * NR, n * sizeof(float));
}

enum { FEW_VECTORS = 8, SOME_VECTORS = 6, THIN_ROWS = MR > FEW_VECTORS ? MR : FEW_VECTORS };

/* r rows of a weight, by v vectors of a panel's rows. */
__attribute__((always_inline)) static inline void thin_part(const size_t r, const size_t v, size_t kn,
                                                            const float *restrict x, const float *restrict w,
                                                            size_t ldw, float *restrict sums) {
  vec s[THIN_ROWS][NV];
#pragma GCC unroll 16
  for (size_t i = 0; i < r; i++)
#pragma GCC unroll 8
    for (size_t j = 0; j < v; j++) s[i][j] = V_LOAD(sums + i * NR + j * VL);
  for (size_t k = 0; k < kn; k++, x += NR) {
    vec xv[NV];
    if (k % 16 == 0) /* the rows that are next: pieces of rows, which nobody else fetches ahead */
#pragma GCC unroll 16
      for (size_t i = 0; i < r; i++) __builtin_prefetch(w + (r + i) * ldw + k);
#pragma GCC unroll 8
    for (size_t j = 0; j < v; j++) xv[j] = V_LOAD(x + j * VL);
#pragma GCC unroll 16
    for (size_t i = 0; i < r; i++) {
      vec wv = V_SET1(w[i * ldw + k]);
#pragma GCC unroll 8
      for (size_t j = 0; j < v; j++) s[i][j] = V_FMA(wv, xv[j], s[i][j]);
    }
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < r; i++)
#pragma GCC unroll 8
    for (size_t j = 0; j < v; j++) V_STORE(sums + i * NR + j * VL, s[i][j]);
}

static void thin(size_t kn, const float *x, size_t m, const float *w, size_t ldw, size_t n, float *sums) {
  size_t i = 0;
  if (m <= VL)
    for (; i + FEW_VECTORS <= n; i += FEW_VECTORS)
      thin_part(FEW_VECTORS, 1, kn, x, w + i * ldw, ldw, sums + i * NR);
  else if (NV > 2 && m <= (size_t)2 * VL)
    for (; i + SOME_VECTORS <= n; i += SOME_VECTORS)
      thin_part(SOME_VECTORS, 2, kn, x, w + i * ldw, ldw, sums + i * NR);
  for (; i + MR <= n; i += MR) thin_part(MR, NV, kn, x, w + i * ldw, ldw, sums + i * NR);
  for (; i < n; i++) thin_part(1, NV, kn, x, w + i * ldw, ldw, sums + i * NR);
}

#include "compute/cpu/pack_impl.h"

/* ---- sums along a row: 16 lanes, folded in halves ---- */

static inline float fold(float *s) {
  for (int h = LANES / 2; h > 0; h /= 2)
    for (int i = 0; i < h; i++) s[i] += s[i + h];
  return s[0];
}

static float dot(const float *a, const float *b, size_t n) {
  float s[LANES] = {0};
  size_t j = 0;
  for (; j + LANES <= n; j += LANES)
    for (int l = 0; l < LANES; l++) s[l] = FMA(a[j + (size_t)l], b[j + (size_t)l], s[l]);
  for (; j < n; j++) s[j % LANES] = FMA(a[j], b[j], s[j % LANES]);
  return fold(s);
}

static double sum_squares(const float *x, size_t n) {
  double s[LANES] = {0};
  size_t j = 0;
  for (; j + LANES <= n; j += LANES)
    for (int l = 0; l < LANES; l++) s[l] += (double)x[j + (size_t)l] * (double)x[j + (size_t)l];
  for (; j < n; j++) s[j % LANES] += (double)x[j] * (double)x[j];
  for (int h = LANES / 2; h > 0; h /= 2)
    for (int i = 0; i < h; i++) s[i] += s[i + h];
  return s[0];
}

/* ---- exponentials ---- */

/* exp(x), relative error below 1.2e-7; 0 under -87.3, no overflow handling above 88.7 (callers subtract a max).
 * x = k ln2 + r, Cephes' degree-5 polynomial for exp(r). NaN stays NaN. */
static inline float exp_one(float x) {
  float low = x < -87.3f ? -87.3f : x;
  low = low > 88.7f ? 88.7f : low;
  float k = __builtin_rintf(low * 1.44269504088896341f);
  float r = FMA(k, -0.693359375f, low);
  r = FMA(k, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = FMA(p, r, 1.3981999507e-3f);
  p = FMA(p, r, 8.3334519073e-3f);
  p = FMA(p, r, 4.1665795894e-2f);
  p = FMA(p, r, 1.6666665459e-1f);
  p = FMA(p, r, 5.0000001201e-1f);
  p = FMA(p, r * r, r + 1.0f);
  union {
    int32_t i;
    float f;
  } two = {.i = ((int32_t)k + 127) * (1 << 23)};
  float y = p * two.f;
  return x < -87.3f ? 0.0f : x == x ? y : x;
}

static inline float sigmoid_one(float x) { return 1.0f / (1.0f + exp_one(-x)); }
static inline float tanh_one(float x) {
  float e = exp_one(-2.0f * fabsf(x)), t = (1.0f - e) / (1.0f + e);
  /* for small |x| the quotient cancels: x - x³/3 + 2x⁵/15 */
  float q = x * x, small = fabsf(x) * (1.0f + q * (-0.333333333f + q * 0.133333333f));
  t = fabsf(x) < 0.04f ? small : t;
  return x < 0 ? -t : t;
}

static void round_bf16(float *x, size_t n) {
  for (size_t j = 0; j < n; j++) x[j] = half_from_bf16(half_to_bf16(x[j]));
}

static float row_max(const float *x, size_t n) {
  float s[LANES];
  for (int l = 0; l < LANES; l++) s[l] = -INFINITY;
  size_t j = 0;
  for (; j + LANES <= n; j += LANES)
    for (int l = 0; l < LANES; l++) s[l] = x[j + (size_t)l] > s[l] ? x[j + (size_t)l] : s[l];
  for (; j < n; j++) s[j % LANES] = x[j] > s[j % LANES] ? x[j] : s[j % LANES];
  for (int l = 1; l < LANES; l++) s[0] = s[l] > s[0] ? s[l] : s[0];
  return s[0];
}

static void softcap(float *x, size_t n, float cap) {
  for (size_t j = 0; j < n; j++) x[j] = cap * tanh_one(x[j] / cap);
}

static float exp_sum(float *x, size_t n, float max) {
  float s[LANES] = {0};
  for (size_t j = 0; j < n; j++) x[j] = exp_one(x[j] - max);
  size_t j = 0;
  for (; j + LANES <= n; j += LANES)
    for (int l = 0; l < LANES; l++) s[l] += x[j + (size_t)l];
  for (; j < n; j++) s[j % LANES] += x[j];
  return fold(s);
}

static void scale(float *x, size_t n, float s) {
  for (size_t j = 0; j < n; j++) x[j] *= s;
}

static void axpy(float *restrict y, float s, const float *restrict x, size_t n) {
  for (size_t j = 0; j < n; j++) y[j] = FMA(s, x[j], y[j]);
}

static void add(float *restrict y, const float *restrict x, size_t n) {
  for (size_t j = 0; j < n; j++) y[j] += x[j];
}

/* 32 bits for column j: multiply-and-shift rounds, which every level has for whole vectors. */
static inline uint32_t column_hash(uint32_t j, uint32_t lo, uint32_t hi) {
  uint32_t z = j * 0x9e3779b9u + lo;
  z = (z ^ (z >> 16)) * 0x7feb352du;
  z = ((z ^ (z >> 15)) + hi) * 0x846ca68bu;
  return z ^ (z >> 16);
}
static void dropout(float *restrict y, const float *restrict x, uint64_t row, uint32_t below, float s, size_t n,
                    bool acc) {
  uint32_t lo = (uint32_t)row, hi = (uint32_t)(row >> 32), count = (uint32_t)n;
  if (acc)
    for (uint32_t j = 0; j < count; j++) y[j] += column_hash(j, lo, hi) < below ? 0.0f : x[j] * s;
  else
    for (uint32_t j = 0; j < count; j++) y[j] = column_hash(j, lo, hi) < below ? 0.0f : x[j] * s;
}

static void softmax_dx(float *restrict dp, const float *restrict p, const float *restrict s, float delta, float sc,
                       float cap, size_t n) {
  if (cap > 0)
    for (size_t j = 0; j < n; j++) {
      float t = s[j] / cap;
      dp[j] = p[j] * (dp[j] - delta) * (1.0f - t * t) * sc;
    }
  else
    for (size_t j = 0; j < n; j++) dp[j] = p[j] * (dp[j] - delta) * sc;
}

/* ---- norms, rotary, activations ---- */

static void rmsnorm(float *y, const float *x, const float *restrict w, float offset, float eps, size_t n,
                    float *rstd) {
  float r = 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);
#pragma GCC ivdep
  for (size_t j = 0; j < n; j++) y[j] = x[j] * r * (w[j] + offset);
  if (rstd) *rstd = r;
}

static void rmsnorm_dx(float *dx, const float *dy, const float *restrict x, const float *restrict w, float offset,
                       float r, size_t n, bool acc) {
  float s[LANES] = {0};
  size_t j = 0;
  for (; j + LANES <= n; j += LANES)
    for (int l = 0; l < LANES; l++) {
      size_t i = j + (size_t)l;
      s[l] = FMA(dy[i] * (w[i] + offset), x[i], s[l]);
    }
  for (; j < n; j++) s[j % LANES] = FMA(dy[j] * (w[j] + offset), x[j], s[j % LANES]);
  float c = fold(s) * r * r / (float)n;
  if (acc)
#pragma GCC ivdep
    for (j = 0; j < n; j++) dx[j] += r * (dy[j] * (w[j] + offset) - x[j] * c);
  else
#pragma GCC ivdep
    for (j = 0; j < n; j++) dx[j] = r * (dy[j] * (w[j] + offset) - x[j] * c);
}

static void rmsnorm_dw(float *restrict dw, const float *restrict dy, const float *restrict x, float r, size_t n) {
  for (size_t j = 0; j < n; j++) dw[j] = FMA(dy[j] * r, x[j], dw[j]);
}

static inline float row_sum(const float *x, size_t n) {
  float s[LANES] = {0};
  for (size_t j = 0; j < n; j++) s[j % LANES] += x[j];
  return fold(s);
}

static void layernorm(float *y, const float *x, const float *restrict w, const float *restrict b, float offset,
                      float eps, size_t n, float stats[2]) {
  float mean = row_sum(x, n) / (float)n, s[LANES] = {0};
  for (size_t j = 0; j < n; j++) s[j % LANES] = FMA(x[j] - mean, x[j] - mean, s[j % LANES]);
  float r = 1.0f / sqrtf(fold(s) / (float)n + eps);
#pragma GCC ivdep
  for (size_t j = 0; j < n; j++) y[j] = FMA((x[j] - mean) * r, w[j] + offset, b[j]);
  stats[0] = mean;
  stats[1] = r;
}

static void layernorm_dx(float *dx, const float *dy, const float *restrict x, const float *restrict w, float offset,
                         const float stats[2], size_t n, bool acc) {
  float s[LANES] = {0}, p[LANES] = {0}, mean = stats[0], r = stats[1];
  for (size_t j = 0; j < n; j++) {
    float g = dy[j] * (w[j] + offset);
    s[j % LANES] += g;
    p[j % LANES] = FMA(g, (x[j] - mean) * r, p[j % LANES]);
  }
  float gm = fold(s) / (float)n, gx = fold(p) / (float)n;
#pragma GCC ivdep
  for (size_t j = 0; j < n; j++) {
    float d = r * (dy[j] * (w[j] + offset) - gm - (x[j] - mean) * r * gx);
    dx[j] = acc ? dx[j] + d : d;
  }
}

static void layernorm_dw(float *restrict dw, const float *restrict dy, const float *restrict x,
                         const float stats[2], size_t n) {
  float mean = stats[0], r = stats[1];
  for (size_t j = 0; j < n; j++) dw[j] = FMA(dy[j] * r, x[j] - mean, dw[j]);
}

static const float GELU_C = 0.7978845608028654f; /* sqrt(2/pi) */

static void gated(float *restrict y, const float *restrict g, const float *restrict u, size_t n, activation act) {
  if (act == ACT_SILU)
    for (size_t j = 0; j < n; j++) y[j] = g[j] * sigmoid_one(g[j]) * u[j];
  else if (act == ACT_RELU2)
    for (size_t j = 0; j < n; j++) y[j] = g[j] > 0 ? g[j] * g[j] : 0;
  else if (act == ACT_RELU)
    for (size_t j = 0; j < n; j++) y[j] = g[j] > 0 ? g[j] : 0;
  else
    for (size_t j = 0; j < n; j++) {
      float x = g[j], t = tanh_one(GELU_C * (x + 0.044715f * x * x * x));
      y[j] = 0.5f * x * (1.0f + t) * u[j];
    }
}

/* A loop for each activation: a choice within it would keep the compiler from vectors. */
static inline void gated_slopes(float *dg, float *du, const float *dy, const float *g, const float *u, size_t n,
                                const bool silu) {
#pragma GCC ivdep
  for (size_t j = 0; j < n; j++) {
    float x = g[j], d = dy[j], up = u[j], value, slope;
    if (silu) {
      float s = sigmoid_one(x);
      value = x * s;
      slope = s * (1.0f + x * (1.0f - s));
    } else {
      float t = tanh_one(GELU_C * (x + 0.044715f * x * x * x));
      value = 0.5f * x * (1.0f + t);
      slope = 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * GELU_C * (1.0f + 3.0f * 0.044715f * x * x);
    }
    du[j] = d * value;
    dg[j] = d * up * slope;
  }
}

/* dgate may be gate, dup may be up. */
static void gated_bwd(float *dg, float *du, const float *dy, const float *g, const float *u, size_t n,
                      activation act) {
  if (act == ACT_SILU)
    gated_slopes(dg, du, dy, g, u, n, true);
  else if (act_is_gated(act))
    gated_slopes(dg, du, dy, g, u, n, false);
  else
#pragma GCC ivdep
    for (size_t j = 0; j < n; j++) dg[j] = g[j] > 0 ? (act == ACT_RELU ? dy[j] : 2 * dy[j] * g[j]) : 0;
}

static void rope(float *x, const float *c, const float *s, size_t half, float sign) {
#pragma GCC ivdep
  for (size_t i = 0; i < half; i++) {
    float a = x[i], b = x[i + half], sn = s[i] * sign;
    x[i] = a * c[i] - b * sn;
    x[i + half] = b * c[i] + a * sn;
  }
}

static void adamw(float *restrict w, float *restrict g, float *restrict m, float *restrict v, const adamw_step *o,
                  float clip, size_t n) {
  const float b1 = (float)o->beta1, b2 = (float)o->beta2, c1 = (float)(1 - o->beta1), c2 = (float)(1 - o->beta2),
              decay = (float)(1 - o->lr * o->weight_decay), step = (float)(o->lr / o->bias1),
              root = (float)(1 / sqrt(o->bias2)), eps = (float)o->eps;
  for (size_t i = 0; i < n; i++) {
    float gi = g[i] * clip;
    m[i] = b1 * m[i] + c1 * gi;
    v[i] = b2 * v[i] + c2 * gi * gi;
    w[i] = w[i] * decay - step * m[i] / (sqrtf(v[i]) * root + eps);
  }
}

/* Eight-bit moments: |x| / scale as the bits of a float cut to 3 bits of mantissa, so that 1 is the largest code.
 */
enum { TOP8 = 127 << 3, M_ZERO8 = TOP8 - 127, V_ZERO8 = TOP8 - 255, CUT8 = 20 };

static inline float float_of(uint32_t bits) {
  union {
    uint32_t i;
    float f;
  } x = {bits};
  return x.f;
}
static inline float decode8(uint32_t code, uint32_t zero) { return code ? float_of((code + zero) << CUT8) : 0.0f; }
/* noise: CUT8 random bits; the code below or above, in proportion to the nearness. */
static inline uint32_t encode8(float x, uint32_t zero, uint32_t noise) {
  union {
    float f;
    uint32_t i;
  } bits = {x};
  uint32_t r = (bits.i + noise) >> CUT8;
  return r > zero ? r - zero : 0;
}
static inline uint32_t mix(uint32_t x) { /* an invertible hash: two rounds of xor-shift and odd multiplication */
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ x >> 16;
}

static void adamw8(float *restrict w, float *restrict g, uint8_t *restrict mq, float *m_scale, uint8_t *restrict vq,
                   float *v_scale, const adamw_step *o, float clip, uint32_t seed, size_t n) {
  float m[ADAMW8_BLOCK], v[ADAMW8_BLOCK], m_top[LANES] = {0}, v_top[LANES] = {0};
  for (size_t i = 0; i < n; i++) {
    float size = decode8(mq[i] & 127u, M_ZERO8) * *m_scale;
    m[i] = mq[i] & 128u ? -size : size;
    v[i] = decode8(vq[i], V_ZERO8) * *v_scale;
  }
  adamw(w, g, m, v, o, clip, n);
  for (size_t i = 0; i < n; i++) {
    float a = fabsf(m[i]);
    m_top[i % LANES] = a > m_top[i % LANES] ? a : m_top[i % LANES];
    v_top[i % LANES] = v[i] > v_top[i % LANES] ? v[i] : v_top[i % LANES];
  }
  *m_scale = row_max(m_top, LANES);
  *v_scale = row_max(v_top, LANES);
  float ms = *m_scale > 0 ? *m_scale : 1, vs = *v_scale > 0 ? *v_scale : 1;
  for (size_t i = 0; i < n; i++) {
    uint32_t h = mix(seed + (uint32_t)i);
    uint32_t code = encode8(fabsf(m[i]) / ms, M_ZERO8, h >> (32 - CUT8));
    mq[i] = (uint8_t)(m[i] < 0 ? code | 128u : code);
    vq[i] = (uint8_t)encode8(v[i] / vs, V_ZERO8, mix(h ^ 0x9e3779b9U) >> (32 - CUT8));
  }
}

#define TABLE_NAME2(level) kernels_##level
#define TABLE_NAME(level)  TABLE_NAME2(level)
const kernels TABLE_NAME(LEVEL) = {
    .mr = MR,
    .nr = NR,
    .pack = pack,
    .tile = tile,
    .thin = thin,
    .transpose = transpose,
    .widen = widen,
    .round_bf16 = round_bf16,
    .dot = dot,
    .row_max = row_max,
    .softcap = softcap,
    .exp_sum = exp_sum,
    .scale = scale,
    .dropout = dropout,
    .rmsnorm = rmsnorm,
    .rmsnorm_dx = rmsnorm_dx,
    .rmsnorm_dw = rmsnorm_dw,
    .layernorm = layernorm,
    .layernorm_dx = layernorm_dx,
    .layernorm_dw = layernorm_dw,
    .gated = gated,
    .gated_bwd = gated_bwd,
    .add = add,
    .axpy = axpy,
    .softmax_dx = softmax_dx,
    .rope = rope,
    .adamw = adamw,
    .adamw8 = adamw8,
    .sum_squares = sum_squares,
};
