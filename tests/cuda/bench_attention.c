/* bench_attention.c - a GPU's attention at the shapes of Llama-3.1-8B and Gemma-2-27B: time, TFLOP/s, and results
 * checked at some rows.
 *
 * Operations count what rows see: 4 D a query head and key forward, 10 D backward. Of each case some queries' o,
 * lse and dq, and some keys' dk and dv, are computed again here in double, whose sums over queries take lse and
 * delta from the device. `bench_attention small`: everything on few rows, for the emulator; `bench_attention 128`:
 * one head size.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "compute/cuda/attention.h"
#include "device.h"
#include "ops_ref.h"

static rng R;
static int failed;

static float of_bf16(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

typedef struct {
  const char *name;
  attention_shape a;
  size_t trees, prompt, branches, len; /* branches 0: `trees` conversations of len rows */
} bench;

enum { MAX_SPANS = 512 };
typedef struct {
  const bench *b;
  forest f;
  tree trees[MAX_SPANS];
  span branches[MAX_SPANS];
  attention_plan plan;
  attention_call call;
  uint16_t *x, *dy, *o, *dx; /* this machine's */
  float *lse, *delta;
} job;

static void plant(job *j) {
  const bench *b = j->b;
  size_t rows = 0, n = b->branches ? b->branches : 1;
  for (size_t t = 0; t < b->trees; t++) {
    j->trees[t] = (tree){{rows, b->branches ? b->prompt : 0}, t * n, n, {0, 0}};
    rows += j->trees[t].prompt.len;
    for (size_t i = 0; i < n; i++, rows += b->len) j->branches[t * n + i] = (span){rows, b->len};
  }
  j->f = (forest){
      .rows = rows, .n_trees = b->trees, .n_branches = b->trees * n, .trees = j->trees, .branches = j->branches};
}

/* Where a query at position `pos` begins to see keys. */
static size_t seen_from(const attention_shape *a, size_t pos) {
  return a->window > 0 && pos + 1 > (size_t)a->window ? pos + 1 - (size_t)a->window : 0;
}
/* Pairs of a row and a key that it sees. */
static double pairs(const job *j) {
  double n = 0;
  for (size_t t = 0; t < j->f.n_trees; t++)
    for (size_t b = 0; b < j->trees[t].n_branches; b++) {
      const size_t prompt = j->trees[t].prompt.len;
      for (size_t p = b == 0 ? 0 : prompt; p < prompt + j->branches[j->trees[t].first_branch + b].len; p++)
        n += (double)(p + 1 - seen_from(&j->b->a, p));
    }
  return n;
}

static double dot(const uint16_t *x, const uint16_t *y, size_t n) {
  double s = 0;
  for (size_t i = 0; i < n; i++) s += (double)of_bf16(x[i]) * of_bf16(y[i]);
  return s;
}
/* The capped score and its slope by q·k. */
static double score_of(const attention_shape *a, const uint16_t *q, const uint16_t *k, double *slope) {
  const double z = dot(q, k, a->head_dim) * a->scale;
  *slope = a->scale;
  if (a->softcap == 0) return z;
  const double t = tanh(z / a->softcap);
  *slope *= 1 - t * t;
  return a->softcap * t;
}

typedef struct {
  double error, top;
} measure;
static void compare(measure *m, double got, double want) {
  const double e = fabs(got - want);
  if (!(e <= m->error)) m->error = e;
  if (fabs(want) > m->top) m->top = fabs(want);
}

static void check_query(const job *j, const tree *t, size_t b, size_t pos, size_t head, measure m[4]) {
  const attention_shape *a = &j->b->a;
  const size_t d = a->head_dim, q = a->q_heads, ld = (q + 2 * a->kv_heads) * d, group = head / (q / a->kv_heads);
  const size_t row = ref_row(&j->f, t, b, pos), from = seen_from(a, pos);
  const uint16_t *x = j->x + row * ld + head * d, *g = j->dy + row * q * d + head * d;
  double *w = malloc((pos + 1) * sizeof *w), *slope = malloc((pos + 1) * sizeof *w), *o = calloc(2 * d, sizeof *o);
  double max = -INFINITY, sum = 0, delta = 0, *dq = o + d;
  for (size_t i = from; i <= pos; i++) {
    w[i] = score_of(a, x, j->x + ref_row(&j->f, t, b, i) * ld + (q + group) * d, &slope[i]);
    max = fmax(max, w[i]);
  }
  for (size_t i = from; i <= pos; i++) sum += w[i] = exp(w[i] - max);
  for (size_t i = from; i <= pos; i++) {
    const uint16_t *v = j->x + ref_row(&j->f, t, b, i) * ld + (q + a->kv_heads + group) * d;
    for (size_t c = 0; c < d; c++) o[c] += w[i] / sum * of_bf16(v[c]);
  }
  for (size_t c = 0; c < d; c++) delta += o[c] * of_bf16(g[c]);
  for (size_t i = from; i <= pos; i++) {
    const uint16_t *k = j->x + ref_row(&j->f, t, b, i) * ld + (q + group) * d;
    const double ds = w[i] / sum * (dot(g, k + a->kv_heads * d, d) - delta) * slope[i];
    for (size_t c = 0; c < d; c++) dq[c] += ds * of_bf16(k[c]);
  }
  for (size_t c = 0; c < d; c++) {
    compare(&m[0], of_bf16(j->o[row * q * d + head * d + c]), o[c]);
    compare(&m[1], of_bf16(j->dx[row * ld + head * d + c]), dq[c]);
  }
  if (!(fabs(j->lse[row * q + head] - (max + log(sum))) < 1e-3)) m[0].error = INFINITY;
  free(w), free(slope), free(o);
}

/* The key at position pos of branch b's conversation. */
static void check_key(const job *j, const tree *t, size_t b, size_t pos, size_t group, measure m[4]) {
  const attention_shape *a = &j->b->a;
  const size_t d = a->head_dim, q = a->q_heads, ld = (q + 2 * a->kv_heads) * d, share = q / a->kv_heads;
  const size_t key = ref_row(&j->f, t, b, pos);
  const uint16_t *k = j->x + key * ld + (q + group) * d, *v = k + a->kv_heads * d;
  double *dk = calloc(2 * d, sizeof *dk), *dv = dk + d;
  for (size_t i = pos < t->prompt.len ? 0 : b; i < (pos < t->prompt.len ? t->n_branches : b + 1); i++) {
    const size_t end = t->prompt.len + j->branches[t->first_branch + i].len, prompt = t->prompt.len;
    for (size_t p = i > 0 && pos < prompt ? prompt : pos; p < end; p++) {
      const size_t row = ref_row(&j->f, t, i, p);
      if (seen_from(a, p) > pos) continue;
      for (size_t head = group * share; head < (group + 1) * share; head++) {
        const uint16_t *x = j->x + row * ld + head * d, *g = j->dy + row * q * d + head * d;
        double slope;
        const double w = exp(score_of(a, x, k, &slope) - j->lse[row * q + head]);
        const double ds = w * (dot(g, v, d) - j->delta[row * q + head]) * slope;
        for (size_t c = 0; c < d; c++) dk[c] += ds * of_bf16(x[c]), dv[c] += w * of_bf16(g[c]);
      }
    }
  }
  for (size_t c = 0; c < d; c++) {
    compare(&m[2], of_bf16(j->dx[key * ld + (q + group) * d + c]), dk[c]);
    compare(&m[3], of_bf16(j->dx[key * ld + (q + a->kv_heads + group) * d + c]), dv[c]);
  }
  free(dk);
}

static void forward(void *j) { attention_forward(&((job *)j)->call); }
static void backward(void *j) { attention_backward(&((job *)j)->call); }

static void measure_case(const bench *b, const uint16_t *values, int times) {
  static job j;
  const attention_shape *a = &b->a;
  memset(&j, 0, sizeof j);
  j.b = b;
  plant(&j);
  const size_t rows = j.f.rows, d = a->head_dim, ldo = a->q_heads * d, ld = ldo + 2 * a->kv_heads * d;
  if (attention_plan_make(&j.plan, &j.f, a->q_heads / a->kv_heads, NULL)) {
    failed++;
    return;
  }
  attention_call *c = &j.call;
  *c = (attention_call){.plan = &j.plan, .shape = a, .type = T_BF16, .rows = rows};
  c->ld = c->ldd = ld, c->ldo = c->lddo = ldo;
  void *words = device_alloc(j.plan.n_words * 4), *x = device_alloc(rows * ld * 2),
       *dy = device_alloc(rows * ldo * 2);
  c->words = words, c->qkv = x, c->d_o = dy, c->o = device_alloc(rows * ldo * 2),
  c->dqkv = device_alloc(rows * ld * 2);
  c->lse = device_alloc(rows * a->q_heads * 4), c->delta = device_alloc(rows * a->q_heads * 4);
  j.x = (uint16_t *)values, j.dy = (uint16_t *)values + 8 * 1237;
  j.o = malloc(rows * ldo * 2), j.dx = malloc(rows * ld * 2);
  j.lse = malloc(rows * a->q_heads * 4), j.delta = malloc(rows * a->q_heads * 4);
  device_put(words, j.plan.words, j.plan.n_words * 4);
  device_put(x, j.x, rows * ld * 2);
  device_put(dy, j.dy, rows * ldo * 2);
  const double f = device_seconds(forward, &j, times), g = device_seconds(backward, &j, times);
  device_get(j.o, c->o, rows * ldo * 2);
  device_get(j.dx, c->dqkv, rows * ld * 2);
  device_get(j.lse, c->lse, rows * a->q_heads * 4);
  device_get(j.delta, c->delta, rows * a->q_heads * 4);
  measure m[4] = {{0, 1e-30}, {0, 1e-30}, {0, 1e-30}, {0, 1e-30}}; /* o, dq, dk, dv */
  for (size_t i = 0; i < 24; i++) {
    const tree *t = &j.trees[rng_below(&R, j.f.n_trees)];
    const size_t branch = (size_t)rng_below(&R, t->n_branches);
    const size_t len = t->prompt.len + j.branches[t->first_branch + branch].len;
    check_query(&j, t, branch, i == 0 ? len - 1 : (size_t)rng_below(&R, len), (size_t)rng_below(&R, a->q_heads), m);
    if (i < 8) check_key(&j, t, branch, (size_t)rng_below(&R, len), (size_t)rng_below(&R, a->kv_heads), m);
  }
  double worst = 0;
  for (int i = 0; i < 4; i++) {
    const double e = m[i].error / m[i].top;
    if (!(e <= worst)) worst = e;
  }
  const bool ok = worst < 2e-2;
  failed += !ok;
  const double work = 4.0 * (double)d * (double)a->q_heads * pairs(&j) * 1e-12;
  printf(
      "%-44s %6zu rows | forward %8.3f ms %6.1f TFLOP/s | backward %8.3f ms %6.1f TFLOP/s | o %.0e dq %.0e dk %.0e "
      "dv %.0e %s\n",
      b->name, rows, f * 1e3, work / f, g * 1e3, 2.5 * work / g, m[0].error / m[0].top, m[1].error / m[1].top,
      m[2].error / m[2].top, m[3].error / m[3].top, ok ? "ok" : "WRONG");
  fflush(stdout);
  void *all[] = {words, x, dy, c->o, c->dqkv, c->lse, c->delta};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) device_free(all[i]);
  free(j.o), free(j.dx), free(j.lse), free(j.delta);
  attention_plan_free(&j.plan);
}

int main(int argc, char **argv) {
  const bool small = argc > 1 && strcmp(argv[1], "small") == 0;
  const size_t only = argc > 1 ? (size_t)atoi(argv[1]) : 0;
#define LLAMA \
  { 32, 8, 128, 0.0884f, 0, 0 }
  static const bench benches[] = {
      {"Llama-3.1-8B, 512", LLAMA, 32, 0, 0, 512},
      {"Llama-3.1-8B, 1,200", LLAMA, 13, 0, 0, 1200},
      {"Llama-3.1-8B, 4,096", LLAMA, 4, 0, 0, 4096},
      {"Llama-3.1-8B, 16,384", LLAMA, 1, 0, 0, 16384},
      {"Llama-3.1-8B, prompt 1,000, 8 of 200", LLAMA, 6, 1000, 8, 200},
      {"Gemma-2-27B, 4,096", {32, 16, 128, 0.0833f, 50, 0}, 4, 0, 0, 4096},
      {"Gemma-2-27B, 8,192, window 4,096", {32, 16, 128, 0.0833f, 50, 4096}, 2, 0, 0, 8192},
      {"Gemma-2-9B, 4,096 (D 256)", {16, 8, 256, 0.0625f, 50, 0}, 4, 0, 0, 4096},
      {"Llama-3.2-1B, 4,096 (D 64)", {32, 8, 64, 0.125f, 0, 0}, 4, 0, 0, 4096},
  };
  const size_t most = (size_t)16384 * 8192 + 65536;
  uint16_t *values = malloc(most * sizeof *values);
  uint32_t seed = 1;
  for (size_t i = 0; i < (small ? most / 8 : most);
       i++) { /* uniform in ±1.73, so that scores are like normal ones */
    seed = seed * 1664525u + 1013904223u;
    const float v = ((float)(seed >> 8) / 8388608.0f - 1) * 1.73f;
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    values[i] = (uint16_t)(u >> 16);
  }
  R = rng_new(7, 0);
  printf("%s\n", device_name());
  for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) {
    bench b = benches[i];
    if (only && b.a.head_dim != only) continue;
    if (small) {
      b.trees = 1, b.prompt /= 16, b.branches = b.branches ? 2 : 0, b.len = b.len / 32 + 9;
      b.a.q_heads /= 8, b.a.kv_heads /= 8, b.a.window /= 64;
    }
    measure_case(&b, values, small ? 1 : 10);
  }
  free(values);
  return failed != 0;
}
