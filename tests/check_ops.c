/* check_ops.c - what every backend must pass: each operation against its plain definition, gradients against finite
 * differences, bits independent of batching, packing and threads; or with --speed its rate beside oneDNN's.
 *
 * usage: check-ops [--speed] [LEVEL…]. Prints a line an operation and level (those named; else all that the
 * processor has); exit status 1 when anything failed.
 */
#include <stdio.h>

#include "base/mem.h"
#include "ops_calls.h"
#include "ops_measure.h"
#include "ops_mix.h"
#include "ops_optimizer.h"
#include "ops_ref.h"
#include "ops_speed.h"

/* ---- products ---- */

/* bf16: the factors are rounded first, so they are here too; then only the sums' roundings differ. */
static void check_linear(backend *be, const char *level, bool bf16) {
  static const size_t shapes[][3] = {{1, 7, 5},     {3, 64, 48},    {20, 300, 50},
                                     {60, 520, 97}, {97, 257, 130}, {200, 576, 960}};
  const char *suffix = bf16 ? "bf16" : "f32";
  be->set_bf16(be, bf16);
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    size_t m = shapes[s][0], in = shapes[s][1], out = shapes[s][2], half = out / 3;
    float *x = random_f(m * in, 1), *w = random_f(out * in, 1), *bias = random_f(out, 1), *y = random_f(m * out, 1);
    bool rounds = bf16 && out >= 16;
    if (rounds) round_all(x, m * in), round_all(w, out * in);
    double *xd = widen(x, m * in), *wd = widen(w, out * in), *bd = widen(bias, out), *yd = malloc(m * out * 8);
    /* two weights side by side are the same as one */
    weight ws[2] = {{w, T_F32, half, in, in, bias}, {w + half * in, T_F32, out - half, in, in, bias + half}};
    mat mx = mat_f32(x, in), my = mat_f32(y, out);
    be->linear(be, my, mx, ws, 2, m, false);
    must_sync(be);
    ref_linear(yd, xd, wd, bd, m, out, in);
    char what[96];
    snprintf(what, sizeof what, "linear %s %zux%zux%zu", suffix, m, in, out);
    report(level, what, distance(y, yd, m * out), 2e-6);
    /* each row alone */
    float *one = mem_aligned(out, sizeof *one);
    double differ = 0;
    for (size_t i = 0; i < m; i++) {
      be->linear(be, mat_f32(one, out), mat_from(mx, i, 0), ws, 2, 1, false);
      must_sync(be);
      differ += bits_differ(one, y + i * out, out * sizeof(float));
    }
    snprintf(what, sizeof what, "linear %s %zux%zux%zu rows alone, bits", suffix, m, in, out);
    report(level, what, differ, 0);
    /* added to what is there, all rows and four at a time */
    float *added = mem_aligned(m * out, sizeof *added);
    memcpy(added, y, m * out * sizeof(float));
    be->linear(be, mat_f32(added, out), mx, ws, 2, m, true);
    for (size_t i = 0; i < m; i += 4)
      be->linear(be, mat_from(my, i, 0), mat_from(mx, i, 0), ws, 2, m - i < 4 ? m - i : 4, true);
    must_sync(be);
    snprintf(what, sizeof what, "linear %s %zux%zux%zu added, bits", suffix, m, in, out);
    report(level, what, bits_differ(added, y, m * out * sizeof(float)), 0);
    mem_free(added);
    /* dx = dy·w and dw = dyᵀ·x, in one go and in pieces */
    if (rounds) round_all(y, m * out);
    float *dx = random_f(m * in, 1), *dw = mem_aligned(out * in, 4), *dw1 = mem_aligned(out * in, 4);
    double *dxd = calloc(m * in, 8), *dwd = calloc(out * in, 8);
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < out; j++)
        for (size_t k = 0; k < in; k++) {
          dxd[i * in + k] += (double)y[i * out + j] * wd[j * in + k];
          dwd[j * in + k] += (double)y[i * out + j] * xd[i * in + k];
        }
    be->linear_dx(be, mat_f32(dx, in), my, ws, 2, m, false);
    must_sync(be);
    snprintf(what, sizeof what, "linear_dx %s %zux%zux%zu", suffix, m, in, out);
    report(level, what, distance(dx, dxd, m * in), 4e-6);
    memset(dw, 0, out * in * 4);
    memset(dw1, 0, out * in * 4);
    size_t ends[16], n_ends = 0;
    for (size_t i = 13; i < m + 13; i += 13) ends[n_ends++] = i < m ? i : m;
    rows_of rows;
    rows_make(be, &rows, m, ends, n_ends, NULL);
    be->linear_dw(be, dw, my, mx, rows.b, ROWS_ALL, out, in);
    must_sync(be);
    snprintf(what, sizeof what, "linear_dw %s %zux%zux%zu", suffix, m, in, out);
    report(level, what, distance(dw, dwd, out * in), 4e-6);
    for (size_t i = 0; i < m; i += 13) {
      rows_of some = {.b = rows.b, .l = {.f = {.rows = m - i < 13 ? m - i : 13}}};
      if (be->batch_make(be, &some.b, &some.l, NULL)) failed++;
      be->linear_dw(be, dw1, mat_from(my, i, 0), mat_from(mx, i, 0), some.b, ROWS_ALL, out, in);
      must_sync(be);
    }
    be->batch_free(be, rows.b);
    snprintf(what, sizeof what, "linear_dw %s %zux%zux%zu in pieces, bits", suffix, m, in, out);
    report(level, what, bits_differ(dw, dw1, out * in * 4), 0);
    /* bf16 weights are exact in f32 */
    uint16_t *h = malloc(out * in * 2);
    for (size_t i = 0; i < out * in; i++) {
      uint32_t u;
      memcpy(&u, &w[i], 4);
      h[i] = (uint16_t)(u >> 16);
      u &= 0xffff0000u;
      memcpy(&w[i], &u, 4);
    }
    float *y2 = mem_aligned(m * out, 4);
    weight wf = {w, T_F32, out, in, in, bias}, wh = {h, T_BF16, out, in, in, bias};
    be->linear(be, my, mx, &wf, 1, m, false);
    be->linear(be, mat_f32(y2, out), mx, &wh, 1, m, false);
    must_sync(be);
    snprintf(what, sizeof what, "linear %s %zux%zux%zu bf16 weights, bits", suffix, m, in, out);
    report(level, what, bits_differ(y, y2, m * out * 4), 0);
    /* and of both types in one call */
    weight both[2] = {wf, {h + half * in, T_BF16, out - half, in, in, bias + half}};
    both[0].out = half;
    double *want = widen(y, m * out);
    be->linear(be, mat_f32(y2, out), mx, both, 2, m, false);
    must_sync(be);
    snprintf(what, sizeof what, "linear %s %zux%zux%zu weights of two types", suffix, m, in, out);
    report(level, what, distance(y2, want, m * out), 2e-6);
    free(want);
    if (rounds) round_all(y, m * out);
    be->linear_dx(be, mat_f32(dx, in), my, &wf, 1, m, false);
    must_sync(be);
    want = widen(dx, m * in);
    be->linear_dx(be, mat_f32(dx, in), my, both, 2, m, false);
    must_sync(be);
    snprintf(what, sizeof what, "linear_dx %s %zux%zux%zu weights of two types", suffix, m, in, out);
    report(level, what, distance(dx, want, m * in), 4e-6);
    free(want);
    void *all[] = {x, w, bias, y, xd, wd, bd, yd, one, dx, dw, dw1, dxd, dwd, h, y2};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  }
}

/* What the manual says of the bf16 instructions' sums, over values from 2^-20 to 2^20 and denormals. */
static void check_sums(backend *be, const char *level) {
  enum { M = 5, IN = 71, OUT = 20 };
  float (*sum)(const float *, const float *, size_t) = strcmp(level, "amx") == 0 ? ref_tiles : ref_pairs;
  if (!be->traits.fast_bf16) return;
  float *x = random_f(M * IN, 1), *w = random_f(OUT * IN, 1), *y = random_f(M * OUT, 1);
  for (size_t i = 0; i < M * IN; i++) x[i] = i % 7 ? ldexpf(x[i], (int)(i % 41) - 20) : 1e-39f;
  round_all(x, M * IN), round_all(w, OUT * IN);
  weight wt = {w, T_F32, OUT, IN, IN, NULL};
  be->set_bf16(be, true);
  be->linear(be, mat_f32(y, OUT), mat_f32(x, IN), &wt, 1, M, false);
  must_sync(be);
  be->set_bf16(be, false);
  double differ = 0;
  for (size_t i = 0; i < M * OUT; i++) differ += y[i] != sum(x + i / OUT * IN, w + i % OUT * IN, IN);
  report(level, "bf16 sums as in the manual, values off", differ, 0);
  free(x), free(w), free(y);
}

/* ---- rows ---- */

struct norm_ctx {
  const double *w;
  double offset;
  size_t m, groups, n;
};
static void norm_map(double *y, const double *x, const void *c) {
  const struct norm_ctx *n = c;
  ref_rmsnorm(y, x, n->w, n->offset, 1e-5, n->m, n->groups, n->n);
}
struct norm_w_ctx {
  const double *x;
  struct norm_ctx c;
};
static void norm_w_map(double *y, const double *w, const void *c) {
  const struct norm_w_ctx *n = c;
  ref_rmsnorm(y, n->x, w, n->c.offset, 1e-5, n->c.m, n->c.groups, n->c.n);
}
struct layernorm_ctx {
  const double *x, *w, *b;
  size_t m, n;
};
static void layernorm_x_map(double *y, const double *x, const void *c) {
  const struct layernorm_ctx *l = c;
  ref_layernorm(y, x, l->w, l->b, 1, 1e-5, l->m, l->n);
}
static void layernorm_w_map(double *y, const double *w, const void *c) {
  const struct layernorm_ctx *l = c;
  ref_layernorm(y, l->x, w, l->b, 1, 1e-5, l->m, l->n);
}
static void layernorm_b_map(double *y, const double *b, const void *c) {
  const struct layernorm_ctx *l = c;
  ref_layernorm(y, l->x, l->w, b, 1, 1e-5, l->m, l->n);
}
struct gated_ctx {
  size_t m, n;
  activation a;
};
static void gated_map(double *y, const double *x, const void *c) {
  const struct gated_ctx *g = c;
  ref_gated(y, x, g->m, g->n, g->a);
}

static void check_rows(backend *be, const char *level) {
  size_t m = 37, groups = 3, n = 72, all = m * groups * n;
  float *x = random_f(all, 2), *w = random_f(n, 1), *y = random_f(all, 1), *dy = random_f(all, 1),
        *dx = random_f(all, 1);
  float *rstd = random_f(m * groups, 1), *dw = mem_zalloc(n, 4);
  double *xd = widen(x, all), *wd = widen(w, n), *yd = malloc(all * 8);
  struct norm_ctx c = {wd, 1.0, m, groups, n};
  mat mx = mat_f32(x, groups * n), my = mat_f32(y, groups * n), mdx = mat_f32(dx, groups * n),
      mdy = mat_f32(dy, groups * n);
  rows_of rows;
  rows_make(be, &rows, m, NULL, 0, NULL);
  be->rmsnorm(be, my, mx, w, 1.0f, 1e-5f, m, groups, n, rstd);
  norm_map(yd, xd, &c);
  report(level, "rmsnorm", distance(y, yd, all), 2e-6);
  be->rmsnorm_bwd(be, mdx, dw, mdy, mx, w, 1.0f, rstd, rows.b, ROWS_ALL, groups, n, false);
  report(level, "rmsnorm dx", gradient_error(dx, xd, all, dy, all, norm_map, &c, 300), 1e-5);
  struct norm_w_ctx wc = {xd, c};
  report(level, "rmsnorm dw", gradient_error(dw, wd, n, dy, all, norm_w_map, &wc, 72), 1e-5);
  for (int act = ACT_SILU; act <= ACT_RELU; act++) {
    static const char *const names[][2] = {{"gated silu", "gated silu dx"},
                                           {"gated gelu", "gated gelu dx"},
                                           {"squared relu", "squared relu dx"},
                                           {"relu", "relu dx"}};
    struct gated_ctx g = {m, act_is_gated((activation)act) ? groups * n / 2 : groups * n, (activation)act};
    my = mat_f32(y, g.n), mdy = mat_f32(dy, g.n);
    be->gated(be, my, mx, m, g.n, g.a);
    gated_map(yd, xd, &g);
    report(level, names[act][0], distance(y, yd, m * g.n), 2e-6);
    be->gated_bwd(be, mdx, mdy, mx, m, g.n, g.a);
    report(level, names[act][1], gradient_error(dx, xd, all, dy, m * g.n, gated_map, &g, 300), 1e-5);
  }
  double squares = 0;
  for (size_t i = 0; i < all; i++) squares += xd[i] * xd[i];
  report(level, "sum_squares", fabs(be->sum_squares(be, x, all, NULL) / squares - 1), 1e-12);
  be->batch_free(be, rows.b);
  void *p[] = {x, w, y, dy, dx, rstd, dw, xd, wd, yd};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
}

static void check_layernorm(backend *be, const char *level) {
  size_t m = 37, n = 75, all = m * n;
  float *x = random_f(all, 2), *w = random_f(n, 1), *b = random_f(n, 1), *y = random_f(all, 1),
        *dy = random_f(all, 1);
  float *dx = random_f(all, 1), *stats = random_f(2 * m, 1), *dw = mem_zalloc(n, 4), *db = mem_zalloc(n, 4);
  for (size_t i = 0; i < all; i++) x[i] += 3;
  double *xd = widen(x, all), *wd = widen(w, n), *bd = widen(b, n), *yd = malloc(all * 8);
  struct layernorm_ctx c = {xd, wd, bd, m, n};
  mat mx = mat_f32(x, n), my = mat_f32(y, n), mdx = mat_f32(dx, n), mdy = mat_f32(dy, n);
  rows_of rows;
  rows_make(be, &rows, m, NULL, 0, NULL);
  be->layernorm(be, my, mx, w, b, 1, 1e-5f, m, n, stats);
  layernorm_x_map(yd, xd, &c);
  report(level, "layernorm", distance(y, yd, all), 2e-6);
  be->layernorm_bwd(be, mdx, dw, db, mdy, mx, w, 1, stats, rows.b, ROWS_ALL, n, false);
  report(level, "layernorm dx", gradient_error(dx, xd, all, dy, all, layernorm_x_map, &c, 300), 1e-5);
  report(level, "layernorm dw", gradient_error(dw, wd, n, dy, all, layernorm_w_map, &c, n), 1e-5);
  report(level, "layernorm db", gradient_error(db, bd, n, dy, all, layernorm_b_map, &c, n), 1e-5);
  double *before = widen(dx, all);
  be->layernorm_bwd(be, mdx, NULL, NULL, mdy, mx, w, 1, stats, rows.b, ROWS_ALL, n, true);
  be->batch_free(be, rows.b);
  for (size_t i = 0; i < all; i++) before[i] *= 2;
  report(level, "layernorm dx, added", distance(dx, before, all), 1e-6);
  void *p[] = {x, w, b, y, dy, dx, stats, dw, db, xd, wd, bd, yd, before};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
}

/* ---- attention ---- */

/* A forest of the given conversations; prompt lengths as shared. Ids are not used. */
typedef struct {
  forest f;
  batch_layout l;
  batch *b;
  tree trees[8];
  span branches[16];
  int32_t pos[4096];
} grove;
static void plant(backend *be, grove *g, const size_t (*shape)[4], size_t n, bool share) {
  size_t rows = 0, nb = 0, nt = 0;
  for (size_t t = 0; t < n; t++)
    for (size_t b = 0; b < 3 && shape[t][1 + b]; b++) {
      if (b == 0 || !share) {
        g->trees[nt++] = (tree){{rows, share ? shape[t][0] : 0}, nb, 0, {0, 0}};
        if (share)
          for (size_t i = 0; i < shape[t][0]; i++) g->pos[rows++] = (int32_t)i;
      }
      size_t from = share ? shape[t][0] : 0, to = shape[t][0] + shape[t][1 + b];
      g->branches[nb++] = (span){rows, to - from};
      for (size_t i = from; i < to; i++) g->pos[rows++] = (int32_t)i;
      g->trees[nt - 1].n_branches++;
    }
  g->f = (forest){rows, NULL, g->pos, nt, nb, g->trees, g->branches};
  g->l = (batch_layout){.f = g->f};
  if (be->batch_make(be, &g->b, &g->l, NULL)) failed++;
}

struct attn_ctx {
  const forest *f;
  const attention_shape *a;
};
static void attn_map(double *y, const double *x, const void *c) {
  const struct attn_ctx *a = c;
  ref_attention(y, x, a->f, a->a);
}

/* The rows of g whose keys and values are known to be those of `cut` positions of each prompt (as many as it has)
 * are left out: the rest has the same bits. */
static void check_known(backend *be, const char *level, const char *name, const grove *g, attention_shape a,
                        const float *x, size_t ld, const float *o, size_t ldo, size_t cut) {
  grove *h = calloc(1, sizeof *h);
  size_t q = a.q_heads * a.head_dim, kv = 2 * a.kv_heads * a.head_dim, rows = 0, known = 0,
         *from = malloc(sizeof g->pos);
  float *part = malloc(g->f.rows * ld * 4), *keys = malloc(g->f.rows * kv * 4), *out = malloc(g->f.rows * ldo * 4);
  memcpy(h->trees, g->trees, sizeof g->trees);
  memcpy(h->branches, g->branches, sizeof g->branches);
  for (size_t t = 0; t < g->f.n_trees; t++) {
    span *prompt = &h->trees[t].prompt;
    size_t n = prompt->len < cut ? prompt->len : cut;
    h->trees[t].known = (span){known, n};
    for (size_t i = 0; i < n; i++) memcpy(keys + known++ * kv, x + (prompt->first + i) * ld + q, kv * 4);
    size_t first = prompt->first + n, left = prompt->len - n;
    *prompt = (span){rows, left};
    for (size_t i = 0; i < left; i++) from[rows++] = first + i;
    for (size_t b = 0; b < h->trees[t].n_branches; b++) {
      span *s = &h->branches[h->trees[t].first_branch + b];
      for (size_t i = 0; i < s->len; i++) from[rows + i] = s->first + i;
      s->first = rows;
      rows += s->len;
    }
  }
  for (size_t i = 0; i < rows; i++) {
    memcpy(part + i * ld, x + from[i] * ld, ld * 4);
    h->pos[i] = g->pos[from[i]];
  }
  h->f = (forest){rows, NULL, h->pos, g->f.n_trees, g->f.n_branches, h->trees, h->branches};
  h->l = (batch_layout){.f = h->f};
  a.known = mat_f32(keys, kv);
  if (be->batch_make(be, &h->b, &h->l, NULL)) failed++;
  be->attention(be, mat_f32(out, ldo), mat_f32(part, ld), h->b, &a, NULL);
  must_sync(be);
  double differ = 0;
  for (size_t i = 0; i < rows; i++) differ += bits_differ(out + i * ldo, o + from[i] * ldo, ldo * 4);
  char what[80];
  snprintf(what, sizeof what, "attention, %s: %zu keys known, bits", name, cut);
  report(level, what, differ, 0);
  be->batch_free(be, h->b);
  void *all[] = {h, from, part, keys, out};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* bf16: where attention's products are rounded too (AMX, AVX512_BF16), 8 bits of mantissa are left. */
static void check_attention(backend *be, const char *level, bool bf16) {
  static const size_t shape[][4] = {{50, 3, 120, 1}, {0, 33, 0, 0}, {7, 1, 2, 0}};
  static const attention_shape kinds[] = {{4, 2, 16, 0.25f, 0, 0, {0}},
                                          {3, 3, 24, 0.2f, 0, 17, {0}},
                                          {4, 1, 64, 0.125f, 5, 0, {0}},
                                          {2, 1, 8, 0.3f, 3, 40, {0}}};
  static const char *const names[2][4] = {
      {"grouped heads", "window 17", "soft cap", "soft cap, window 40"},
      {"bf16, grouped heads", "bf16, window 17", "bf16, soft cap", "bf16, soft cap, window 40"}};
  const double loose = bf16 ? 4e-3 / 4e-6 : 1;
  be->set_bf16(be, bf16);
  grove *g = calloc(1, sizeof *g), *alone = calloc(1, sizeof *alone);
  for (size_t k = 0; k < 4; k++) {
    const attention_shape *a = &kinds[k];
    plant(be, g, shape, 3, true);
    plant(be, alone, shape, 3, false);
    size_t d = a->head_dim, ld = (a->q_heads + 2 * a->kv_heads) * d, ldo = a->q_heads * d, rows = g->f.rows;
    float *x = random_f(rows * ld, 1), *o = random_f(rows * ldo, 1), *lse = random_f(rows * a->q_heads, 1);
    float *dy = random_f(rows * ldo, 1), *dx = random_f(rows * ld, 1);
    double *xd = widen(x, rows * ld), *od = malloc(rows * ldo * 8);
    char what[64];
    mat mx = mat_f32(x, ld), mo = mat_f32(o, ldo);
    be->attention(be, mo, mx, g->b, a, lse);
    must_sync(be);
    struct attn_ctx c = {&g->f, a};
    attn_map(od, xd, &c);
    snprintf(what, sizeof what, "attention, %s", names[bf16][k]);
    report(level, what, distance(o, od, rows * ldo), 4e-6 * loose);
    for (size_t cut = 1; be->traits.takes_known && cut <= 64; cut = 3 * cut + 1) /* 1, 4, 13, 40: within panels */
      check_known(be, level, names[bf16][k], g, *a, x, ld, o, ldo, cut);
    be->attention_bwd(be, mat_f32(dx, ld), mat_f32(dy, ldo), mo, mx, lse, g->b, a);
    must_sync(be);
    snprintf(what, sizeof what, "attention dqkv, %s", names[bf16][k]);
    report(level, what, gradient_error(dx, xd, rows * ld, dy, rows * ldo, attn_map, &c, 60), 2e-5 * loose);
    /* the same conversations without sharing: every branch row has the same bits */
    float *xa = malloc(alone->f.rows * ld * 4), *oa = malloc(alone->f.rows * ldo * 4);
    double differ = 0;
    for (size_t pass = 0; pass < 2; pass++) {
      size_t conv = 0;
      for (size_t t = 0; t < g->f.n_trees; t++)
        for (size_t b = 0; b < g->f.trees[t].n_branches; b++, conv++)
          for (size_t p = 0; p < alone->f.branches[conv].len; p++) {
            size_t from = ref_row(&g->f, &g->f.trees[t], b, p), to = alone->f.branches[conv].first + p;
            if (pass == 0)
              memcpy(xa + to * ld, x + from * ld, ld * 4);
            else
              differ += bits_differ(oa + to * ldo, o + from * ldo, ldo * 4);
          }
      if (pass == 0) be->attention(be, mat_f32(oa, ldo), mat_f32(xa, ld), alone->b, a, NULL);
      must_sync(be);
    }
    snprintf(what, sizeof what, "attention, %s: shared and alone, bits", names[bf16][k]);
    report(level, what, differ, 0);
    void *all[] = {x, o, lse, dy, dx, xd, od, xa, oa};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  }
  be->batch_free(be, g->b);
  be->batch_free(be, alone->b);
  free(g);
  free(alone);
}

/* ---- dropout ---- */

static void check_dropout(backend *be, const char *level) {
  enum { M = 67, N = 333 };
  float *x = random_f(M * N, 1), *y = random_f(M * N, 1), *z = random_f(M * N, 1), *one = random_f(N, 1);
  uint64_t keys[M];
  size_t dropped = 0, wrong = 0, same = 0;
  double p = 0.2, apart = 0;
  for (size_t i = 0; i < M; i++) keys[i] = 1000 + i; /* keys that hardly differ */
  mat mx = mat_f32(x, N), my = mat_f32(y, N), mz = mat_f32(z, N);
  rows_of batch_rows;
  rows_make(be, &batch_rows, M, NULL, 0, keys);
  be->dropout(be, my, mx, batch_rows.b, ROWS_ALL, 9, p, N, false);
  for (size_t i = 0; i < M * N; i++) {
    dropped += y[i] == 0;
    wrong += y[i] != 0 && y[i] != x[i] * (float)(1 / (1 - p));
  }
  report(level, "dropout: what is kept, values off", (double)wrong, 0);
  /* 22,311 draws: the share's standard deviation is 0.0027 */
  report(level, "dropout: share dropped", fabs((double)dropped / (M * N) - p), 0.011);
  for (size_t i = 0; i < M; i++) {
    rows_of alone;
    rows_make(be, &alone, 1, NULL, 0, keys + i);
    be->dropout(be, mat_f32(one, N), mat_from(mx, i, 0), alone.b, ROWS_ALL, 9, p, N, false);
    be->batch_free(be, alone.b);
    apart += bits_differ(one, y + i * N, N * 4);
  }
  report(level, "dropout, rows one by one, bits", apart, 0);
  memcpy(z, x, M * N * 4);
  be->dropout(be, mz, mx, batch_rows.b, ROWS_ALL, 9, p, N, true);
  for (size_t i = 0; i < M * N; i++) wrong += z[i] != x[i] + y[i];
  report(level, "dropout, added, values off", (double)wrong, 0);
  /* neighbours in rows, columns and keys drop apart: both of a pair with probability p² (s.d. 0.0013) */
  be->dropout(be, mz, mx, batch_rows.b, ROWS_ALL, 10, p, N, false);
  be->batch_free(be, batch_rows.b);
  size_t rows = 0, cols = 0;
  for (size_t i = 0; i + N < M * N; i++) {
    rows += y[i] == 0 && y[i + N] == 0;
    cols += y[i] == 0 && y[i + 1] == 0;
    same += y[i] == 0 && z[i] == 0;
  }
  double n = (M - 1) * N;
  report(level, "dropout: rows, columns and calls independent",
         fmax(fabs((double)rows / n - p * p), fmax(fabs((double)cols / n - p * p), fabs((double)same / n - p * p))),
         0.006);
  free(x), free(y), free(z), free(one);
}

/* ---- levels and threads agree ---- */

static void fingerprint(backend *be, float *out, size_t *n) {
  R = rng_new(7, 7);
  static const size_t shape[][4] = {{40, 30, 20, 0}, {0, 60, 0, 0}};
  grove *g = calloc(1, sizeof *g);
  plant(be, g, shape, 2, true);
  attention_shape a = {4, 2, 32, 0.18f, 0, 0, {0}};
  size_t rows = g->f.rows, in = 100, ld = 8 * 32;
  float *x = random_f(rows * in, 1), *w = random_f(ld * in, 0.2), *y = random_f(rows * ld, 1);
  float *gu = random_f(rows * 2 * 64, 1), *nw = random_f(ld, 1);
  uint64_t keys[200]; /* the grove has 150 rows */
  for (size_t i = 0; i < rows; i++) keys[i] = i * i;
  g->l.drop_keys = keys;
  if (be->batch_make(be, &g->b, &g->l, NULL)) failed++;
  weight wt = {w, T_F32, ld, in, in, NULL};
  mat my = mat_f32(y, ld), mgu = mat_f32(gu, 128), normed = mat_f32(out, ld);
  be->linear(be, my, mat_f32(x, in), &wt, 1, rows, false);
  *n = 0;
  be->rmsnorm(be, normed, my, nw, 0, 1e-6f, rows, 1, ld, NULL);
  be->attention(be, mat_f32(out + (*n += rows * ld), 128), normed, g->b, &a, NULL);
  be->gated(be, mat_f32(out + (*n += rows * 128), 64), mgu, rows, 64, ACT_SILU);
  be->gated(be, mat_f32(out + (*n += rows * 64), 64), mgu, rows, 64, ACT_GELU_TANH);
  be->gated(be, mat_f32(out + (*n += rows * 64), 128), mgu, rows, 128, ACT_RELU2);
  be->layernorm(be, mat_f32(out + (*n += rows * 128), 128), mgu, nw, nw + 128, 1, 1e-5f, rows, 128, NULL);
  be->layernorm_bwd(be, mat_f32(out + (*n += rows * 128), 128), NULL, NULL, mat_f32(y, 128), mgu, nw, 1, x, g->b,
                    ROWS_ALL, 128, false);
  be->dropout(be, mat_f32(out + (*n += rows * 128), 128), mgu, g->b, ROWS_ALL, 3, 0.1, 128, false);
  must_sync(be);
  *n += rows * 128;
  float *grads = random_f(ld * in, 1), scales[2][200] = {{0}};
  uint8_t *codes = calloc(2, ld * in);
  for (uint64_t t = 1; t <= 3; t++) {
    adamw_step o = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1 - pow(0.9, (double)t), 1 - pow(0.95, (double)t), t, 0};
    be->adamw8(be, (master){.value = w}, grads, (adamw8_state){codes, scales[0]},
               (adamw8_state){codes + ld * in, scales[1]}, ld * in, &o, 1);
  }
  memcpy(out + *n, w, ld * in * 4);
  memcpy(out + (*n += ld * in), codes, 2 * ld * in);
  *n += ld * in / 2;
  be->batch_free(be, g->b);
  free(grads), free(codes);
  free(x), free(w), free(y), free(gu), free(nw), free(g);
}

/* ---- all ---- */

static bool named(int argc, char **argv, const char *level) {
  for (int i = 0; i < argc; i++)
    if (strcmp(argv[i], level) == 0) return true;
  return argc == 0;
}

static const char *const levels[] = {"amx", "avx512bf16", "avx512", "avx2", "baseline"};

static int print_speeds(int argc, char **argv) {
  pool *p;
  if (pool_new(&p, 0, NULL)) return 1;
  for (size_t l = 0; l < 4; l++) {
    backend *be;
    if (!named(argc, argv, levels[l]) || backend_cpu(&be, p, levels[l], NULL)) continue;
    speed(be, levels[l], false, pool_threads(p));
    if (be->traits.fast_bf16) speed(be, levels[l], true, pool_threads(p));
    be->close(be);
  }
  pool_free(p);
  return failed ? 1 : 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--speed") == 0) return print_speeds(argc - 2, argv + 2);
  argc--, argv++;
  float *prints[10];
  const char *from[10];
  size_t n_prints = 0, length = 0;
  for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
    for (int threads = 1; threads <= 3; threads += 2) {
      pool *p;
      backend *be;
      rw_error err;
      if (pool_new(&p, threads, &err)) return 1;
      if (backend_cpu(&be, p, levels[l], &err)) {
        if (threads == 1) printf("skip %-9s %s\n", levels[l], err.text);
        pool_free(p);
        continue;
      }
      R = rng_new(1, 1);
      if (threads == 3 && named(argc, argv, levels[l])) {
        check_linear(be, levels[l], false);
        check_linear(be, levels[l], true);
        check_sums(be, levels[l]);
        be->set_bf16(be, false);
        check_rows(be, levels[l]);
        check_mix(be, levels[l]);
        check_layernorm(be, levels[l]);
        check_adamw(be, levels[l]);
        check_adamw8(be, levels[l]);
        check_attention(be, levels[l], false);
        check_attention(be, levels[l], true);
        be->set_bf16(be, false);
        check_dropout(be, levels[l]);
      }
      prints[n_prints] = mem_zalloc(1 << 18, 4);
      fingerprint(be, prints[n_prints], &length);
      from[n_prints++] = levels[l];
      be->close(be);
      pool_free(p);
    }
  for (size_t i = 1; i < n_prints; i++) { /* tiles of AMX sum in another order */
    if ((strcmp(from[i], "amx") == 0) != (strcmp(from[i - 1], "amx") == 0)) continue;
    report(from[i], "levels and thread counts agree, bits", bits_differ(prints[i - 1], prints[i], length * 4), 0);
  }
  for (size_t i = 0; i < n_prints; i++) free(prints[i]);
  printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
