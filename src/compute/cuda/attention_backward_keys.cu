/* attention_backward_keys.cu - gradients of keys and values: a block takes a tile of keys through the queries that
 * see them, the stretch's own and then each branch's.
 *
 * Keys are the rows of every product, 16 a warp: s = k·q, dp = v·dO, dv += p·dO, dk += ds·q; so weights go from the
 * first products to the last ones within a thread's registers. Shared memory: the keys and values, and queries and
 * dO, of two tiles where there is room. Where D is 256 a warp's registers hold one of the two sums: one launch for
 * dv, one for dk.
 */
#include "compute/cuda/attention_tile.h"

enum { DV = 1, DK = 2 };

template <int D, bool CAP>
struct keys_config {
  enum {
    QUERIES = CAP && D > 64 && D <= 128 ? 32 : 64, /* a tile's; a cap takes registers */
    WARPS = D <= 128 ? 8 : 4,
    ROWS = 16 * WARPS, /* keys of a block */
    STAGES = D <= 128 ? 2 : 1,
    TILE = QUERIES * tile_of<D>::LD, /* elements */
    SHARED_BYTES = (2 * ROWS * tile_of<D>::LD + 2 * STAGES * TILE) * sizeof(bf16) + STAGES * 3 * QUERIES * 4
  };
};

/* A tile of queries: from m on of the stretch `number`, whose last that counts is before `end`. */
struct query_walk {
  attention_stretch s;
  int number, last, m, end;
};
/* Those of the walk's stretch that see a key of positions first to last. */
static __device__ __forceinline__ void walk_enter(query_walk &w, const attention_args &a, int first, int last) {
  w.s = a.stretches[w.number];
  const int from = first - w.s.base, to = last + a.window - w.s.base;
  w.m = from > 0 ? from * a.share : 0;
  w.end = (a.window > 0 && to < w.s.len ? to : w.s.len) * a.share;
}
/* To the next tile; false where there is none. */
template <int QUERIES>
static __device__ __forceinline__ bool walk_on(query_walk &w, const attention_args &a, int first, int last) {
  w.m += QUERIES;
  while (w.m >= w.end) {
    if (w.number == w.last) return false;
    w.number++;
    walk_enter(w, a, first, last);
  }
  return true;
}

/* What a tile needs of query `threadIdx.x`: the logarithm of its sum, and its delta; with its position in `put`. */
struct query_facts {
  float log_sum, delta;
};
template <int QUERIES>
static __device__ __forceinline__ query_facts facts_of(const query_walk &w, const attention_args &a, int group) {
  const int m = w.m + threadIdx.x, row = row_of_query(a, m);
  const int64_t place = (int64_t)(w.s.first + row) * a.q_heads + group * a.share + m - row * a.share;
  if (threadIdx.x >= QUERIES || row >= w.s.len) return {INFINITY, 0.0f};
  return {a.lse_in[place], a.delta[place]};
}
template <int QUERIES>
static __device__ __forceinline__ void put_facts(float *dst, const query_facts &f, const query_walk &w,
                                                 const attention_args &a) {
  if (threadIdx.x >= QUERIES) return;
  dst[threadIdx.x] = f.log_sum * LOG2E;
  dst[QUERIES + threadIdx.x] = f.delta;
  ((int *)dst)[2 * QUERIES + threadIdx.x] = position_of_query(a, w.s, w.m + threadIdx.x);
}

template <int D, bool CAP, int WANT>
__global__ void __launch_bounds__(keys_config<D, CAP>::WARPS * 32) attention_keys_kernel(const attention_args a) {
  typedef keys_config<D, CAP> config;
  enum {
    QUERIES = config::QUERIES,
    THREADS = config::WARPS * 32,
    LD = tile_of<D>::LD,
    SPLIT = ATTENTION_KEYS / config::ROWS
  };
  SHARED(smem);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = blockIdx.x / SPLIT % a.kv_heads;
  const attention_tile tile = a.tiles[blockIdx.x / SPLIT / a.kv_heads];
  const attention_stretch s = a.stretches[tile.stretch];
  const int at = tile.at + (int)(blockIdx.x % SPLIT) * config::ROWS;
  if (at >= s.len) return;
  bf16 *const sk = (bf16 *)smem, *const sv = sk + config::ROWS * LD, *const sq = sv + config::ROWS * LD,
              *const sd = sq + config::STAGES * config::TILE;
  float *const facts = (float *)(sd + config::STAGES * config::TILE);
  const int column = (a.q_heads + group) * a.head_dim, values = a.kv_heads * a.head_dim;
  const int first_head = group * a.share * a.head_dim;
  const int pos_first = s.base + at, pos_end = s.base + (at + config::ROWS < s.len ? at + config::ROWS : s.len);
  bf16 *const own_k = sk + warp * 16 * LD, *const own_v = sv + warp * 16 * LD;

  query_walk next;
  next.number = tile.stretch, next.last = tile.stretch + s.children;
  walk_enter(next, a, pos_first, pos_end - 1);
  load_keys<D, config::ROWS, THREADS>(a, s, sk, column, pos_first, pos_end);
  if (WANT & DK) load_keys<D, config::ROWS, THREADS>(a, s, sv, column + values, pos_first, pos_end);
  load_queries<D, QUERIES, THREADS>(a, next.s, sq, a.qkv + first_head, a.ld, next.m);
  load_queries<D, QUERIES, THREADS>(a, next.s, sd, a.d_o + first_head, a.lddo, next.m);
  cp_async_commit();
  put_facts<QUERIES>(facts, facts_of<QUERIES>(next, a, group), next, a);

  float dk[1][WANT & DK ? D / 8 : 1][4], dv[1][WANT & DV ? D / 8 : 1][4];
  clear(dk[0]);
  clear(dv[0]);
  int stage = 0;
  for (bool more = true; more;) {
    const bf16 *const q = sq + stage * config::TILE, *const d_o = sd + stage * config::TILE;
    const float *const fact = facts + stage * 3 * QUERIES;
    const int seen_from = position_of_query(a, next.s, next.m);
    const int seen_to = position_of_query(a, next.s, next.m + QUERIES - 1);
    const bool masked = pos_end - 1 > seen_from || (a.window > 0 && pos_first + a.window <= seen_to);
    more = walk_on<QUERIES>(next, a, pos_first, pos_end - 1);
    cp_async_wait<0>();
    __syncthreads(); /* the tiles are here; all have used the other ones */
    query_facts ahead;
    if (config::STAGES == 2) {
      stage ^= 1;
      if (more) {
        load_queries<D, QUERIES, THREADS>(a, next.s, sq + stage * config::TILE, a.qkv + first_head, a.ld, next.m);
        load_queries<D, QUERIES, THREADS>(a, next.s, sd + stage * config::TILE, a.d_o + first_head, a.lddo, next.m);
        ahead = facts_of<QUERIES>(next, a, group);
      }
      cp_async_commit();
    }
    float p[1][QUERIES / 8][4];
    uint32_t w[1][QUERIES / 16][4];
    multiply_rows<D, 1, QUERIES>(p, own_k, q);
    if (masked) {
      UNROLL
      for (int j = 0; j < QUERIES / 8; j++) {
        UNROLL
        for (int x = 0; x < 2; x++) {
          const int pos = ((const int *)fact)[2 * QUERIES + j * 8 + lane % 4 * 2 + x];
          UNROLL
          for (int h = 0; h < 2; h++) {
            const int ago = pos - pos_first - warp * 16 - lane / 4 - 8 * h;
            if (ago < 0 || (a.window > 0 && ago >= a.window)) p[0][j][2 * h + x] = -INFINITY;
          }
        }
      }
    }
    UNROLL
    for (int j = 0; j < QUERIES / 8; j++) {
      const float2 log_sum = *(const float2 *)(fact + j * 8 + lane % 4 * 2);
      UNROLL
      for (int h = 0; h < 2; h++) {
        float *const z = &p[0][j][2 * h];
        const float first = weight_of<CAP>(z[0], log_sum.x, a, &z[0]);
        const float second = weight_of<CAP>(z[1], log_sum.y, a, &z[1]);
        if (WANT & DV) w[0][j / 2][j % 2 * 2 + h] = pair_of(first, second);
      }
    }
    if constexpr ((WANT & DV) != 0) add_weighed_rows<D, 1, QUERIES>(dv, w, d_o);
    if constexpr ((WANT & DK) != 0) {
      float dp[1][QUERIES / 8][4];
      multiply_rows<D, 1, QUERIES>(dp, own_v, d_o);
      UNROLL
      for (int j = 0; j < QUERIES / 8; j++) {
        const float2 delta = *(const float2 *)(fact + QUERIES + j * 8 + lane % 4 * 2);
        UNROLL
        for (int x = 0; x < 4; x++) p[0][j][x] *= dp[0][j][x] - (x % 2 ? delta.y : delta.x);
      }
      pack_weights<QUERIES>(w[0], p[0]);
      add_weighed_rows<D, 1, QUERIES>(dk, w, q);
    }
    if (config::STAGES == 2) {
      if (more) put_facts<QUERIES>(facts + stage * 3 * QUERIES, ahead, next, a);
    } else {
      __syncthreads();
      if (more) {
        load_queries<D, QUERIES, THREADS>(a, next.s, sq, a.qkv + first_head, a.ld, next.m);
        load_queries<D, QUERIES, THREADS>(a, next.s, sd, a.d_o + first_head, a.lddo, next.m);
        put_facts<QUERIES>(facts, facts_of<QUERIES>(next, a, group), next, a);
      }
      cp_async_commit();
    }
  }
  cp_async_wait<0>();
  const attention_stretch home = a.stretches[tile.stretch]; /* read again: registers are short above */
  if constexpr ((WANT & DK) != 0) {
    const float scale[2] = {a.scale, a.scale};
    put_rows<D>(own_k, dk[0], scale);
    __syncwarp();
    store_keys<D, 16>(a, home, a.dqkv + column, own_k, at + warp * 16);
  }
  if constexpr ((WANT & DV) != 0) {
    const float one[2] = {1.0f, 1.0f};
    put_rows<D>(own_v, dv[0], one);
    __syncwarp();
    store_keys<D, 16>(a, home, a.dqkv + column + values, own_v, at + warp * 16);
  }
}

template <int D, bool CAP, int WANT>
static void launch_for(const attention_call *c, const attention_args &a) {
  typedef keys_config<D, CAP> config;
  attention_launch(attention_keys_kernel<D, CAP, WANT>, c->plan->n_key_tiles * (ATTENTION_KEYS / config::ROWS),
                   config::WARPS * 32, config::SHARED_BYTES, c, a);
}
template <int D, bool CAP>
static void launch_capped(const attention_call *c, const attention_args &a) {
  if constexpr (D <= 128) {
    launch_for<D, CAP, DK | DV>(c, a);
  } else {
    launch_for<D, CAP, DV>(c, a);
    launch_for<D, CAP, DK>(c, a);
  }
}
template <int D>
static void launch(const attention_call *c, const attention_args &a) {
  if (c->shape->softcap > 0)
    launch_capped<D, true>(c, a);
  else
    launch_capped<D, false>(c, a);
}

void attention_backward_keys(const attention_call *c) {
  attention_args a = attention_args_of(c);
  a.tiles = key_tiles_of(c);
  attention_by_head_size(a.head_dim, [&](auto size) { launch<decltype(size)::value>(c, a); });
}
