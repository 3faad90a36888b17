/* attention.cu - attention's launchers, the sums that its backward pass begins with, and the exact mode: f32 all
 * through, a warp a query (or a key) at a time, for comparisons and not for speed. The exact mode keeps its bits by
 * the rules of attention_tile.h, with tiles of 32 keys. */
#include "compute/cuda/attention_tile.h"

void attention_forward_bf16(const attention_call *c);
void attention_backward_queries(const attention_call *c);
void attention_backward_keys(const attention_call *c);

static __device__ __forceinline__ float bf16_float(uint32_t high) {
  float f;
  memcpy(&f, &high, sizeof f);
  return f;
}
static __device__ __forceinline__ float dot_of_piece(uint4 x, uint4 y, float sum) {
  const uint32_t u[4] = {x.x, x.y, x.z, x.w}, v[4] = {y.x, y.y, y.z, y.w};
  UNROLL
  for (int i = 0; i < 4; i++) {
    sum = fmaf(bf16_float(u[i] << 16), bf16_float(v[i] << 16), sum);
    sum = fmaf(bf16_float(u[i] & 0xffff0000u), bf16_float(v[i] & 0xffff0000u), sum);
  }
  return sum;
}

/* ---- delta[rows, Q] = dO·o: 16 threads a head of a row, 8 columns each at a time ---- */

enum { DELTA_THREADS = 256, DELTA_HEADS = DELTA_THREADS / 16 };
static __global__ void attention_delta_kernel(const attention_args a, float *delta, int64_t n) {
  const int64_t head = (int64_t)blockIdx.x * DELTA_HEADS + threadIdx.x / 16, row = head / a.q_heads;
  const int column = (int)(head % a.q_heads) * a.head_dim;
  float sum = 0;
  for (int c = threadIdx.x % 16 * 8; c < a.head_dim && head < n; c += 128)
    sum = dot_of_piece(*(const uint4 *)(a.d_o + row * a.lddo + column + c),
                       *(const uint4 *)(a.o_in + row * a.ldo + column + c), sum);
  for (int x = 8; x > 0; x >>= 1) sum += __shfl_xor_sync(~0u, sum, x);
  if (threadIdx.x % 16 == 0 && head < n) delta[head] = sum;
}

static __device__ __forceinline__ float warp_sum(float x) {
  for (int i = 16; i > 0; i >>= 1) x += __shfl_xor_sync(~0u, x, i);
  return x;
}
static __device__ __forceinline__ float warp_max(float x) {
  for (int i = 16; i > 0; i >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
  return x;
}

static __global__ void attention_exact_delta_kernel(const attention_args a, float *delta) {
  const float *const d_o = (const float *)a.d_o, *const o = (const float *)a.o_in;
  const int64_t row = blockIdx.x / a.q_heads;
  const int column = (int)(blockIdx.x % a.q_heads) * a.head_dim;
  float sum = 0;
  for (int c = threadIdx.x; c < a.head_dim; c += 32)
    sum = fmaf(d_o[row * a.lddo + column + c], o[row * a.ldo + column + c], sum);
  sum = warp_sum(sum);
  if (threadIdx.x == 0) delta[blockIdx.x] = sum;
}

/* ---- the exact mode ---- */

enum { EXACT_WARPS = 8, EXACT_THREADS = 32 * EXACT_WARPS, EXACT_COLUMNS = 8 /* a thread's: 256 / 32 */ };

static __device__ __forceinline__ float dot(const float *x, const float *y, int n) {
  float sum = 0;
  for (int i = 0; i < n; i++) sum = fmaf(x[i], y[i], sum);
  return sum;
}
/* The capped score, and its derivative by q·k without the scale. */
static __device__ __forceinline__ float exact_score(float dot, float cap, const attention_args &a, float *slope) {
  *slope = 1;
  if (cap == 0.0f) return dot * a.scale;
  const float t = tanhf(dot * a.scale / cap);
  *slope = fmaf(-t, t, 1.0f);
  return cap * t;
}
/* sum[i] += w[j] · x[j, column], for columns lane + 32 i and the first n rows, whose places `row` gives. */
template <class F>
static __device__ __forceinline__ void add_rows(float (&sum)[EXACT_COLUMNS], const float *w, int n, int d, F row) {
  for (int j = 0; j < n; j++) {
    const float *const x = row(j);
    UNROLL
    for (int i = 0; i < EXACT_COLUMNS; i++) {
      const int c = threadIdx.x % 32 + 32 * i;
      if (c < d) sum[i] = fmaf(w[j], x[c], sum[i]);
    }
  }
}
static __device__ __forceinline__ void put_columns(float *dst, const float (&x)[EXACT_COLUMNS], float factor,
                                                   int d) {
  UNROLL
  for (int i = 0; i < EXACT_COLUMNS; i++) {
    const int c = threadIdx.x % 32 + 32 * i;
    if (c < d) dst[c] = x[i] * factor;
  }
}

/* A tile's queries go to the block's warps in turn; a lane has a key of 32. BACKWARD: dq instead of o. */
template <bool BACKWARD>
static __global__ void attention_exact_queries_kernel(const attention_args a, float cap) {
  SHARED(smem);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = blockIdx.x % a.kv_heads, d = a.head_dim;
  float *const weights = (float *)smem + warp * 32;
  const attention_tile tile = a.tiles[blockIdx.x / a.kv_heads];
  const attention_stretch s = a.stretches[tile.stretch];
  const float *const qkv = (const float *)a.qkv;
  const int keys = (a.q_heads + group) * d, values = keys + a.kv_heads * d; /* columns */
  for (int m = tile.at + warp; m < tile.at + ATTENTION_QUERIES && m < s.len * a.share; m += EXACT_WARPS) {
    const int at = row_of_query(a, m), head = group * a.share + m - at * a.share, pos = s.base + at;
    const int from = a.window > 0 && pos >= a.window ? pos + 1 - a.window : 0;
    const int64_t row = s.first + at;
    const float *const q = qkv + row * a.ld + head * d;
    const float *const d_o = BACKWARD ? (const float *)a.d_o + row * a.lddo + head * d : NULL;
    const float log_sum = BACKWARD ? a.lse_in[row * a.q_heads + head] : 0;
    const float delta = BACKWARD ? a.delta[row * a.q_heads + head] : 0;
    float top = -INFINITY, sum = 0, acc[EXACT_COLUMNS] = {0};
    for (int key0 = from / 32 * 32; key0 <= pos; key0 += 32) {
      const int key = key0 + lane;
      const bool seen = key >= from && key <= pos;
      float score = -INFINITY, slope = 0, weight;
      if (seen) score = exact_score(dot(q, key_at<float, !BACKWARD>(a, s, key, keys), d), cap, a, &slope);
      if (BACKWARD) {
        weight = seen ? expf(score - log_sum) * (dot(d_o, key_at<float, !BACKWARD>(a, s, key, values), d) - delta) *
                            slope
                      : 0.0f;
      } else {
        const float m_new = fmaxf(top, warp_max(score)), base = m_new == -INFINITY ? 0.0f : m_new;
        const float factor = expf(top - base);
        weight = expf(score - base);
        sum = fmaf(sum, factor, warp_sum(weight));
        top = m_new;
        for (int i = 0; i < EXACT_COLUMNS; i++) acc[i] *= factor;
      }
      weights[lane] = weight;
      __syncwarp();
      add_rows(acc, weights, pos + 1 - key0 < 32 ? pos + 1 - key0 : 32, d,
               [&](int j) { return key_at<float, !BACKWARD>(a, s, key0 + j, BACKWARD ? keys : values); });
      __syncwarp();
    }
    if (BACKWARD) {
      put_columns((float *)a.dqkv + row * a.ldd + head * d, acc, a.scale, d);
    } else {
      put_columns((float *)a.o + row * a.ldo + head * d, acc, 1.0f / sum, d);
      if (a.lse && lane == 0) a.lse[row * a.q_heads + head] = top + logf(sum);
    }
  }
}

/* A tile's keys go to the block's warps in turn; a lane has a query of 32. */
static __global__ void attention_exact_keys_kernel(const attention_args a, float cap) {
  SHARED(smem);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = blockIdx.x % a.kv_heads, d = a.head_dim;
  float *const weights = (float *)smem + warp * 64, *const slopes = weights + 32;
  const attention_tile tile = a.tiles[blockIdx.x / a.kv_heads];
  const attention_stretch own = a.stretches[tile.stretch];
  const float *const qkv = (const float *)a.qkv, *const d_o = (const float *)a.d_o;
  const int column = (a.q_heads + group) * d;
  for (int at = tile.at + warp; at < tile.at + ATTENTION_KEYS && at < own.len; at += EXACT_WARPS) {
    const int64_t row = own.first + at;
    const int pos = own.base + at;
    const float *const key = qkv + row * a.ld + column, *const value = key + a.kv_heads * d;
    float dk[EXACT_COLUMNS] = {0}, dv[EXACT_COLUMNS] = {0};
    for (int number = tile.stretch; number <= tile.stretch + own.children; number++) {
      const attention_stretch s = a.stretches[number];
      const int from = pos > s.base ? pos - s.base : 0, to = pos + a.window - s.base;
      const int end = (a.window > 0 && to < s.len ? to : s.len) * a.share;
      for (int m0 = from * a.share; m0 < end; m0 += 32) {
        const auto place = [&](int m, int64_t ld) {
          const int at_query = row_of_query(a, m);
          return (s.first + at_query) * ld + (group * a.share + m - at_query * a.share) * d;
        };
        float weight = 0, slope = 0;
        if (m0 + lane < end) {
          const int64_t fact = place(m0 + lane, (int64_t)a.q_heads * d) / d;
          const float score = exact_score(dot(qkv + place(m0 + lane, a.ld), key, d), cap, a, &slope);
          weight = expf(score - a.lse_in[fact]);
          slope *= weight * (dot(d_o + place(m0 + lane, a.lddo), value, d) - a.delta[fact]);
        }
        weights[lane] = weight;
        slopes[lane] = slope;
        __syncwarp();
        const int n = end - m0 < 32 ? end - m0 : 32;
        add_rows(dv, weights, n, d, [&](int j) { return d_o + place(m0 + j, a.lddo); });
        add_rows(dk, slopes, n, d, [&](int j) { return qkv + place(m0 + j, a.ld); });
        __syncwarp();
      }
    }
    float *const to = (float *)a.dqkv + row * a.ldd + column;
    put_columns(to, dk, a.scale, d);
    put_columns(to + a.kv_heads * d, dv, 1.0f, d);
  }
}

/* ---- launchers ---- */

bool attention_takes(const attention_shape *s, tensor_type type) {
  return s->head_dim <= 256 && s->kv_heads > 0 && s->q_heads % s->kv_heads == 0 && s->scale > 0 &&
         (type == T_F32 || (type == T_BF16 && s->head_dim % 8 == 0));
}

void attention_forward(const attention_call *c) {
  if (c->plan->n_query_tiles == 0) return;
  if (c->type == T_BF16) {
    attention_forward_bf16(c);
    return;
  }
  attention_args a = attention_args_of(c);
  const unsigned blocks = (unsigned)(c->plan->n_query_tiles * c->shape->kv_heads);
  const cudaStream_t stream = (cudaStream_t)(uintptr_t)c->stream;
  a.tiles = query_tiles_of(c);
  LAUNCH(attention_exact_queries_kernel<false>, blocks, EXACT_THREADS, EXACT_WARPS * 32 * sizeof(float), stream, a,
         c->shape->softcap);
}

void attention_backward(const attention_call *c) {
  if (c->plan->n_query_tiles == 0) return;
  attention_args a = attention_args_of(c);
  const cudaStream_t stream = (cudaStream_t)(uintptr_t)c->stream;
  const size_t heads = c->rows * c->shape->q_heads, groups = c->shape->kv_heads;
  if (c->type == T_BF16) {
    LAUNCH(attention_delta_kernel, (unsigned)((heads + DELTA_HEADS - 1) / DELTA_HEADS), DELTA_THREADS, (size_t)0,
           stream, a, c->delta, (int64_t)heads);
    attention_backward_queries(c);
    attention_backward_keys(c);
    return;
  }
  LAUNCH(attention_exact_delta_kernel, (unsigned)heads, 32, (size_t)0, stream, a, c->delta);
  a.tiles = query_tiles_of(c);
  LAUNCH(attention_exact_queries_kernel<true>, (unsigned)(c->plan->n_query_tiles * groups), EXACT_THREADS,
         EXACT_WARPS * 32 * sizeof(float), stream, a, c->shape->softcap);
  a.tiles = key_tiles_of(c);
  LAUNCH(attention_exact_keys_kernel, (unsigned)(c->plan->n_key_tiles * groups), EXACT_THREADS,
         EXACT_WARPS * 64 * sizeof(float), stream, a, c->shape->softcap);
}
