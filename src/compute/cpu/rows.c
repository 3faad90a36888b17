/* rows.c - operations whose rows are independent of each other: norms, rotation, activations, dropout, rows by
 * index; and the sums over rows that belong to them. Each call's arguments are a struct that its tasks read. */
#include <string.h>

#include "base/half.h"
#include "compute/cpu/ops.h"
#include "compute/cpu/tasks.h"

/* ---- norms ---- */

typedef struct {
  const kernels *k;
  mat y, x;
  const float *w;
  float offset, eps;
  size_t groups, n;
  float *rstd;
} rmsnorm_call;
static void rmsnorm_row(const void *call, size_t r) {
  const rmsnorm_call *c = call;
  for (size_t g = 0; g < c->groups; g++)
    c->k->rmsnorm(cpu_row(c->y, r) + g * c->n, cpu_row(c->x, r) + g * c->n, c->w, c->offset, c->eps, c->n,
                  c->rstd ? c->rstd + r * c->groups + g : NULL);
}
static void be_rmsnorm(backend *be, mat y, mat x, const float *w, float offset, float eps, size_t m, size_t groups,
                       size_t n, float *rstd) {
  rmsnorm_call c = {cpu_of(be)->k, y, x, w, offset, eps, groups, n, rstd};
  cpu_rows(cpu_of(be), m, rmsnorm_row, &c);
}

typedef struct {
  const kernels *k;
  mat dx, dy, x;
  float *dw;
  const float *w;
  float offset;
  const float *rstd; /* [m, groups] */
  size_t m, groups, n;
  bool acc;
} rmsnorm_bwd_call;
static void rmsnorm_dx_row(const void *call, size_t r) {
  const rmsnorm_bwd_call *c = call;
  for (size_t g = 0; g < c->groups; g++)
    c->k->rmsnorm_dx(cpu_row(c->dx, r) + g * c->n, cpu_row(c->dy, r) + g * c->n, cpu_row(c->x, r) + g * c->n, c->w,
                     c->offset, c->rstd[r * c->groups + g], c->n, c->acc);
}
static void rmsnorm_dw_columns(const void *call, size_t at, size_t width) {
  const rmsnorm_bwd_call *c = call;
  for (size_t r = 0; r < c->m; r++)
    for (size_t g = 0; g < c->groups; g++)
      c->k->rmsnorm_dw(c->dw + at, cpu_row(c->dy, r) + g * c->n + at, cpu_row(c->x, r) + g * c->n + at,
                       c->rstd[r * c->groups + g], width);
}
static void be_rmsnorm_bwd(backend *be, mat dx, float *dw, mat dy, mat x, const float *w, float offset,
                           const float *rstd, const batch *b, row_set rows, size_t groups, size_t n, bool acc) {
  cpu_state *s = cpu_of(be);
  rmsnorm_bwd_call c = {s->k, dx, dy, x, dw, w, offset, rstd, cpu_batch_rows(b, rows), groups, n, acc};
  if (dw) cpu_columns(s, n, rmsnorm_dw_columns, &c); /* before dx, which may be dy */
  cpu_rows(s, c.m, rmsnorm_dx_row, &c);
}

typedef struct {
  const kernels *k;
  float *db;
  mat dy;
  size_t m;
} bias_call;
static void bias_columns(const void *call, size_t at, size_t width) {
  const bias_call *c = call;
  for (size_t r = 0; r < c->m; r++) c->k->add(c->db + at, cpu_row(c->dy, r) + at, width);
}
static void be_bias_grad(backend *be, float *db, mat dy, const batch *b, row_set rows, size_t n) {
  bias_call c = {cpu_of(be)->k, db, dy, cpu_batch_rows(b, rows)};
  cpu_columns(cpu_of(be), n, bias_columns, &c);
}

typedef struct {
  const kernels *k;
  mat y, x;
  const float *w, *b;
  float offset, eps;
  size_t n;
  float *stats;
} layernorm_call;
static void layernorm_row(const void *call, size_t r) {
  const layernorm_call *c = call;
  float stats[2];
  c->k->layernorm(cpu_row(c->y, r), cpu_row(c->x, r), c->w, c->b, c->offset, c->eps, c->n,
                  c->stats ? c->stats + 2 * r : stats);
}
static void be_layernorm(backend *be, mat y, mat x, const float *w, const float *b, float offset, float eps,
                         size_t m, size_t n, float *stats) {
  layernorm_call c = {cpu_of(be)->k, y, x, w, b, offset, eps, n, stats};
  cpu_rows(cpu_of(be), m, layernorm_row, &c);
}

typedef struct {
  const kernels *k;
  mat dx, dy, x;
  float *dw;
  const float *w;
  float offset;
  const float *stats; /* [m, 2] */
  size_t m, n;
  bool acc;
} layernorm_bwd_call;
static void layernorm_dx_row(const void *call, size_t r) {
  const layernorm_bwd_call *c = call;
  c->k->layernorm_dx(cpu_row(c->dx, r), cpu_row(c->dy, r), cpu_row(c->x, r), c->w, c->offset, c->stats + 2 * r,
                     c->n, c->acc);
}
static void layernorm_dw_columns(const void *call, size_t at, size_t width) {
  const layernorm_bwd_call *c = call;
  for (size_t r = 0; r < c->m; r++)
    c->k->layernorm_dw(c->dw + at, cpu_row(c->dy, r) + at, cpu_row(c->x, r) + at, c->stats + 2 * r, width);
}
static void be_layernorm_bwd(backend *be, mat dx, float *dw, float *db, mat dy, mat x, const float *w, float offset,
                             const float *stats, const batch *b, row_set rows, size_t n, bool acc) {
  cpu_state *s = cpu_of(be);
  layernorm_bwd_call c = {s->k, dx, dy, x, dw, w, offset, stats, cpu_batch_rows(b, rows), n, acc};
  if (db) be_bias_grad(be, db, dy, b, rows, n);
  if (dw) cpu_columns(s, n, layernorm_dw_columns, &c);
  cpu_rows(s, c.m, layernorm_dx_row, &c);
}

/* ---- rotation, activations ---- */

typedef struct {
  const kernels *k;
  mat x;
  const int32_t *pos;
  size_t heads, head_dim, half;
  const float *cos, *sin;
  float sign;
} rope_call;
static void rope_row(const void *call, size_t r) {
  const rope_call *c = call;
  size_t p = (size_t)c->pos[r] * c->half;
  for (size_t h = 0; h < c->heads; h++)
    c->k->rope(cpu_row(c->x, r) + h * c->head_dim, c->cos + p, c->sin + p, c->half, c->sign);
}
static void be_rope(backend *be, mat x, const batch *b, size_t heads, size_t head_dim, const float *cos_table,
                    const float *sin_table, size_t half, float sign) {
  rope_call c = {cpu_of(be)->k, x, b->l->f.pos, heads, head_dim, half, cos_table, sin_table, sign};
  cpu_rows(cpu_of(be), b->l->f.rows, rope_row, &c);
}

typedef struct {
  const kernels *k;
  mat y, gu; /* backward: y is dgu */
  mat dy;
  size_t n;
  activation act;
} gated_call;
static void gated_row(const void *call, size_t r) {
  const gated_call *c = call;
  const float *gu = cpu_row(c->gu, r);
  c->k->gated(cpu_row(c->y, r), gu, gu + c->n, c->n, c->act);
}
static void be_gated(backend *be, mat y, mat gu, size_t m, size_t n, activation act) {
  gated_call c = {.k = cpu_of(be)->k, .y = y, .gu = gu, .n = n, .act = act};
  cpu_rows(cpu_of(be), m, gated_row, &c);
}
static void gated_bwd_row(const void *call, size_t r) {
  const gated_call *c = call;
  const float *gu = cpu_row(c->gu, r);
  float *d = cpu_row(c->y, r);
  c->k->gated_bwd(d, d + c->n, cpu_row(c->dy, r), gu, gu + c->n, c->n, c->act);
}
static void be_gated_bwd(backend *be, mat dgu, mat dy, mat gu, size_t m, size_t n, activation act) {
  gated_call c = {cpu_of(be)->k, dgu, gu, dy, n, act};
  cpu_rows(cpu_of(be), m, gated_bwd_row, &c);
}

/* ---- dropout ---- */

/* splitmix64's output function: every bit of the result depends on every bit of z. */
static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
typedef struct {
  const kernels *k;
  mat y, x;
  const uint64_t *keys;
  uint64_t key;
  uint32_t below;   /* a hash below this drops */
  float kept_scale; /* 1 / (1 - p) */
  size_t n;
  bool acc;
} dropout_call;
static void dropout_row(const void *call, size_t r) {
  const dropout_call *c = call;
  c->k->dropout(cpu_row(c->y, r), cpu_row(c->x, r), mix(c->keys[r] ^ c->key), c->below, c->kept_scale, c->n,
                c->acc);
}
static void be_dropout(backend *be, mat y, mat x, const batch *b, row_set rows, uint64_t key, double p, size_t n,
                       bool acc) {
  dropout_call c = {cpu_of(be)->k,
                    y,
                    x,
                    rows == ROWS_ALL ? b->l->drop_keys : b->l->drop_last,
                    mix(key + 1),
                    (uint32_t)(p * 0x1p32),
                    (float)(1 / (1 - p)),
                    n,
                    acc};
  cpu_rows(cpu_of(be), cpu_batch_rows(b, rows), dropout_row, &c);
}

/* ---- rows by index ---- */

typedef struct {
  const kernels *k;
  mat y, x;
  const size_t *last;
  size_t n;
  bool acc;
} index_call;
static void gather_row(const void *call, size_t r) {
  const index_call *c = call;
  memcpy(cpu_row(c->y, r), cpu_row(c->x, c->last[r]), c->n * sizeof(float));
}
static void be_gather(backend *be, mat y, mat x, const batch *b, size_t n) {
  index_call c = {cpu_of(be)->k, y, x, b->l->last, n, false};
  cpu_rows(cpu_of(be), b->l->n_last, gather_row, &c);
}
static void scatter_row(const void *call, size_t r) {
  const index_call *c = call;
  float *y = cpu_row(c->y, c->last[r]);
  if (c->acc)
    c->k->add(y, cpu_row(c->x, r), c->n);
  else
    memcpy(y, cpu_row(c->x, r), c->n * sizeof(float));
}
static void be_scatter(backend *be, mat y, mat x, const batch *b, size_t n, bool acc) {
  index_call c = {cpu_of(be)->k, y, x, b->l->last, n, acc};
  cpu_rows(cpu_of(be), b->l->n_last, scatter_row, &c);
}

typedef struct {
  const kernels *k;
  mat y, x;
  const int32_t *index;
  const float *s;
  float *d;
  size_t per, n;
  bool acc;
} mix_call;
static void pick_row(const void *call, size_t r) {
  const mix_call *c = call;
  memcpy(cpu_row(c->y, r), cpu_row(c->x, (size_t)c->index[r]), c->n * sizeof(float));
}
static void be_pick(backend *be, mat y, mat x, const int32_t *index, size_t m, size_t n) {
  mix_call c = {.y = y, .x = x, .index = index, .n = n};
  cpu_rows(cpu_of(be), m, pick_row, &c);
}
static void mix_row(const void *call, size_t r) {
  const mix_call *c = call;
  float *y = cpu_row(c->y, r);
  if (!c->acc) memset(y, 0, c->n * sizeof *y);
  for (size_t j = r * c->per; j < (r + 1) * c->per; j++)
    c->k->axpy(y, c->s ? c->s[j] : 1, cpu_row(c->x, (size_t)c->index[j]), c->n);
}
static void be_mix(backend *be, mat y, mat x, const int32_t *index, const float *s, size_t m, size_t per, size_t n,
                   bool acc) {
  mix_call c = {cpu_of(be)->k, y, x, index, s, NULL, per, n, acc};
  cpu_rows(cpu_of(be), m, mix_row, &c);
}
static void dots_row(const void *call, size_t r) {
  const mix_call *c = call;
  c->d[r] = c->k->dot(cpu_row(c->x, r), cpu_row(c->y, r), c->n);
}
static void be_row_dots(backend *be, float *d, mat x, mat y, size_t m, size_t n) {
  mix_call c = {.k = cpu_of(be)->k, .y = y, .x = x, .d = d, .n = n};
  cpu_rows(cpu_of(be), m, dots_row, &c);
}
static void scale_row(const void *call, size_t r) {
  const mix_call *c = call;
  c->k->scale(cpu_row(c->x, r), c->n, c->s[r]);
}
static void be_row_scale(backend *be, mat x, const float *s, size_t m, size_t n) {
  mix_call c = {.k = cpu_of(be)->k, .x = x, .s = s, .n = n};
  cpu_rows(cpu_of(be), m, scale_row, &c);
}

typedef struct {
  mat y;
  const weight *table;
  const int32_t *ids;
  float scale;
} embed_call;
static void embed_row(const void *call, size_t r) {
  const embed_call *c = call;
  const weight *t = c->table;
  float *y = cpu_row(c->y, r);
  size_t at = (size_t)c->ids[r] * t->ld;
  for (size_t i = 0; i < t->in; i++) {
    float v;
    if (t->type == T_F32) {
      v = ((const float *)t->data)[at + i];
    } else {
      uint16_t h;
      memcpy(&h, (const char *)t->data + 2 * (at + i), 2);
      v = t->type == T_BF16 ? half_from_bf16(h) : half_from_f16(h);
    }
    y[i] = v * c->scale;
  }
}
static void be_embed(backend *be, mat y, const weight *table, const batch *b, float scale) {
  embed_call c = {y, table, b->l->f.ids, scale};
  cpu_rows(cpu_of(be), b->l->f.rows, embed_row, &c);
}
typedef struct {
  float *dtable;
  mat dy;
  const forest *f;
  size_t n;
  float scale;
} embed_bwd_call;
static void embed_bwd_columns(const void *call, size_t at, size_t width) {
  const embed_bwd_call *c = call;
  for (size_t r = 0; r < c->f->rows; r++) {
    float *d = c->dtable + (size_t)c->f->ids[r] * c->n + at;
    const float *dy = cpu_row(c->dy, r) + at;
    for (size_t i = 0; i < width; i++) d[i] += dy[i] * c->scale;
  }
}
static void be_embed_bwd(backend *be, float *dtable, mat dy, const batch *b, size_t n, float scale) {
  embed_bwd_call c = {dtable, dy, &b->l->f, n, scale};
  cpu_columns(cpu_of(be), n, embed_bwd_columns, &c);
}

void cpu_rows_ops(backend *be) {
  be->bias_grad = be_bias_grad;
  be->rmsnorm = be_rmsnorm;
  be->rmsnorm_bwd = be_rmsnorm_bwd;
  be->layernorm = be_layernorm;
  be->layernorm_bwd = be_layernorm_bwd;
  be->rope = be_rope;
  be->gated = be_gated;
  be->gated_bwd = be_gated_bwd;
  be->dropout = be_dropout;
  be->gather = be_gather;
  be->scatter = be_scatter;
  be->pick = be_pick;
  be->mix = be_mix;
  be->row_dots = be_row_dots;
  be->row_scale = be_row_scale;
  be->embed = be_embed;
  be->embed_bwd = be_embed_bwd;
}
