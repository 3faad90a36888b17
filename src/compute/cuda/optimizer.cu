/* optimizer.cu - AdamW on trained tensors, their values to and from the host, sums of squares, the first bad value.
 *
 * The formulas and the 8-bit codes are those of compute/cpu; every value's update depends on its own index alone.
 */
#include <math.h>

#include "compute/cuda/cuda.h"
#include "compute/cuda/vec.h"

enum { BLOCK = 256 };

/* ---- a trained value: f32; bf16 and the low half; bf16 rounded at random (trained.h) ---- */

struct masters {
  void *value;
  int16_t *low;
  bool f32;
};
static masters masters_of(master w) { return {w.value, w.low, w.type == T_F32}; }

/* Eight 16-bit or 8-bit values as they lie; V as in vec.h. */
template <bool V>
static __device__ __forceinline__ void load_raw(uint16_t to[8], const void *p, int left) {
  UNROLL
  for (int k = 0; k < 8 && !V; k++) to[k] = k < left ? ((const uint16_t *)p)[k] : 0;
  if (V) memcpy(to, __builtin_assume_aligned(p, 16), 16);
}
template <bool V>
static __device__ __forceinline__ void store_raw(void *p, const uint16_t from[8], int left) {
  UNROLL
  for (int k = 0; k < 8 && !V; k++)
    if (k < left) ((uint16_t *)p)[k] = from[k];
  if (V) memcpy(__builtin_assume_aligned(p, 16), from, 16);
}
template <bool V>
static __device__ __forceinline__ void load_codes(uint8_t to[8], const uint8_t *p, int left) {
  UNROLL
  for (int k = 0; k < 8 && !V; k++) to[k] = k < left ? p[k] : 0;
  if (V) memcpy(to, __builtin_assume_aligned(p, 8), 8);
}
template <bool V>
static __device__ __forceinline__ void store_codes(uint8_t *p, const uint8_t from[8], int left) {
  UNROLL
  for (int k = 0; k < 8 && !V; k++)
    if (k < left) p[k] = from[k];
  if (V) memcpy(__builtin_assume_aligned(p, 8), from, 8);
}

template <bool V>
static __device__ __forceinline__ f8 load_masters(const masters &w, size_t i, int left) {
  if (w.f32) return load8<V>((const float *)w.value + i, left);
  uint16_t high[8], low[8] = {};
  f8 x;
  load_raw<V>(high, (const uint16_t *)w.value + i, left);
  if (w.low) load_raw<V>(low, w.low + i, left);
  UNROLL
  for (int k = 0; k < 8; k++) x.v[k] = bits_float(((uint32_t)high[k] << 16) + (uint32_t)(int32_t)(int16_t)low[k]);
  return x;
}
/* noise[k]: what is added before the low 16 bits are cut off, where there is no low half to keep them. */
template <bool V>
static __device__ __forceinline__ void store_masters(const masters &w, size_t i, const f8 &x,
                                                     const uint32_t noise[8], int left) {
  if (w.f32) {
    store8<V>((float *)w.value + i, x, left);
    return;
  }
  uint16_t high[8], low[8];
  UNROLL
  for (int k = 0; k < 8; k++) {
    const uint32_t u = float_bits(x.v[k]), h = (u + (w.low ? 0x8000u : noise[k])) >> 16;
    high[k] = (uint16_t)h;
    low[k] = (uint16_t)(u - (h << 16));
  }
  store_raw<V>((uint16_t *)w.value + i, high, left);
  if (w.low) store_raw<V>(w.low + i, low, left);
}

static __device__ __forceinline__ uint32_t mix32(uint32_t x) { /* compute/cpu's */
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ x >> 16;
}
static __device__ __forceinline__ uint32_t value_noise(uint32_t h) { return mix32(h ^ 0x85ebca6bU) >> 16; }

/* ---- AdamW ---- */

struct adamw_terms {
  float b1, b2, c1, c2, decay, step, root, eps, clip;
  uint32_t seed;
};
static adamw_terms adamw_of(const adamw_step *o, float clip) {
  return {(float)o->beta1,
          (float)o->beta2,
          (float)(1 - o->beta1),
          (float)(1 - o->beta2),
          (float)(1 - o->lr * o->weight_decay),
          (float)(o->lr / o->bias1),
          (float)(1 / sqrt(o->bias2)),
          (float)o->eps,
          clip,
          (uint32_t)(o->t * 0x9e3779b97f4a7c15U >> 32) + (uint32_t)o->first};
}
static __device__ __forceinline__ void adamw_update(const adamw_terms &a, float &w, float g, float &m, float &v) {
  const float gi = g * a.clip;
  m = a.b1 * m + a.c1 * gi;
  v = a.b2 * v + a.c2 * gi * gi;
  w = w * a.decay - a.step * m / (sqrtf(v) * a.root + a.eps);
}

template <bool V>
__global__ void __launch_bounds__(BLOCK)
    adamw_kernel(masters w, const float *g, float *m, float *v, size_t n, adamw_terms a) {
  const size_t i = ((size_t)blockIdx.x * BLOCK + threadIdx.x) * 8;
  if (i >= n) return;
  const int left = n - i < 8 ? (int)(n - i) : 8;
  f8 wv = load_masters<V>(w, i, left), gv = load8<V>(g + i, left), mv = load8<V>(m + i, left),
     vv = load8<V>(v + i, left);
  uint32_t noise[8];
  UNROLL
  for (int k = 0; k < 8; k++) {
    adamw_update(a, wv.v[k], gv.v[k], mv.v[k], vv.v[k]);
    noise[k] = value_noise(mix32(a.seed + (uint32_t)(i + k)));
  }
  store_masters<V>(w, i, wv, noise, left);
  store8<V>(m + i, mv, left);
  store8<V>(v + i, vv, left);
}

/* Eight-bit moments: |x| / scale as the bits of a float cut to 3 bits of mantissa, so that 1 is the largest code.
 */
enum { TOP8 = 127 << 3, M_ZERO8 = TOP8 - 127, V_ZERO8 = TOP8 - 255, CUT8 = 20 };
static __device__ __forceinline__ float decode8(uint32_t code, uint32_t zero) {
  return code ? bits_float((code + zero) << CUT8) : 0.0f;
}
static __device__ __forceinline__ uint32_t encode8(float x, uint32_t zero, uint32_t noise) {
  const uint32_t r = (float_bits(x) + noise) >> CUT8;
  return r > zero ? r - zero : 0;
}
/* A warp a block of ADAMW8_BLOCK values, 8 a lane. V: all blocks are whole. */
template <bool V>
__global__ void __launch_bounds__(BLOCK)
    adamw8_kernel(masters w, const float *g, adamw8_state ms, adamw8_state vs, size_t n, adamw_terms a) {
  const size_t block = (size_t)blockIdx.x * (BLOCK / 32) + threadIdx.x / 32,
               i = block * ADAMW8_BLOCK + threadIdx.x % 32 * 8;
  if (block * ADAMW8_BLOCK >= n) return; /* a whole warp */
  const int left = i >= n ? 0 : n - i < 8 ? (int)(n - i) : 8;
  const float m_scale = ms.scale[block], v_scale = vs.scale[block];
  uint8_t mc[8], vc[8];
  load_codes<V>(mc, ms.code + i, left);
  load_codes<V>(vc, vs.code + i, left);
  f8 wv = load_masters<V>(w, i, left), gv = load8<V>(g + i, left), mv, vv;
  float m_top = 0, v_top = 0;
  UNROLL
  for (int k = 0; k < 8; k++) {
    const float size = decode8(mc[k] & 127u, M_ZERO8) * m_scale;
    mv.v[k] = mc[k] & 128u ? -size : size;
    vv.v[k] = decode8(vc[k], V_ZERO8) * v_scale;
    adamw_update(a, wv.v[k], gv.v[k], mv.v[k], vv.v[k]);
    m_top = fmaxf(m_top, fabsf(mv.v[k])); /* beyond n all is 0 */
    v_top = fmaxf(v_top, vv.v[k]);
  }
  m_top = warp_max(m_top), v_top = warp_max(v_top);
  __syncwarp(); /* all lanes have read the scales that are replaced */
  if (threadIdx.x % 32 == 0) ms.scale[block] = m_top, vs.scale[block] = v_top;
  const float m_by = m_top > 0 ? m_top : 1.0f, v_by = v_top > 0 ? v_top : 1.0f;
  uint32_t noise[8];
  UNROLL
  for (int k = 0; k < 8; k++) {
    const uint32_t h = mix32(a.seed + (uint32_t)(i + k));
    const uint32_t code = encode8(fabsf(mv.v[k]) / m_by, M_ZERO8, h >> (32 - CUT8));
    noise[k] = value_noise(h);
    mc[k] = (uint8_t)(mv.v[k] < 0 ? code | 128u : code);
    vc[k] = (uint8_t)encode8(vv.v[k] / v_by, V_ZERO8, mix32(h ^ 0x9e3779b9U) >> (32 - CUT8));
  }
  store_masters<V>(w, i, wv, noise, left);
  store_codes<V>(ms.code + i, mc, left);
  store_codes<V>(vs.code + i, vc, left);
}

static bool wide_masters(master w, const float *g) {
  return cuda_aligned(w.value) && cuda_aligned(w.low) && cuda_aligned(g);
}
static void be_adamw(backend *be, master w, float *g, float *m, float *v, size_t n, const adamw_step *o,
                     float clip) {
  cuda_state *s = cuda_begin(be, "adamw");
  if (!s) return;
  if (n)
    by_flag(n % 8 == 0 && wide_masters(w, g) && cuda_aligned(m) && cuda_aligned(v), [&](auto wide) {
      LAUNCH((adamw_kernel<decltype(wide)::value>), cuda_blocks(n, 8 * BLOCK), BLOCK, 0, s->stream, masters_of(w),
             g, m, v, n, adamw_of(o, clip));
    });
  cuda_end(s);
}
static void be_adamw8(backend *be, master w, float *g, adamw8_state m, adamw8_state v, size_t n,
                      const adamw_step *o, float clip) {
  cuda_state *s = cuda_begin(be, "adamw8");
  if (!s) return;
  if (n)
    by_flag(n % ADAMW8_BLOCK == 0 && wide_masters(w, g) && cuda_aligned(m.code) && cuda_aligned(v.code),
            [&](auto wide) {
              LAUNCH((adamw8_kernel<decltype(wide)::value>), cuda_blocks(n, 8 * BLOCK), BLOCK, 0, s->stream,
                     masters_of(w), g, m, v, n, adamw_of(o, clip));
            });
  cuda_end(s);
}

/* ---- values to and from the host, in runs that pass through scratch ---- */

static const size_t RUN = 1 << 22;

__global__ void __launch_bounds__(BLOCK) split_kernel(masters w, const float *src, size_t n) {
  const size_t i = ((size_t)blockIdx.x * BLOCK + threadIdx.x) * 8;
  if (i >= n) return;
  const int left = n - i < 8 ? (int)(n - i) : 8;
  f8 x = load8<false>(src + i, left);
  uint32_t nearest[8]; /* to even, where nothing keeps the rest */
  UNROLL
  for (int k = 0; k < 8; k++) nearest[k] = 0x7fffu + (float_bits(x.v[k]) >> 16 & 1);
  store_masters<false>(w, i, x, nearest, left);
}
__global__ void __launch_bounds__(BLOCK) join_kernel(float *dst, masters w, size_t n) {
  const size_t i = ((size_t)blockIdx.x * BLOCK + threadIdx.x) * 8;
  if (i >= n) return;
  const int left = n - i < 8 ? (int)(n - i) : 8;
  store8<false>(dst + i, load_masters<false>(w, i, left), left);
}
static masters masters_from(master w, size_t at) {
  return {(char *)w.value + at * type_size(w.type), w.low ? w.low + at : nullptr, w.type == T_F32};
}

static void be_put_master(backend *be, master w, size_t at, const float *src, size_t n) {
  if (w.type == T_F32) {
    be->put(be, (float *)w.value + at, src, n * sizeof *src);
    return;
  }
  for (size_t run; n > 0; n -= run, at += run, src += run) {
    run = n < RUN ? n : RUN;
    cuda_state *s = cuda_begin(be, "put_master");
    float *room = s ? (float *)cuda_scratch(s, run * sizeof *src) : nullptr;
    if (!room) return;
    be->put(be, room, src, run * sizeof *src);
    LAUNCH(split_kernel, cuda_blocks(run, 8 * BLOCK), BLOCK, 0, s->stream, masters_from(w, at), room, run);
    cuda_end(s);
  }
}
static void be_get_master(backend *be, float *dst, master w, size_t at, size_t n) {
  if (w.type == T_F32) {
    be->get(be, dst, (const float *)w.value + at, n * sizeof *dst);
    return;
  }
  for (size_t run; n > 0; n -= run, at += run, dst += run) {
    run = n < RUN ? n : RUN;
    cuda_state *s = cuda_begin(be, "get_master");
    float *room = s ? (float *)cuda_scratch(s, run * sizeof *dst) : nullptr;
    if (!room) return;
    LAUNCH(join_kernel, cuda_blocks(run, 8 * BLOCK), BLOCK, 0, s->stream, room, masters_from(w, at), run);
    cuda_end(s);
    be->get(be, dst, room, run * sizeof *dst);
  }
}

/* ---- reductions ---- */

/* A block of values' sum of squares: each thread's own in order, then a fixed tree. */
__global__ void __launch_bounds__(BLOCK) squares_kernel(double *part, const float *x, size_t n) {
  SHARED(smem);
  const size_t first = (size_t)blockIdx.x * SQUARES_BLOCK,
               end = n - first < SQUARES_BLOCK ? n : first + SQUARES_BLOCK;
  double sum = 0;
  for (size_t i = first + threadIdx.x; i < end; i += BLOCK) {
    const double v = (double)x[i];
    sum += v * v;
  }
  sum = team_sum<BLOCK>(sum, (double *)smem);
  if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

/* The blocks' sums are added in order on the host, as ranks add what each of them has made. */
static double be_sum_squares(backend *be, const float *x, size_t n, double *blocks) {
  cuda_state *s = cuda_begin(be, "sum_squares");
  const size_t parts = (n + SQUARES_BLOCK - 1) / SQUARES_BLOCK;
  if (!s || n == 0) return 0;
  double *part = (double *)cuda_scratch(s, parts * sizeof *part), sum = 0;
  double *got = blocks ? blocks : (double *)mem_zalloc(parts, sizeof *got);
  if (!got) cuda_fail(s, RW_NOMEM, "no memory for the sums of blocks");
  if (part && got) {
    LAUNCH(squares_kernel, (unsigned)parts, BLOCK, BLOCK / 32 * sizeof(double), s->stream, part, x, n);
    cuda_end(s);
    be->get(be, got, part, parts * sizeof *got);
    for (size_t i = 0; i < parts; i++) sum += got[i];
  }
  if (!blocks) mem_free(got);
  return sum;
}

template <class T>
__global__ void __launch_bounds__(BLOCK)
    first_bad_kernel(unsigned long long *first, const T *x, size_t ld, size_t n, size_t total) {
  const size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x;
  if (i >= total) return;
  const float v = to_float(x[i / n * ld + i % n]);
  if (!(fabsf(v) <= 3.4028235e38f)) atomicMin(first, (unsigned long long)i);
}

static size_t be_first_bad(backend *be, mat x, size_t m, size_t n) {
  cuda_state *s = cuda_begin(be, "first_bad");
  unsigned long long *first = s ? (unsigned long long *)cuda_scratch(s, sizeof *first) : nullptr, at = m * n;
  if (!first || m * n == 0) return m * n;
  be->put(be, first, &at, sizeof at);
  by_type(x.type, [&](auto *type) {
    typedef POINTEE(type) T;
    LAUNCH(first_bad_kernel<T>, cuda_blocks(m * n, BLOCK), BLOCK, 0, s->stream, first, (const T *)x.p, x.ld, n,
           m * n);
  });
  cuda_end(s);
  be->get(be, &at, first, sizeof at);
  return (size_t)at;
}

void cuda_optimizer_ops(backend *be) {
  be->adamw = be_adamw;
  be->adamw8 = be_adamw8;
  be->put_master = be_put_master;
  be->get_master = be_get_master;
  be->sum_squares = be_sum_squares;
  be->first_bad = be_first_bad;
}
