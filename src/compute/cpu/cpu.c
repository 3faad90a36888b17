/* cpu.c - the CPU backend: picks the kernels for this processor and shares rows out among the threads. */
#include "compute/cpu/cpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "compute/cpu/amx.h"

const kernels *kernels_level(const char *name) {
#if defined(__x86_64__)
  if (strcmp(name, "avx512") == 0 || (strcmp(name, "amx") == 0 && amx_usable()))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
               ? &kernels_avx512
               : NULL;
  if (strcmp(name, "avx2") == 0)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kernels_avx2 : NULL;
#endif
  return strcmp(name, "baseline") == 0 ? &kernels_baseline : NULL;
}

const kernels *kernels_pick(void) {
  const kernels *k = kernels_level("avx512");
  if (!k) k = kernels_level("avx2");
  return k ? k : &kernels_baseline;
}

/* ---- memory: the host's ---- */

static void *be_alloc(backend *be, size_t bytes) {
  (void)be;
  return mem_aligned(bytes, 1);
}
static void be_release(backend *be, void *p) {
  (void)be;
  mem_free(p);
}
static void be_move(backend *be, void *dst, const void *src, size_t bytes) {
  (void)be;
  if (bytes) memcpy(dst, src, bytes);
}
static void be_zero(backend *be, void *p, size_t bytes) {
  (void)be;
  memset(p, 0, bytes);
}

/* ---- operations over rows: one function a task of ROWS rows ---- */

enum { ROWS = 16, CHUNK = 1 << 16 /* values of a flat vector in one task */ };

typedef struct {
  const kernels *k;
  float *y, *w_grad;
  const float *x, *dy, *w, *bias, *rstd_in;
  float *rstd;
  size_t ldx, ldy, lddy, m, groups, n;
  float offset, eps, sign;
  bool acc;
  activation act;
  const forest *f;
  const float *cos, *sin;
  size_t heads, head_dim, half;
  const size_t *rows;
  const weight *table;
  const int32_t *ids;
  double *partial;
  size_t *bad;
  float *g, *m1, *m2;
  adamw8_state q1, q2;
  const adamw_step *step;
  const uint64_t *keys;
  uint64_t key;
  uint32_t below;
} rowjob;

static void run_rows(backend *be, rowjob *j, void (*one)(const rowjob *, size_t row));
struct rows_call {
  rowjob *j;
  void (*one)(const rowjob *, size_t row);
};
static void rows_task(void *ctx, size_t task, int thread) {
  (void)thread;
  struct rows_call *c = ctx;
  size_t end = (task + 1) * ROWS < c->j->m ? (task + 1) * ROWS : c->j->m;
  for (size_t r = task * ROWS; r < end; r++) c->one(c->j, r);
}
static void run_rows(backend *be, rowjob *j, void (*one)(const rowjob *, size_t row)) {
  cpu_state *s = cpu_of(be);
  j->k = s->k;
  struct rows_call c = {j, one};
  pool_run(s->threads, (j->m + ROWS - 1) / ROWS, rows_task, &c);
}

static void rmsnorm_row(const rowjob *j, size_t r) {
  for (size_t g = 0; g < j->groups; g++)
    j->k->rmsnorm(j->y + r * j->ldy + g * j->n, j->x + r * j->ldx + g * j->n, j->w, j->offset, j->eps, j->n,
                  j->rstd ? j->rstd + r * j->groups + g : NULL);
}
static void be_rmsnorm(backend *be, float *y, size_t ldy, const float *x, size_t ldx, const float *w, float offset,
                       float eps, size_t m, size_t groups, size_t n, float *rstd) {
  rowjob j = {.y = y,
              .ldy = ldy,
              .x = x,
              .ldx = ldx,
              .w = w,
              .offset = offset,
              .eps = eps,
              .m = m,
              .groups = groups,
              .n = n,
              .rstd = rstd};
  run_rows(be, &j, rmsnorm_row);
}

static void rmsnorm_dx_row(const rowjob *j, size_t r) {
  for (size_t g = 0; g < j->groups; g++)
    j->k->rmsnorm_dx(j->y + r * j->ldy + g * j->n, j->dy + r * j->lddy + g * j->n, j->x + r * j->ldx + g * j->n,
                     j->w, j->offset, j->rstd_in[r * j->groups + g], j->n, j->acc);
}
/* Column sums are shared out by columns, so that each adds its rows in order. */
enum { COLUMNS = 64 };
static void rmsnorm_dw_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  size_t at = task * COLUMNS, width = j->n - at < COLUMNS ? j->n - at : COLUMNS;
  for (size_t r = 0; r < j->m; r++)
    for (size_t g = 0; g < j->groups; g++)
      j->k->rmsnorm_dw(j->w_grad + at, j->dy + r * j->lddy + g * j->n + at, j->x + r * j->ldx + g * j->n + at,
                       j->rstd_in[r * j->groups + g], width);
}
static void be_rmsnorm_bwd(backend *be, float *dx, size_t lddx, float *dw, const float *dy, size_t lddy,
                           const float *x, size_t ldx, const float *w, float offset, const float *rstd, size_t m,
                           size_t groups, size_t n, bool acc) {
  rowjob j = {.k = cpu_of(be)->k,
              .y = dx,
              .ldy = lddx,
              .w_grad = dw,
              .dy = dy,
              .lddy = lddy,
              .x = x,
              .ldx = ldx,
              .w = w,
              .offset = offset,
              .rstd_in = rstd,
              .m = m,
              .groups = groups,
              .n = n,
              .acc = acc};
  if (dw)
    pool_run(cpu_of(be)->threads, (n + COLUMNS - 1) / COLUMNS, rmsnorm_dw_task, &j); /* before dx: may be dy */
  run_rows(be, &j, rmsnorm_dx_row);
}

static void bias_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  size_t at = task * COLUMNS, width = j->n - at < COLUMNS ? j->n - at : COLUMNS;
  for (size_t r = 0; r < j->m; r++) j->k->add(j->w_grad + at, j->dy + r * j->lddy + at, width);
}
static void be_bias_grad(backend *be, float *db, const float *dy, size_t lddy, size_t m, size_t n) {
  rowjob j = {.k = cpu_of(be)->k, .w_grad = db, .dy = dy, .lddy = lddy, .m = m, .n = n};
  pool_run(cpu_of(be)->threads, (n + COLUMNS - 1) / COLUMNS, bias_task, &j);
}

static void layernorm_row(const rowjob *j, size_t r) {
  float stats[2];
  j->k->layernorm(j->y + r * j->n, j->x + r * j->n, j->w, j->bias, j->offset, j->eps, j->n,
                  j->rstd ? j->rstd + 2 * r : stats);
}
static void be_layernorm(backend *be, float *y, const float *x, const float *w, const float *b, float offset,
                         float eps, size_t m, size_t n, float *stats) {
  rowjob j = {.y = y, .x = x, .w = w, .bias = b, .offset = offset, .eps = eps, .m = m, .n = n, .rstd = stats};
  run_rows(be, &j, layernorm_row);
}
static void layernorm_dx_row(const rowjob *j, size_t r) {
  j->k->layernorm_dx(j->y + r * j->n, j->dy + r * j->n, j->x + r * j->n, j->w, j->offset, j->rstd_in + 2 * r, j->n,
                     j->acc);
}
static void layernorm_dw_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  size_t at = task * COLUMNS, width = j->n - at < COLUMNS ? j->n - at : COLUMNS;
  for (size_t r = 0; r < j->m; r++)
    j->k->layernorm_dw(j->w_grad + at, j->dy + r * j->n + at, j->x + r * j->n + at, j->rstd_in + 2 * r, width);
}
static void be_layernorm_bwd(backend *be, float *dx, float *dw, float *db, const float *dy, const float *x,
                             const float *w, float offset, const float *stats, size_t m, size_t n, bool acc) {
  rowjob j = {.k = cpu_of(be)->k,
              .y = dx,
              .w_grad = dw,
              .dy = dy,
              .x = x,
              .w = w,
              .offset = offset,
              .rstd_in = stats,
              .m = m,
              .n = n,
              .acc = acc};
  if (db) be_bias_grad(be, db, dy, n, m, n);
  if (dw) pool_run(cpu_of(be)->threads, (n + COLUMNS - 1) / COLUMNS, layernorm_dw_task, &j);
  run_rows(be, &j, layernorm_dx_row);
}

static void rope_row(const rowjob *j, size_t r) {
  size_t p = (size_t)j->f->pos[r] * j->half;
  for (size_t h = 0; h < j->heads; h++)
    j->k->rope(j->y + r * j->ldy + h * j->head_dim, j->cos + p, j->sin + p, j->half, j->sign);
}
static void be_rope(backend *be, float *x, size_t ldx, const forest *f, size_t heads, size_t head_dim,
                    const float *cos_table, const float *sin_table, size_t half, float sign) {
  rowjob j = {.y = x,
              .ldy = ldx,
              .f = f,
              .m = f->rows,
              .heads = heads,
              .head_dim = head_dim,
              .cos = cos_table,
              .sin = sin_table,
              .half = half,
              .sign = sign};
  run_rows(be, &j, rope_row);
}

static size_t gated_width(const rowjob *j) { return j->act == ACT_RELU2 ? j->n : 2 * j->n; }
static void gated_row(const rowjob *j, size_t r) {
  const float *gu = j->x + r * gated_width(j);
  j->k->gated(j->y + r * j->n, gu, gu + j->n, j->n, j->act);
}
static void be_gated(backend *be, float *y, const float *gu, size_t m, size_t n, activation act) {
  rowjob j = {.y = y, .x = gu, .m = m, .n = n, .act = act};
  run_rows(be, &j, gated_row);
}
static void gated_bwd_row(const rowjob *j, size_t r) {
  const float *gu = j->x + r * gated_width(j);
  float *d = j->y + r * gated_width(j);
  j->k->gated_bwd(d, d + j->n, j->dy + r * j->n, gu, gu + j->n, j->n, j->act);
}
static void be_gated_bwd(backend *be, float *dgu, const float *dy, const float *gu, size_t m, size_t n,
                         activation act) {
  rowjob j = {.y = dgu, .dy = dy, .x = gu, .m = m, .n = n, .act = act};
  run_rows(be, &j, gated_bwd_row);
}

/* splitmix64's output function: every bit of the result depends on every bit of z. */
static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
static void dropout_row(const rowjob *j, size_t r) {
  j->k->dropout(j->y + r * j->ldy, j->x + r * j->ldx, mix(j->keys[r] ^ j->key), j->below, j->sign, j->n, j->acc);
}
static void be_dropout(backend *be, float *y, size_t ldy, const float *x, size_t ldx, const uint64_t *keys,
                       uint64_t key, double p, size_t m, size_t n, bool acc) {
  rowjob j = {.y = y, .x = x, .ldy = ldy, .ldx = ldx, .m = m, .n = n, .acc = acc};
  j.keys = keys;
  j.key = mix(key + 1);
  j.below = (uint32_t)(p * 0x1p32);
  j.sign = (float)(1 / (1 - p));
  run_rows(be, &j, dropout_row);
}

/* ---- flat vectors ---- */

static size_t chunk_len(const rowjob *j, size_t task) {
  size_t at = task * CHUNK;
  return j->n - at < CHUNK ? j->n - at : CHUNK;
}
static void run_flat(backend *be, rowjob *j, void (*fn)(void *, size_t, int)) {
  j->k = cpu_of(be)->k;
  pool_run(cpu_of(be)->threads, (j->n + CHUNK - 1) / CHUNK, fn, j);
}

static void add_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  j->k->add(j->y + task * CHUNK, j->x + task * CHUNK, chunk_len(j, task));
}
static void be_add(backend *be, float *y, const float *x, size_t n) {
  rowjob j = {.y = y, .x = x, .n = n};
  run_flat(be, &j, add_task);
}
static void scale_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  j->k->scale(j->y + task * CHUNK, chunk_len(j, task), j->sign);
}
static void be_scale(backend *be, float *x, float s, size_t n) {
  rowjob j = {.y = x, .sign = s, .n = n};
  run_flat(be, &j, scale_task);
}
static void copy_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  memcpy(j->y + task * CHUNK, j->x + task * CHUNK, chunk_len(j, task) * sizeof(float));
}
static void be_copy(backend *be, float *y, const float *x, size_t n) {
  rowjob j = {.y = y, .x = x, .n = n};
  run_flat(be, &j, copy_task);
}

static void squares_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  j->partial[task] = j->k->sum_squares(j->x + task * CHUNK, chunk_len(j, task));
}
static double be_sum_squares(backend *be, const float *x, size_t n) {
  double sum = 0, partial[256]; /* blocks of 256 chunks, added in order */
  for (size_t at = 0; at < n; at += (size_t)256 * CHUNK) {
    rowjob j = {.x = x + at, .n = n - at < (size_t)256 * CHUNK ? n - at : (size_t)256 * CHUNK, .partial = partial};
    run_flat(be, &j, squares_task);
    for (size_t i = 0; i * CHUNK < j.n; i++) sum += partial[i];
  }
  return sum;
}

static void adamw_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  size_t at = task * CHUNK;
  j->k->adamw(j->y + at, j->g + at, j->m1 + at, j->m2 + at, j->step, j->sign, chunk_len(j, task));
}
static void be_adamw(backend *be, float *w, float *g, float *m, float *v, size_t n, const adamw_step *o,
                     float clip) {
  rowjob j = {.y = w, .g = g, .m1 = m, .m2 = v, .n = n, .step = o, .sign = clip};
  run_flat(be, &j, adamw_task);
}

static void adamw8_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  for (size_t at = task * CHUNK, end = at + chunk_len(j, task); at < end; at += ADAMW8_BLOCK) {
    size_t b = at / ADAMW8_BLOCK, n = end - at < ADAMW8_BLOCK ? end - at : ADAMW8_BLOCK;
    uint32_t seed = (uint32_t)(j->step->t * 0x9e3779b97f4a7c15U >> 32) + (uint32_t)at;
    j->k->adamw8(j->y + at, j->g + at, j->q1.code + at, j->q1.scale + b, j->q2.code + at, j->q2.scale + b, j->step,
                 j->sign, seed, n);
  }
}
static void be_adamw8(backend *be, float *w, float *g, adamw8_state m, adamw8_state v, size_t n,
                      const adamw_step *o, float clip) {
  rowjob j = {.y = w, .g = g, .q1 = m, .q2 = v, .n = n, .step = o, .sign = clip};
  run_flat(be, &j, adamw8_task);
}

static size_t be_first_bad(backend *be, const float *x, size_t n) {
  (void)be;
  for (size_t i = 0; i < n; i++)
    if (!isfinite(x[i])) return i;
  return n;
}

/* ---- rows by index ---- */

static void gather_row(const rowjob *j, size_t r) {
  memcpy(j->y + r * j->n, j->x + j->rows[r] * j->n, j->n * sizeof(float));
}
static void be_gather(backend *be, float *y, const float *x, const size_t *rows, size_t m, size_t n) {
  rowjob j = {.y = y, .x = x, .rows = rows, .m = m, .n = n};
  run_rows(be, &j, gather_row);
}
static void columns_row(const rowjob *j, size_t r) {
  memcpy(j->y + r * j->ldy, j->x + r * j->ldx, j->n * sizeof(float));
}
static void be_copy_columns(backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m, size_t n) {
  rowjob j = {.y = y, .ldy = ldy, .x = x, .ldx = ldx, .m = m, .n = n};
  run_rows(be, &j, columns_row);
}
static void scatter_row(const rowjob *j, size_t r) {
  float *y = j->y + j->rows[r] * j->n;
  if (j->acc)
    j->k->add(y, j->x + r * j->n, j->n);
  else
    memcpy(y, j->x + r * j->n, j->n * sizeof(float));
}
static void be_scatter(backend *be, float *y, const float *x, const size_t *rows, size_t m, size_t n, bool acc) {
  rowjob j = {.y = y, .x = x, .rows = rows, .m = m, .n = n, .acc = acc};
  run_rows(be, &j, scatter_row);
}

static void embed_row(const rowjob *j, size_t r) {
  const weight *t = j->table;
  float *y = j->y + r * t->in;
  size_t at = (size_t)j->ids[r] * t->in;
  for (size_t i = 0; i < t->in; i++) {
    float v;
    if (t->type == T_F32) {
      v = ((const float *)t->data)[at + i];
    } else {
      uint16_t h;
      memcpy(&h, (const char *)t->data + 2 * (at + i), 2);
      v = t->type == T_BF16 ? half_from_bf16(h) : half_from_f16(h);
    }
    y[i] = v * j->sign;
  }
}
static void be_embed(backend *be, float *y, const weight *table, const int32_t *ids, size_t m, float scale) {
  rowjob j = {.y = y, .table = table, .ids = ids, .m = m, .sign = scale};
  run_rows(be, &j, embed_row);
}
static void embed_bwd_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const rowjob *j = ctx;
  size_t at = task * COLUMNS, width = j->n - at < COLUMNS ? j->n - at : COLUMNS;
  for (size_t r = 0; r < j->m; r++) {
    float *d = j->y + (size_t)j->ids[r] * j->n + at;
    const float *dy = j->dy + r * j->n + at;
    for (size_t i = 0; i < width; i++) d[i] += dy[i] * j->sign;
  }
}
static void be_embed_bwd(backend *be, float *dtable, const float *dy, const int32_t *ids, size_t m, size_t n,
                         float scale) {
  rowjob j = {.y = dtable, .dy = dy, .ids = ids, .m = m, .n = n, .sign = scale};
  pool_run(cpu_of(be)->threads, (n + COLUMNS - 1) / COLUMNS, embed_bwd_task, &j);
}

/* ---- the struct ---- */

static void be_close(backend *be) {
  if (!be) return;
  cpu_state *s = cpu_of(be);
  mem_free(s->a.p);
  mem_free(s->b.p);
  mem_free(s->chunks.p);
  for (int i = 0; s->per_thread && i < pool_threads(s->threads); i++) mem_free(s->per_thread[i].p);
  mem_free(s->per_thread);
  mem_free(s);
  mem_free(be);
}

static void be_set_bf16(backend *be, bool on) {
  cpu_state *s = cpu_of(be);
  s->products = s->amx ? (on ? PRODUCTS_BF16_TILES : PRODUCTS_F32_TILES) : on ? PRODUCTS_BF16 : PRODUCTS_F32;
}

rw_status backend_cpu(backend **out, pool *threads, const char *level, rw_error *err) {
  *out = NULL;
  const kernels *k = level ? kernels_level(level) : kernels_pick();
  if (!k)
    return rw_fail(err, RW_UNSUPPORTED, "this processor lacks the level '%s' (amx, avx512, avx2, baseline)", level);
  bool amx = level ? strcmp(level, "amx") == 0 : strcmp(k->name, "avx512") == 0 && amx_usable();
  backend *be = mem_zalloc(1, sizeof *be);
  cpu_state *s = mem_zalloc(1, sizeof *s);
  if (s) s->per_thread = mem_zalloc((size_t)pool_threads(threads), sizeof *s->per_thread);
  if (!be || !s || !s->per_thread) {
    mem_free(be);
    if (s) mem_free(s->per_thread);
    mem_free(s);
    return rw_nomem(err, "the CPU backend");
  }
  s->k = k;
  s->threads = threads;
  s->amx = amx;
  *be = (backend){.name = amx ? "amx" : k->name,
                  .fast_bf16 = amx,
                  .close = be_close,
                  .set_bf16 = be_set_bf16,
                  .alloc = be_alloc,
                  .release = be_release,
                  .upload = be_move,
                  .download = be_move,
                  .zero = be_zero,
                  .linear = cpu_linear,
                  .linear_dx = cpu_linear_dx,
                  .linear_dw = cpu_linear_dw,
                  .bias_grad = be_bias_grad,
                  .rmsnorm = be_rmsnorm,
                  .rmsnorm_bwd = be_rmsnorm_bwd,
                  .layernorm = be_layernorm,
                  .layernorm_bwd = be_layernorm_bwd,
                  .rope = be_rope,
                  .attention = cpu_attention,
                  .attention_bwd = cpu_attention_bwd,
                  .gated = be_gated,
                  .gated_bwd = be_gated_bwd,
                  .add = be_add,
                  .scale = be_scale,
                  .dropout = be_dropout,
                  .copy = be_copy,

                  .copy_columns = be_copy_columns,
                  .gather = be_gather,
                  .scatter = be_scatter,
                  .embed = be_embed,
                  .embed_bwd = be_embed_bwd,
                  .sum_squares = be_sum_squares,
                  .adamw = be_adamw,
                  .adamw8 = be_adamw8,
                  .first_bad = be_first_bad,
                  .state = s};
  be_set_bf16(be, false);
  *out = be;
  return RW_OK;
}

rw_status backend_open(backend **out, const char *device, pool *threads, rw_error *err) {
  *out = NULL;
  if (strcmp(device, "auto") == 0 || strcmp(device, "cpu") == 0) {
    const char *level = getenv("REWARD_CPU_LEVEL"); /* to measure a lower one, or for its bits */
    return backend_cpu(out, threads, level && *level ? level : NULL, err);
  }
  return rw_fail(err, RW_UNSUPPORTED, "--device %s: this build has no CUDA backend; use --device cpu", device);
}
