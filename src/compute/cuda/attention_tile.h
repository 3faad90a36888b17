/* attention_tile.h - what attention's kernels share: where rows are, tiles in shared memory, products of tiles.
 *
 * Queries. The `share` query heads of a key-value head see the same keys, so a block takes them together: its query
 * number m is row m / share of the stretch and head m % share of the group. Keys are read once for all of them, and
 * short branches fill their blocks.
 *
 * The same bits. What a row gets depends on its own conversation alone:
 *  - A product of tiles computes each of its elements from one row of its left factor and one of its right one, in
 * an order that the element's place does not change. So a row's place among a block's rows, and what is in the
 * other rows, changes nothing.
 *  - Keys go in tiles of KEYS that begin at multiples of KEYS from position 0 of the conversation, whether a row is
 *    in the prompt or in a branch. So a tile holds the same keys for a shared row and for one alone. Keys that a
 * row does not see become an exact zero: exp2 of minus infinity. A tile with none that it sees leaves its maximum
 *    as it is, multiplies its sums by exactly 1 (or, before the first key, zeros by 0) and adds exact zeros. So it
 * does not matter which tiles the other rows of a block make it pass, or which it is spared because none needs
 * them.
 *  - Sums over queries (gradients of keys and values) are one block's: the stretch's own queries in order, then
 * each branch's, in the tree's order. They depend on the tree alone. No sum is divided among blocks and nothing is
 * added atomically.
 *
 * Shared memory. A tile's row of D values is padded to an odd number of 16-byte pieces, so that the eight rows that
 * an ldmatrix reads are in eight different groups of banks. Head sizes between those that kernels are made for are
 * padded by zeros.
 */
#ifndef COMPUTE_CUDA_ATTENTION_TILE_H
#define COMPUTE_CUDA_ATTENTION_TILE_H

#include "compute/cuda/attention.h"
#include "compute/cuda/gpu.h"

/* One kernel's arguments, by value. */
typedef struct {
  const attention_stretch *stretches;
  const attention_tile *tiles;
  const bf16 *qkv, *known, *d_o, *o_in; /* known: keys, then values, of rows that are not computed */
  bf16 *o, *dqkv;
  const float *lse_in, *delta;
  float *lse;
  int64_t ld, ld_known, ldo, lddo, ldd;
  int q_heads, kv_heads, head_dim, share, window;
  uint32_t share_inverse; /* 2^32 / share, rounded up; 0 where share is 1 */
  float scale;
  float exponent; /* scores, capped or not, times this are powers of 2 */
  float cap_in;   /* with a soft cap: 2 log2(e) scale / cap, for its tanh */
} attention_args;

#define LOG2E 1.4426950408889634f

/* Elements from one row of a tile to the next. */
template <int D>
struct tile_of {
  enum { LD = (D / 8 | 1) * 8, PIECES = D / 8 };
};

static __device__ __forceinline__ int row_of_query(const attention_args &a, int m) {
  return a.share_inverse ? (int)((uint64_t)(uint32_t)m * a.share_inverse >> 32) : m;
}

/* The position of query m, or of the stretch's last one where m is beyond it. */
static __device__ __forceinline__ int position_of_query(const attention_args &a, const attention_stretch &s,
                                                        int m) {
  const int row = row_of_query(a, m);
  return s.base + (row < s.len ? row : s.len - 1);
}

/* A row's keys and values at position p of the conversation of s: `column` counts as in qkv. */
template <class T, bool KNOWN>
static __device__ __forceinline__ const T *key_at(const attention_args &a, const attention_stretch &s, int p,
                                                  int column) {
  if (KNOWN && p < s.known) /* no queries there */
    return (const T *)a.known + (s.known_first + p) * a.ld_known + column - a.q_heads * a.head_dim;
  return (const T *)a.qkv + (p + (p < s.base ? s.prompt : s.first - s.base)) * a.ld + column;
}

static __device__ __forceinline__ float reciprocal(float x) {
#ifdef __CUDACC__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}

/* tanh(scale x / cap) with an absolute error of a few 1e-7: the unit's own tanh would leave the scores 11 bits. */
static __device__ __forceinline__ float capped(float x, float cap_in) {
  return fmaf(-2.0f, reciprocal(1.0f + fast_exp2(x * cap_in)), 1.0f);
}

/* A weight and what it is multiplied by in the gradient of its score; score: q·k, minus infinity where the key is
 * not seen; log_sum: of the query's weights, to base 2. */
template <bool CAP>
static __device__ __forceinline__ float weight_of(float score, float log_sum, const attention_args &a,
                                                  float *slope) {
  if (!CAP) return *slope = fast_exp2(fmaf(score, a.exponent, -log_sum));
  const float t = capped(score, a.cap_in), p = fast_exp2(fmaf(t, a.exponent, -log_sum));
  const float weight = score == -INFINITY ? 0.0f : p;
  *slope = weight * fmaf(-t, t, 1.0f);
  return weight;
}

/* Two bf16, lo in the low half. */
static __device__ __forceinline__ uint32_t pair_of(float lo, float hi) {
#ifdef __CUDACC__
  uint32_t u;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(u) : "f"(hi), "f"(lo));
  return u;
#else
  return __float2bfloat16_rn(lo).x | (uint32_t)__float2bfloat16_rn(hi).x << 16;
#endif
}

template <int N>
static __device__ __forceinline__ void clear(float (&x)[N][4]) {
  UNROLL
  for (int i = 0; i < N; i++) {
    UNROLL
    for (int k = 0; k < 4; k++) x[i][k] = 0;
  }
}

/* How a block's threads share out the pieces of a tile: always the same piece of a row, in every ROWS-th row. */
template <int D, int THREADS>
struct copy_of {
  enum { ROWS = THREADS / tile_of<D>::PIECES };
  const int row = threadIdx.x / tile_of<D>::PIECES, column = threadIdx.x % tile_of<D>::PIECES * 8;
};

/* Begins to copy queries m0 .. m0 + N of a stretch, from the columns of the group's first head on; zeros beyond its
 * end. */
template <int D, int N, int THREADS>
static __device__ __forceinline__ void load_queries(const attention_args &a, const attention_stretch &s, bf16 *dst,
                                                    const bf16 *src, int64_t ld, int m0) {
  const copy_of<D, THREADS> part;
  const int end = s.len * a.share;
  UNROLL
  for (int n = 0; n < N; n += part.ROWS) {
    const int r = n + part.row, m = m0 + r, row = row_of_query(a, m), head = m - row * a.share;
    if (part.row < part.ROWS && (n + part.ROWS <= N || r < N))
      cp_async16(dst + r * tile_of<D>::LD + part.column,
                 src + ((s.first + row) * ld + head * a.head_dim + part.column),
                 m < end && part.column < a.head_dim);
  }
}

/* Begins to copy the keys or values at positions p0 .. p0 + N, from `column` on; zeros from position `end` on. */
template <int D, int N, int THREADS, bool KNOWN = false>
static __device__ __forceinline__ void load_keys(const attention_args &a, const attention_stretch &s, bf16 *dst,
                                                 int column, int p0, int end) {
  const copy_of<D, THREADS> part;
  UNROLL
  for (int n = 0; n < N; n += part.ROWS) {
    const int r = n + part.row, p = p0 + r;
    if (part.row < part.ROWS && (n + part.ROWS <= N || r < N))
      cp_async16(dst + r * tile_of<D>::LD + part.column, key_at<bf16, KNOWN>(a, s, p, column + part.column),
                 p < end && part.column < a.head_dim);
  }
}

/* sum[16 M, N] = rows of x · rows of y: M tiles of 16 rows from x on, N rows from y on, D columns each. A thread
 * holds of sum[i][j] rows g and g + 8 of the i-th 16, columns 8 j + 2 t and the next (g = lane / 4, t = lane % 4).
 */
template <int D, int M, int N>
static __device__ __forceinline__ void multiply_rows(float (&sum)[M][N / 8][4], const bf16 *x, const bf16 *y) {
  enum { LD = tile_of<D>::LD };
  const int lane = threadIdx.x % 32;
  x += lane % 16 * LD + lane / 16 * 8;
  y += (lane % 8 + lane / 16 * 8) * LD + lane / 8 % 2 * 8;
  UNROLL
  for (int i = 0; i < M; i++) clear(sum[i]);
  UNROLL
  for (int d = 0; d < D; d += 16) {
    uint32_t fx[M][4], fy[4];
    UNROLL
    for (int i = 0; i < M; i++) ldmatrix4<false>(fx[i], x + i * 16 * LD + d);
    UNROLL
    for (int j = 0; j < N / 16; j++) {
      ldmatrix4<false>(fy, y + j * 16 * LD + d);
      UNROLL
      for (int i = 0; i < M; i++) {
        mma_bf16(sum[i][2 * j], fx[i], fy);
        mma_bf16(sum[i][2 * j + 1], fx[i], fy + 2);
      }
    }
  }
}

/* sum[16 M, D] += w[16 M, N], as pack_weights has it, · the N rows from y on. */
template <int D, int M, int N>
static __device__ __forceinline__ void add_weighed_rows(float (&sum)[M][D / 8][4],
                                                        const uint32_t (&w)[M][N / 16][4], const bf16 *y) {
  enum { LD = tile_of<D>::LD };
  const int lane = threadIdx.x % 32;
  y += lane % 16 * LD + lane / 16 * 8;
  UNROLL
  for (int j = 0; j < N / 16; j++) {
    UNROLL
    for (int d = 0; d < D / 16; d++) {
      uint32_t fy[4];
      ldmatrix4<true>(fy, y + j * 16 * LD + d * 16);
      UNROLL
      for (int i = 0; i < M; i++) {
        mma_bf16(sum[i][2 * d], w[i][j], fy);
        mma_bf16(sum[i][2 * d + 1], w[i][j], fy + 2);
      }
    }
  }
}

/* A product's result as a left factor, rounded to bf16. */
template <int N>
static __device__ __forceinline__ void pack_weights(uint32_t (&w)[N / 16][4], const float (&x)[N / 8][4]) {
  UNROLL
  for (int j = 0; j < N / 16; j++) {
    UNROLL
    for (int k = 0; k < 4; k++) {
      const float *from = &x[2 * j + k / 2][k % 2 * 2];
      w[j][k] = pair_of(from[0], from[1]);
    }
  }
}

/* Puts a thread's part of 16 rows of results, times factor[0] and factor[1] for rows g and g + 8, at `rows`, which
 * are the warp's own: its other lanes may just have read there, by ldmatrix, what the results replace. */
template <int D>
static __device__ __forceinline__ void put_rows(bf16 *rows, const float (&x)[D / 8][4], const float (&factor)[2]) {
  const int lane = threadIdx.x % 32;
  __syncwarp();
  UNROLL
  for (int h = 0; h < 2; h++) {
    UNROLL
    for (int j = 0; j < D / 8; j++)
      *(uint32_t *)(rows + (lane / 4 + 8 * h) * tile_of<D>::LD + j * 8 + lane % 4 * 2) =
          pair_of(x[j][2 * h] * factor[h], x[j][2 * h + 1] * factor[h]);
  }
}

/* Copies N rows of results from shared memory, a warp's own: queries m0 .. of a stretch, to the columns of the
 * group's first head on. */
template <int D, int N>
static __device__ __forceinline__ void store_queries(const attention_args &a, const attention_stretch &s, bf16 *dst,
                                                     int64_t ld, const bf16 *rows, int m0) {
  const int end = s.len * a.share;
  for (int i = threadIdx.x % 32; i < N * tile_of<D>::PIECES; i += 32) {
    const int r = i / tile_of<D>::PIECES, c = i % tile_of<D>::PIECES * 8;
    const int m = m0 + r, row = row_of_query(a, m), head = m - row * a.share;
    if (m < end && c < a.head_dim)
      *(uint4 *)(dst + (s.first + row) * ld + head * a.head_dim + c) =
          *(const uint4 *)(rows + r * tile_of<D>::LD + c);
  }
}

/* The same for rows `at` .. of a stretch, one head. */
template <int D, int N>
static __device__ __forceinline__ void store_keys(const attention_args &a, const attention_stretch &s, bf16 *dst,
                                                  const bf16 *rows, int at) {
  for (int i = threadIdx.x % 32; i < N * tile_of<D>::PIECES; i += 32) {
    const int r = i / tile_of<D>::PIECES, c = i % tile_of<D>::PIECES * 8;
    if (at + r < s.len && c < a.head_dim)
      *(uint4 *)(dst + (s.first + at + r) * a.ldd + c) = *(const uint4 *)(rows + r * tile_of<D>::LD + c);
  }
}

/* A launch's arguments, from a call's. */
static inline attention_args attention_args_of(const attention_call *c) {
  const attention_shape *s = c->shape;
  const size_t share = s->q_heads / s->kv_heads;
  attention_args a = {};
  a.stretches = (const attention_stretch *)c->words;
  a.qkv = (const bf16 *)c->qkv, a.d_o = (const bf16 *)c->d_o, a.o_in = (const bf16 *)c->o;
  a.known = (const bf16 *)s->known.p, a.ld_known = (int64_t)s->known.ld;
  a.o = (bf16 *)c->o, a.dqkv = (bf16 *)c->dqkv;
  a.lse_in = c->lse, a.lse = c->lse, a.delta = c->delta;
  a.ld = (int64_t)c->ld, a.ldo = (int64_t)c->ldo, a.lddo = (int64_t)c->lddo, a.ldd = (int64_t)c->ldd;
  a.q_heads = (int)s->q_heads, a.kv_heads = (int)s->kv_heads, a.head_dim = (int)s->head_dim;
  a.share = (int)share, a.window = s->window < 1 << 30 ? s->window : 0; /* sums with it fit an int */
  a.share_inverse = share == 1 ? 0 : (uint32_t)((((uint64_t)1 << 32) + share - 1) / share);
  a.scale = s->scale;
  a.exponent = LOG2E * (s->softcap > 0 ? s->softcap : s->scale);
  a.cap_in = s->softcap > 0 ? 2 * LOG2E * s->scale / s->softcap : 0;
  return a;
}
/* One block for each tile and key-value head. */
static inline void attention_launch(void (*kernel)(attention_args), size_t tiles, unsigned threads, size_t shared,
                                    const attention_call *c, const attention_args &a) {
  const unsigned blocks = (unsigned)(tiles * c->shape->kv_heads);
  const cudaStream_t stream = (cudaStream_t)(uintptr_t)c->stream;
  LAUNCH(kernel, blocks, threads, shared, stream, a);
}
/* The head sizes that kernels are made for: launch is called with the least that holds head_dim, as a type's
 * value. */
template <int D>
struct head_size {
  static constexpr int value = D;
};
template <typename Launch>
static inline void attention_by_head_size(int head_dim, Launch launch) {
  if (head_dim <= 64)
    launch(head_size<64>());
  else if (head_dim <= 80)
    launch(head_size<80>());
  else if (head_dim <= 96)
    launch(head_size<96>());
  else if (head_dim <= 128)
    launch(head_size<128>());
  else
    launch(head_size<256>());
}

static inline const attention_tile *query_tiles_of(const attention_call *c) {
  return (const attention_tile *)(c->words + c->plan->n_stretches * (sizeof(attention_stretch) / 4));
}
static inline const attention_tile *key_tiles_of(const attention_call *c) {
  return query_tiles_of(c) + c->plan->n_query_tiles;
}

#endif
