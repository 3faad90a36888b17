/* attention_backward_queries.cu - gradients of queries: a block takes a tile of queries through their keys again.
 *
 * With weights p from the saved sums, dp = dO·v and delta = dO·o: ds = p (dp - delta), dq = scale ds·k. A warp has
 * 32 queries, so a key fragment that it reads serves two products; 16 where D is 256, whose sums would not fit its
 * registers. Shared memory: queries and dO, and keys and values, of two tiles where there is room.
 */
#include "compute/cuda/attention_tile.h"

template <int D>
struct queries_config {
  enum {
    M = D <= 128 ? 2 : 1, /* tiles of 16 queries a warp */
    KEYS = 64 / M,        /* a tile's */
    WARPS = 4,
    QUERIES = 16 * M * WARPS,
    STAGES = D <= 128 ? 2 : 1,
    TILE = KEYS * tile_of<D>::LD, /* elements */
    SHARED_BYTES = (2 * QUERIES * tile_of<D>::LD + 2 * STAGES * TILE) * sizeof(bf16)
  };
};

template <int D, bool CAP>
__global__ void __launch_bounds__(queries_config<D>::WARPS * 32) attention_queries_kernel(const attention_args a) {
  typedef queries_config<D> config;
  enum {
    M = config::M,
    KEYS = config::KEYS,
    THREADS = config::WARPS * 32,
    LD = tile_of<D>::LD,
    SPLIT = ATTENTION_QUERIES / config::QUERIES
  };
  SHARED(smem);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = blockIdx.x / SPLIT % a.kv_heads;
  const attention_tile tile = a.tiles[blockIdx.x / SPLIT / a.kv_heads];
  const attention_stretch s = a.stretches[tile.stretch];
  const int at = tile.at + (int)(blockIdx.x % SPLIT) * config::QUERIES, last_query = s.len * a.share - 1;
  if (at > last_query) return;
  bf16 *const sq = (bf16 *)smem, *const sd = sq + config::QUERIES * LD, *const sk = sd + config::QUERIES * LD,
              *const sv = sk + config::STAGES * config::TILE;
  bf16 *const own = sq + warp * 16 * M * LD, *const own_d = sd + warp * 16 * M * LD; /* the warp's queries */
  const int keys = (a.q_heads + group) * a.head_dim, values = keys + a.kv_heads * a.head_dim; /* columns */
  const int first_column = group * a.share * a.head_dim, m0 = at + warp * 16 * M;

  const int pos_first = position_of_query(a, s, at), pos_last = position_of_query(a, s, at + config::QUERIES - 1);
  const int key_first = a.window > 0 && pos_first >= a.window ? (pos_first + 1 - a.window) / KEYS * KEYS : 0;
  load_queries<D, config::QUERIES, THREADS>(a, s, sq, a.qkv + first_column, a.ld, at);
  load_queries<D, config::QUERIES, THREADS>(a, s, sd, a.d_o + first_column, a.lddo, at);
  load_keys<D, KEYS, THREADS>(a, s, sk, keys, key_first, pos_last + 1);
  load_keys<D, KEYS, THREADS>(a, s, sv, values, key_first, pos_last + 1);
  cp_async_commit();
  float log_sum[M][2], delta[M][2], acc[M][D / 8][4];
  UNROLL
  for (int i = 0; i < M; i++) {
    UNROLL
    for (int h = 0; h < 2; h++) {
      const int m = m0 + i * 16 + lane / 4 + 8 * h, row = row_of_query(a, m);
      const int64_t place = (int64_t)(s.first + row) * a.q_heads + group * a.share + m - row * a.share;
      log_sum[i][h] = m <= last_query ? a.lse_in[place] * LOG2E : INFINITY;
      delta[i][h] = m <= last_query ? a.delta[place] : 0.0f;
    }
    clear(acc[i]);
  }
  int stage = 0;
  for (int key0 = key_first; key0 <= pos_last; key0 += KEYS) {
    const bf16 *const k = sk + stage * config::TILE, *const v = sv + stage * config::TILE;
    const bool more = key0 + KEYS <= pos_last;
    cp_async_wait<0>();
    __syncthreads(); /* the tiles are here; all have used the other ones */
    if (config::STAGES == 2) {
      stage ^= 1;
      if (more) {
        load_keys<D, KEYS, THREADS>(a, s, sk + stage * config::TILE, keys, key0 + KEYS, pos_last + 1);
        load_keys<D, KEYS, THREADS>(a, s, sv + stage * config::TILE, values, key0 + KEYS, pos_last + 1);
      }
      cp_async_commit();
    }
    float p[M][KEYS / 8][4], dp[M][KEYS / 8][4];
    uint32_t w[M][KEYS / 16][4];
    multiply_rows<D, M, KEYS>(p, own, k);
    const bool masked = key0 + KEYS - 1 > pos_first || (a.window > 0 && key0 + a.window <= pos_last);
    UNROLL
    for (int i = 0; i < M; i++) {
      UNROLL
      for (int h = 0; masked && h < 2; h++) {
        const int seen = position_of_query(a, s, m0 + i * 16 + lane / 4 + 8 * h) - key0 - lane % 4 * 2;
        const int from = a.window > 0 ? seen + 1 - a.window : -KEYS;
        UNROLL
        for (int j = 0; j < KEYS / 8; j++) {
          UNROLL
          for (int x = 0; x < 2; x++)
            if (j * 8 + x > seen || j * 8 + x < from) p[i][j][2 * h + x] = -INFINITY;
        }
      }
      UNROLL
      for (int j = 0; j < KEYS / 8; j++) {
        UNROLL
        for (int x = 0; x < 4; x++) weight_of<CAP>(p[i][j][x], log_sum[i][x / 2], a, &p[i][j][x]);
      }
    }
    multiply_rows<D, M, KEYS>(dp, own_d, v);
    UNROLL
    for (int i = 0; i < M; i++) {
      UNROLL
      for (int j = 0; j < KEYS / 8; j++) {
        UNROLL
        for (int x = 0; x < 4; x++) p[i][j][x] *= dp[i][j][x] - delta[i][x / 2];
      }
      pack_weights<KEYS>(w[i], p[i]);
    }
    add_weighed_rows<D, M, KEYS>(acc, w, k);
    if (config::STAGES == 1) {
      __syncthreads();
      if (more) {
        load_keys<D, KEYS, THREADS>(a, s, sk, keys, key0 + KEYS, pos_last + 1);
        load_keys<D, KEYS, THREADS>(a, s, sv, values, key0 + KEYS, pos_last + 1);
      }
      cp_async_commit();
    }
  }
  cp_async_wait<0>();
  const float scale[2] = {a.scale, a.scale};
  UNROLL
  for (int i = 0; i < M; i++) put_rows<D>(own + i * 16 * LD, acc[i], scale);
  __syncwarp();
  store_queries<D, 16 * M>(a, s, a.dqkv + first_column, a.ldd, own, m0);
}

template <int D>
static void launch(const attention_call *c, const attention_args &a) {
  typedef queries_config<D> config;
  attention_launch(c->shape->softcap > 0 ? attention_queries_kernel<D, true> : attention_queries_kernel<D, false>,
                   c->plan->n_query_tiles * (ATTENTION_QUERIES / config::QUERIES), config::WARPS * 32,
                   config::SHARED_BYTES, c, a);
}

void attention_backward_queries(const attention_call *c) {
  attention_args a = attention_args_of(c);
  a.tiles = query_tiles_of(c);
  attention_by_head_size(a.head_dim, [&](auto size) { launch<decltype(size)::value>(c, a); });
}
