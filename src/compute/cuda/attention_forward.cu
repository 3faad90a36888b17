/* attention_forward.cu - attention over a forest, bf16, as FlashAttention-2 (Dao 2023): a block takes a tile of
 * queries through their keys, tile by tile, with a running maximum and sum.
 *
 * A warp has 32 queries (16 where D is 256, whose sums would not fit its registers, and where places of known rows
 * have to be found beside), so a key fragment that it reads serves two products. Shared memory: queries, and keys
 * and values of two tiles, one of which arrives meanwhile.
 */
#include "compute/cuda/attention_tile.h"

/* KNOWN: some keys and values are of rows that are not computed. */
template <int D, bool KNOWN>
struct forward_config {
  enum {
    M = D <= 128 && !KNOWN ? 2 : 1, /* tiles of 16 queries a warp */
    N = 32,                         /* keys of a tile */
    THREADS = ATTENTION_QUERIES / (16 * M) * 32,
    TILE = N * tile_of<D>::LD, /* elements */
    SHARED_BYTES = (ATTENTION_QUERIES * tile_of<D>::LD + 4 * TILE) * sizeof(bf16)
  };
};

/* A warp's 16 scores of each of its rows, from query m0 on, become weights, of which `w` takes the bf16; with their
 * sums, and the factors that new maxima ask of earlier ones. key0: position of the first key. */
template <int N, bool CAP>
static __device__ __forceinline__ void softmax_step(uint32_t (&w)[N / 16][4], float (&p)[N / 8][4], float (&top)[2],
                                                    float (&sum)[2], float (&factor)[2], const attention_args &a,
                                                    const attention_stretch &s, int m0, int key0, bool masked) {
  const int lane = threadIdx.x % 32;
  if (CAP) {
    UNROLL
    for (int j = 0; j < N / 8; j++) {
      UNROLL
      for (int x = 0; x < 4; x++) p[j][x] = capped(p[j][x], a.cap_in);
    }
  }
  if (masked) {
    UNROLL
    for (int h = 0; h < 2; h++) {
      const int seen = position_of_query(a, s, m0 + lane / 4 + 8 * h) - key0 - lane % 4 * 2;
      const int from = a.window > 0 ? seen + 1 - a.window : -N;
      UNROLL
      for (int j = 0; j < N / 8; j++) {
        UNROLL
        for (int x = 0; x < 2; x++)
          if (j * 8 + x > seen || j * 8 + x < from) p[j][2 * h + x] = -INFINITY;
      }
    }
  }
  UNROLL
  for (int h = 0; h < 2; h++) {
    float m = top[h], part = 0;
    UNROLL
    for (int j = 0; j < N / 8; j++) m = fmaxf(m, fmaxf(p[j][2 * h], p[j][2 * h + 1]));
    m = fmaxf(m, __shfl_xor_sync(~0u, m, 1));
    m = fmaxf(m, __shfl_xor_sync(~0u, m, 2));
    const float base = m == -INFINITY ? 0.0f : m * a.exponent;
    factor[h] = fast_exp2(top[h] * a.exponent - base); /* exactly 1 where the maximum stays: no fmaf */
    UNROLL
    for (int j = 0; j < N / 8; j++) {
      UNROLL
      for (int x = 2 * h; x < 2 * h + 2; x++) part += p[j][x] = fast_exp2(fmaf(p[j][x], a.exponent, -base));
    }
    sum[h] = fmaf(sum[h], factor[h], part);
    top[h] = m;
  }
  pack_weights<N>(w, p);
}

template <int D, bool CAP, bool KNOWN>
__global__ void __launch_bounds__(forward_config<D, KNOWN>::THREADS)
    attention_forward_kernel(const attention_args a) {
  typedef forward_config<D, KNOWN> config;
  enum { M = config::M, N = config::N, THREADS = config::THREADS, LD = tile_of<D>::LD };
  SHARED(smem);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = blockIdx.x % a.kv_heads;
  const attention_tile tile = a.tiles[blockIdx.x / a.kv_heads];
  const attention_stretch s = a.stretches[tile.stretch];
  bf16 *const sq = (bf16 *)smem, *const sk = sq + ATTENTION_QUERIES * LD, *const sv = sk + 2 * config::TILE;
  bf16 *const own = sq + warp * 16 * M * LD; /* the warp's queries, at last its results */
  const int keys = (a.q_heads + group) * a.head_dim, values = keys + a.kv_heads * a.head_dim; /* columns */

  const int last_query = s.len * a.share - 1, in_tile = tile.at + ATTENTION_QUERIES - 1;
  const int pos_first = position_of_query(a, s, tile.at), pos_last = position_of_query(a, s, in_tile);
  const int key_first = a.window > 0 && pos_first >= a.window ? (pos_first + 1 - a.window) / N * N : 0;

  load_queries<D, ATTENTION_QUERIES, THREADS>(a, s, sq, a.qkv + group * a.share * a.head_dim, a.ld, tile.at);
  load_keys<D, N, THREADS, KNOWN>(a, s, sk, keys, key_first, pos_last + 1);
  load_keys<D, N, THREADS, KNOWN>(a, s, sv, values, key_first, pos_last + 1);
  cp_async_commit();
  float acc[M][D / 8][4], top[M][2], sum[M][2];
  UNROLL
  for (int i = 0; i < M; i++) {
    clear(acc[i]);
    top[i][0] = top[i][1] = -INFINITY;
    sum[i][0] = sum[i][1] = 0;
  }
  int stage = 0;
  for (int key0 = key_first; key0 <= pos_last; key0 += N) {
    const bf16 *const k = sk + stage * config::TILE, *const v = sv + stage * config::TILE;
    stage ^= 1;
    cp_async_wait<0>();
    __syncthreads(); /* the tiles are here; all have used the other ones */
    if (key0 + N <= pos_last) {
      load_keys<D, N, THREADS, KNOWN>(a, s, sk + stage * config::TILE, keys, key0 + N, pos_last + 1);
      load_keys<D, N, THREADS, KNOWN>(a, s, sv + stage * config::TILE, values, key0 + N, pos_last + 1);
    }
    cp_async_commit();
    float p[M][N / 8][4];
    uint32_t w[M][N / 16][4];
    multiply_rows<D, M, N>(p, own, k);
    const bool masked = key0 + N - 1 > pos_first || (a.window > 0 && key0 + a.window <= pos_last);
    UNROLL
    for (int i = 0; i < M; i++) {
      float factor[2];
      softmax_step<N, CAP>(w[i], p[i], top[i], sum[i], factor, a, s, tile.at + (warp * M + i) * 16, key0, masked);
      if (__ballot_sync(~0u, factor[0] != 1.0f || factor[1] != 1.0f)) { /* once the maxima stand, few tiles */
        UNROLL
        for (int j = 0; j < D / 8; j++) {
          UNROLL
          for (int x = 0; x < 4; x++) acc[i][j][x] *= factor[x / 2];
        }
      }
    }
    add_weighed_rows<D, M, N>(acc, w, v);
  }
  cp_async_wait<0>();

  UNROLL
  for (int i = 0; i < M; i++) {
    float inverse[2];
    UNROLL
    for (int h = 0; h < 2; h++) {
      float all = sum[i][h];
      all += __shfl_xor_sync(~0u, all, 1);
      all += __shfl_xor_sync(~0u, all, 2);
      inverse[h] = 1.0f / all;
      const int m = tile.at + (warp * M + i) * 16 + lane / 4 + 8 * h, row = row_of_query(a, m);
      if (a.lse && lane % 4 == 0 && m <= last_query)
        a.lse[(int64_t)(s.first + row) * a.q_heads + group * a.share + m - row * a.share] =
            top[i][h] * (a.exponent / LOG2E) + logf(all);
    }
    put_rows<D>(own + i * 16 * LD, acc[i], inverse);
  }
  __syncwarp();
  store_queries<D, 16 * M>(a, s, a.o + group * a.share * a.head_dim, a.ldo, own, tile.at + warp * 16 * M);
}

template <int D, bool KNOWN>
static void launch_known(const attention_call *c, const attention_args &a) {
  typedef forward_config<D, KNOWN> config;
  attention_launch(
      c->shape->softcap > 0 ? attention_forward_kernel<D, true, KNOWN> : attention_forward_kernel<D, false, KNOWN>,
      c->plan->n_query_tiles, config::THREADS, config::SHARED_BYTES, c, a);
}
template <int D>
static void launch(const attention_call *c, const attention_args &a) {
  c->shape->known.p ? launch_known<D, true>(c, a) : launch_known<D, false>(c, a);
}

void attention_forward_bf16(const attention_call *c) {
  attention_args a = attention_args_of(c);
  a.tiles = query_tiles_of(c);
  attention_by_head_size(a.head_dim, [&](auto size) { launch<decltype(size)::value>(c, a); });
}
